"""`fit --image-size auto` and `--smallest-defect`: what the network must be able to see."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from anomalib_lite.cli.common import console
from anomalib_lite.cli.options import FRAMES, Frames, Network
from anomalib_lite.cli.progress import progress_bar
from anomalib_lite.cli.training import trains
from anomalib_lite.cli.values import parse_size

if TYPE_CHECKING:
    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.edge.prepare import InputSpec
    from anomalib_lite.edge.sources import SourceLike

AUTO_SIZE = "auto"


@dataclass(frozen=True, kw_only=True)
class InputSize:
    """What the network sees, and what must be found."""

    panel: ClassVar[str] = FRAMES
    image_size: Annotated[
        str,
        typer.Option(
            metavar="HxW",
            help="What the network sees, pixels: 256, or HxW such as 256x320; auto judges sizes by "
            "the good images and says why.",
        ),
    ] = "256"
    smallest_defect: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Diameter of the smallest defect that must be found: 12 (pixels of the "
            "photograph), or 1.5mm with --mm-per-pixel. --image-size auto goes by it; a size that "
            "cannot see it is warned of.",
        ),
    ] = None
    mm_per_pixel: Annotated[
        float | None,
        typer.Option(metavar="MM", help="What a pixel of the photograph covers, millimetres."),
    ] = None

    @property
    def size_hw(self) -> tuple[int, int] | None:
        """Height and width; None where the good images decide."""
        return None if self.image_size == AUTO_SIZE else parse_size(self.image_size)

    def smallest_px(self) -> float | None:
        """The smallest defect in pixels of the photograph; None where nothing was said.

        Raises:
            SettingsError: it is no size, or millimetres without their scale.
        """
        from anomalib_lite.edge.errors import SettingsError

        if self.mm_per_pixel is not None and not 0 < self.mm_per_pixel < math.inf:
            raise SettingsError(f"--mm-per-pixel {self.mm_per_pixel}: give a number above 0")
        text = self.smallest_defect
        if text is None:
            if self.mm_per_pixel is not None:
                raise SettingsError("--mm-per-pixel goes with --smallest-defect 1.5mm")
            return None
        read = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(px|mm)?", text.strip().lower())
        value = float(read[1]) if read else 0.0
        if read is None or not 0 < value < math.inf:
            raise SettingsError(
                f"--smallest-defect {text!r} is not understood; write 12 (pixels) or 1.5mm"
            )
        if read[2] != "mm":
            return value
        if self.mm_per_pixel is None:
            raise SettingsError(
                f"--smallest-defect {text}: add --mm-per-pixel, what a pixel of the photograph "
                "covers"
            )
        return value / self.mm_per_pixel


def chosen_spec(
    frames: Frames,
    network: Network,
    settings: dict[str, Any],
    source: SourceLike,
    smallest_px: float | None,
    *,
    group_by: str,
    seed: int,
    device: str,
) -> InputSpec:
    """The declaration at the size that the good images speak for; prints why.

    Raises:
        SettingsError: a detector that cannot be fitted several times in passing.
    """
    from anomalib_lite.edge.errors import SettingsError

    name = network.detector
    if trains(name) or "products" in settings:
        why = "trains by steps" if trains(name) else "has a threshold for each product"
        raise SettingsError(
            f"--image-size auto fits several times, and {name} {why}; name a size, or see what "
            "--detector patchcore chooses"
        )
    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.edge.sources import open_source
    from anomalib_lite.tuning.image_size import choose_image_size

    def make(spec: InputSpec) -> Detector:
        return Detector(
            name,
            backbone=network.backbone,
            layers=None if network.layers == "auto" else network.layer_names(),
            weights=network.weights,
            image_size=spec,
            calibration="holdout",
            seed=seed,
            device=device,
            **settings,
        )

    with progress_bar() as progress:
        choice = choose_image_size(
            open_source(source, exif=frames.exif),
            make,
            frames.spec,
            smallest_px=smallest_px,
            group_by=group_by,
            seed=seed,
            progress=progress,
        )
    for line in choice.explain():
        console().print(line, markup=False)
    return frames.spec(choice.size_hw)


def too_small(fitted: Detector, smallest_px: float | None) -> None:
    """Warn of a smallest defect that is smaller than a cell of the fitted network."""
    if smallest_px is None:
        return
    from anomalib_lite.tuning.sizes import cell_px

    cell = cell_px(fitted, fitted.data.frame_hw)
    if smallest_px < cell:
        console(stderr=True).print(
            f"a defect of {smallest_px:.4g} pixels is smaller than a cell of the network, "
            f"{cell:.1f} pixels of the frame: it may well be missed. --image-size auto finds a "
            "size that sees it, if there is one",
            style="yellow",
            markup=False,
        )
