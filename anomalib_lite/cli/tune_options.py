"""Options of `tune`: what is tried, and what it may take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from anomalib_lite.cli.names import complete_backbone, complete_detector
from anomalib_lite.cli.options import FRAMES, MODEL, RUN, Weights
from anomalib_lite.cli.values import checked_minutes, parse_size

if TYPE_CHECKING:
    from anomalib_lite.tuning.grid import Grid

_SHARE_TO_SEARCH = 0.8
"""Of the minutes; the rest is for the fit on all images and the export."""


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What is tried."""

    panel: ClassVar[str] = MODEL
    detector: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_detector,
            help="Repeat for more; patchcore+mvg is one, too. Default: patchcore, padim and mvg.",
        ),
    ] = None
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_backbone,
            help="Repeat for more. Default: pdn_edge, and resnet18 where its weights are at hand.",
        ),
    ] = None
    image_size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HxW",
            help="What the network sees; repeat for more. Default: about 256, 320 and 384, in the "
            "shape of the frames.",
            rich_help_panel=FRAMES,
        ),
    ] = None
    rows: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N", min=1, help="Patches in a bank; repeat for more. Default: 1000 and 4000."
        ),
    ] = None
    engine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What runs the files; repeat for more. Default: onnxruntime, and openvino where "
            "it is installed.",
        ),
    ] = None
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="fp32, fp16 or int8; repeat for more, each takes minutes. Default: fp32.",
        ),
    ] = None
    weights: Weights = None

    def grid(self, frame_hw: tuple[int, int], *, same_aspect: bool) -> Grid:
        """The axes for frames of a size.

        Raises:
            SettingsError: an unknown detector, backbone or engine, or a detector that trains.
            WeightsError: a backbone that was named has no weights.
        """
        from anomalib_lite.tuning.grid import DETECTORS, ROWS, Grid, require_quick
        from anomalib_lite.tuning.sizes import candidates

        sizes = candidates(frame_hw, same_aspect=same_aspect)[:3]
        detectors = tuple(self.detector or DETECTORS)
        require_quick(detectors)
        return Grid(
            sizes=[parse_size(text) for text in self.image_size or ()] or sizes,
            detectors=detectors,
            backbones=self._backbones(),
            rows=tuple(self.rows or ROWS),
            precisions=self._precisions(),
            engines=self._engines(),
        )

    def _precisions(self) -> tuple[str, ...]:
        from anomalib_lite.edge.errors import SettingsError, did_you_mean
        from anomalib_lite.tuning.grid import ENGINE_FREE, PRECISIONS

        for name in self.precision or ():
            if name not in ENGINE_FREE:
                raise SettingsError(
                    f"--precision {name}{did_you_mean(name, ENGINE_FREE)}: choose "
                    f"{', '.join(ENGINE_FREE)}"
                )
        return tuple(self.precision or PRECISIONS)

    def _backbones(self) -> tuple[str, ...]:
        from anomalib_lite.backbones import create_backbone
        from anomalib_lite.backbones.base import register_backbone
        from anomalib_lite.backbones.weights import find_weights
        from anomalib_lite.tuning.grid import BACKBONES

        for name in self.backbone or ():
            create_backbone(name, weights=self.weights)
        if self.backbone:
            return tuple(self.backbone)
        known = register_backbone.known
        return tuple(name for name in BACKBONES if name in known or find_weights(name, None))

    def _engines(self) -> tuple[str, ...]:
        from importlib.util import find_spec

        from anomalib_lite.edge.errors import SettingsError, did_you_mean
        from anomalib_lite.tuning.grid import ENGINES

        for name in self.engine or ():
            if name not in ENGINES:
                raise SettingsError(
                    f"--engine {name}{did_you_mean(name, ENGINES)}: choose {' or '.join(ENGINES)}"
                )
        chosen = tuple(self.engine or ENGINES)
        found = tuple(name for name in chosen if name == "onnxruntime" or find_spec(name))
        if not found:
            raise SettingsError("openvino is not installed; pip install 'anomalib-lite[openvino]'")
        return found


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What it may take."""

    panel: ClassVar[str] = RUN
    budget_ms: Annotated[
        float,
        typer.Option(
            metavar="MS",
            help="Milliseconds that a prepared frame may take in the exported file on this "
            "machine.",
        ),
    ]
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES",
            callback=checked_minutes,
            help="About so long; what was found by then counts.",
        ),
    ] = 15.0
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar="",
            help="Keep the trials that OUT already holds; same options, but for --budget-ms and "
            "--minutes.",
        ),
    ] = False

    def check(self) -> None:
        """Raise `SettingsError` for a budget that is none."""
        from anomalib_lite.edge.errors import SettingsError

        if not 0 < self.budget_ms < math.inf:
            raise SettingsError(f"--budget-ms {self.budget_ms:g}: give milliseconds above 0")

    def until(self, started: float) -> float:
        """When the search starts no more trials, seconds of the monotonic clock."""
        return started + 60 * _SHARE_TO_SEARCH * (self.minutes or math.inf)
