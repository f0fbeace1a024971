"""What an evaluation is asked to do, checked at once, and how it is put into words."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.pictures.file import MAX_MEGAPIXELS, megapixels_limit
from anomalib_lite.edge.plain import plain_fields
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.scorers import create_scorer, list_scorers
from anomalib_lite.scorers.fusion.create import layer_names

MapResolution: TypeAlias = Literal["frame", "network"]

_LAYERS = "layers"


@dataclass(frozen=True)
class EvaluationSettings:
    """Everything that can change a figure.

    Attributes:
        data: specifications `kind:path[:category]`; without a category all of them are measured.
        detectors: names of scorers.
        backbones: names of backbones; each is combined with each detector.
        seeds: how many seeds, 0 to `seeds - 1`; every seed is fitted anew.
        image_size: `(height, width)` of the network's input, pixels.
        layers: of the one backbone, read for every detector; None takes its default. In `settings`,
            `"mvg.layers"` goes to one detector, alone and as a part.
        weights: a `.safetensors` file for the one backbone, or None (weights folder, then hub).
        max_false_reject: share of good parts that may be rejected; decides the threshold.
        settings: of the detectors; `"padim.sigma"` goes to one detector and to fusions with
            it, `"sigma"` to all but fusions, `"padim+mvg.trust"` to one fusion.
        limit_train: fit on so many good images, drawn by the seed; None takes all.
        pixel: whether maps are measured.
        map_resolution: `"frame"` enlarges maps to the original frame, `"network"` shrinks masks.
        unlabelled_shift: whether good images are re-scored under changes of lamp, optics and pose.
        max_megapixels: larger pictures and masks are refused; None takes the process's limit, 100
            unless it was changed.

    Raises:
        SettingsError: a name is unknown, given twice, or a number is out of range.
    """

    data: tuple[str, ...]
    detectors: tuple[str, ...] = ("patchcore",)
    backbones: tuple[str, ...] = ("pdn_edge",)
    seeds: int = 3
    image_size: tuple[int, int] = (256, 256)
    weights: Path | None = None
    max_false_reject: float = 0.01
    settings: Mapping[str, Any] = field(default_factory=dict)
    limit_train: int | None = None
    pixel: bool = True
    map_resolution: MapResolution = "frame"
    unlabelled_shift: bool = False
    layers: tuple[str, ...] | None = None
    max_megapixels: float | None = None

    def __post_init__(self) -> None:
        plain_fields(self)
        for name in ("data", "detectors", "backbones"):
            _refuse_empty_or_twice(name, getattr(self, name))
        parts = [part for name in self.detectors for part in name.split("+")]
        unknown = [name for name in parts if name not in list_scorers()]
        if unknown:
            known = ", ".join(list_scorers())
            raise SettingsError(f"unknown detector {unknown[0]!r}; choose from {known}")
        if self.seeds < 1:
            raise SettingsError(f"seeds is {self.seeds}; choose 1 or more")
        if not 0 < self.max_false_reject < 1:
            raise SettingsError(
                f"max_false_reject is {self.max_false_reject}; choose between 0 and 1"
            )
        if self.max_megapixels is not None and not 0 < self.max_megapixels < math.inf:
            raise SettingsError(
                f"max_megapixels is {self.max_megapixels}; give a number above 0, such as 100"
            )
        if self.limit_train is not None and self.limit_train < 1:
            raise SettingsError(f"limit_train is {self.limit_train}; choose 1 or more")
        if self.map_resolution not in get_args(MapResolution):
            raise SettingsError(
                f"map resolution is {self.map_resolution!r}; choose frame or network"
            )
        if self.weights is not None and len(self.backbones) > 1:
            raise SettingsError(
                "one weights file cannot serve several backbones; put <backbone>.safetensors files "
                "into the folder ANOMALIB_LITE_WEIGHTS instead"
            )
        if self.layers is not None and len(self.backbones) > 1:
            raise SettingsError(
                "layers have other names in other backbones; evaluate one backbone at a time"
            )
        self._refuse_settings_of_nobody()

    def _refuse_settings_of_nobody(self) -> None:
        for name in self.settings:
            *owner_words, own = name.split(".")
            owner = ".".join(owner_words)
            if name == _LAYERS:
                raise SettingsError("layers of all detectors: write --layers instead")
            if not own.isidentifier() or own == "name":
                raise SettingsError(f"no detector has a setting {name!r}")
            if owner and owner not in self._owners():
                raise SettingsError(
                    f"setting {name!r} is for the detector {owner!r}, which is not evaluated here"
                )

    def _owners(self) -> set[str]:
        """Detectors, the parts of fusions, and the parts of one fusion: `a`, `a+b`, `a+b.a`."""
        fusions = [name for name in self.detectors if "+" in name]
        parts = {part for name in fusions for part in name.split("+")}
        exact = {f"{name}.{part}" for name in fusions for part in name.split("+")}
        return {*self.detectors, *parts, *exact}

    @property
    def limited(self) -> dict[str, float]:
        """The limit of picture sizes, as a setting, where it is not the usual one."""
        most = megapixels_limit() if self.max_megapixels is None else self.max_megapixels
        return {} if most == MAX_MEGAPIXELS else {"max_megapixels": float(most)}

    def spec(self) -> InputSpec:
        """The input declaration of every run; raises `SettingsError` for impossible sizes."""
        height, width = self.image_size
        return InputSpec(height=height, width=width)

    def for_detector(self, name: str) -> dict[str, Any]:
        """Settings that reach one detector: those for all, then its own.

        A fusion has none in common with others; those of its parts reach the parts.
        """
        parts = name.split("+")
        if len(parts) > 1:
            shared = {
                key: value for key, value in self.settings.items() if key.split(".")[0] in parts
            }
        else:
            shared = {key: value for key, value in self.settings.items() if "." not in key}
        own = {
            key.partition(".")[2]: value
            for key, value in self.settings.items()
            if key.startswith(f"{name}.")
        }
        found = {**shared, **own}
        if len(parts) == 1:
            found.pop(_LAYERS, None)
        return found

    def layers_for(self, name: str) -> list[str] | None:
        """Layers that the backbone reads for one detector; parts of a fusion may name others."""
        key = f"{name}.{_LAYERS}"
        if key in self.settings:
            return layer_names(key, self.settings[key])
        return None if self.layers is None else list(self.layers)

    def command(self) -> str:
        """The command line that repeats this evaluation; where it writes is left open."""
        words = ["anomalib-lite", "evaluate"]
        for flag, names in (
            ("--data", self.data),
            ("--detector", self.detectors),
            ("--backbone", self.backbones),
        ):
            words += [word for name in names for word in (flag, name)]
        height, width = self.image_size
        size = str(height) if height == width else f"{height}x{width}"
        words += ["--seeds", str(self.seeds), "--image-size", size]
        words += ["--max-false-reject", str(self.max_false_reject)]
        if self.layers is not None:
            words += ["--layers", ",".join(self.layers)]
        if self.weights is not None:
            words += ["--weights", str(self.weights)]
        for key, value in self.settings.items():
            words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
        if self.limit_train is not None:
            words += ["--limit-train", str(self.limit_train)]
        if not self.pixel:
            words.append("--no-pixel")
        if self.map_resolution != "frame":
            words += ["--map-resolution", self.map_resolution]
        if self.unlabelled_shift:
            words.append("--unlabelled-shift")
        if self.limited:
            words += ["--max-megapixels", f"{self.limited['max_megapixels']:g}"]
        return shlex.join([*words, "--out", "DIR"])

    def protocol(self) -> list[str]:
        """How the figures were made, one sentence an item."""
        height, width = self.image_size
        fit = "Fitted on the good images of the training split only"
        if self.limit_train is not None:
            fit += f", at most {self.limit_train} of them, drawn by the seed"
        if not self.pixel:
            maps = "Maps were not measured."
        elif self.map_resolution == "frame":
            maps = "Maps are enlarged to the original resolution of each frame and measured there."
        else:
            maps = "Masks are brought to the resolution of the network's map (a pixel is a defect "
            maps += "where at least half of it is); figures differ from those at frame resolution."
        return [
            f"{fit}; no test image, label or mask takes part in the fit.",
            "The threshold comes from good training images that the scoring model has not seen, "
            f"for a false-reject rate of at most {100 * self.max_false_reject:g} %.",
            f"Frames are resized to {height} x {width} pixels, without a crop.",
            maps,
            "Scores and maps are raw: no rescaling, clipping or sigmoid, in float32.",
            "The last model counts; nothing is chosen on the test set. F1-max is by definition an "
            "exception, an upper bound and not an operating point.",
            "Each seed is fitted anew; tables show mean ± standard error over seeds. Categories "
            "are measured apart and averaged with equal weight.",
            "MVTec LOCO: logical and structural anomalies are measured apart against the same good "
            "images, and their mean is shown.",
            "Anomalous images whose mask is missing or empty count for image figures and are left "
            "out of pixel figures.",
            *self._variants(),
        ]

    def _variants(self) -> list[str]:
        """Which detectors are not the published method of their name."""
        scorers = [create_scorer(name, **self.for_detector(name)) for name in self.detectors]
        return [f"{scorer.name}: {scorer.protocol}." for scorer in scorers if scorer.protocol]


def _refuse_empty_or_twice(name: str, values: tuple[str, ...]) -> None:
    if not values:
        raise SettingsError(f"{name} is empty; name at least one")
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise SettingsError(f"{twice[0]!r} is given twice in {name}; name it once")
