"""Options of commands that simulate defects: which kinds, how large, how strong, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

if TYPE_CHECKING:
    from anomalib_lite.data.simulate.defect_set import Where
    from anomalib_lite.data.simulate.plan import DefectPlan

DEFECTS = "Defects"

ObjectMask = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        help="Where defects may lie: a picture of the images' size that is black beside the part; "
        "auto looks for the part on a plain ground; none takes the whole picture.",
        rich_help_panel=DEFECTS,
    ),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="NAME",
        help="Kind of defect; may be repeated: spot, scratch, stain, dent, crack, chip, missing, "
        "doubled, blur, colour, foreign, cutpaste, scar, perlin. Default: all but perlin.",
        rich_help_panel=DEFECTS,
    ),
]


@dataclass(frozen=True, kw_only=True)
class Defects:
    """Which defects are made."""

    panel: ClassVar[str] = DEFECTS
    kind: Kinds = None
    size: Annotated[
        str | None,
        typer.Option(metavar="PX", help="Size in pixels, 12 or 5..40. Default: follows the part."),
    ] = None
    contrast: Annotated[
        str | None,
        typer.Option(metavar="LEVELS", help="Contrast in grey levels of 255, 30 or 20..80."),
    ] = None
    width: Annotated[
        float | None,
        typer.Option(metavar="PX", help="Width of scratches, cracks and scars, pixels."),
    ] = None

    def plan(self) -> DefectPlan | None:
        """What was asked for; None where nothing was, and every kind that fits is taken.

        Raises:
            SettingsError: unknown kinds, ranges that are none.
        """
        from anomalib_lite.data.simulate.families import FAMILIES
        from anomalib_lite.data.simulate.plan import DefectPlan

        if not (self.kind or self.size or self.contrast or self.width is not None):
            return None
        return DefectPlan(
            kinds=tuple(self.kind or FAMILIES),
            size=None if self.size is None else parse_range("size", self.size),
            contrast=None if self.contrast is None else parse_range("contrast", self.contrast),
            width=self.width,
        )


def where_from(object_mask: str) -> Where:
    """How the part is found, from what `--object-mask` says; raises `FrameError`."""
    from anomalib_lite.data.simulate.defect_set import Where
    from anomalib_lite.edge.frames import read_frame

    if object_mask in ("auto", "none"):
        return Where(whole=object_mask == "none")
    return Where(mask=read_frame(object_mask))


def parse_range(name: str, text: str) -> tuple[float, float]:
    """`"12"` -> (12, 12), `"5..40"` -> (5, 40).

    Raises:
        SettingsError: anything else.
    """
    from anomalib_lite.edge.errors import SettingsError

    low, separator, high = text.partition("..")
    try:
        return float(low), float(high if separator else low)
    except ValueError:
        raise SettingsError(
            f"--{name} {text!r} is not understood; write one number, or two as 5..40"
        ) from None
