"""What a pass over good images notices about them: shapes, colours, brightness, contradictions."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.likeness import clearly_coloured, has_colours
from anomalib_lite.edge.prepare import InputSpec

_SAME_ASPECT = 1.02
_UNUSED_BITS = 2


def share_aspect(sizes: Collection[tuple[int, int]]) -> bool:
    """Whether frames of these sizes `(H, W)` have one shape, within 2 %; False for none."""
    aspects = [columns / rows for rows, columns in sizes]
    return bool(aspects) and max(aspects) <= _SAME_ASPECT * min(aspects)


@dataclass
class FrameLooks:
    """Collects what frames look like, one after the other.

    Attributes:
        sizes: sizes `(H, W)` with the first frame of each, in order.
        seen: indices of the frames; one that is decoded again is no news.
        grey: frames without any colour, by index.
        coloured: frames that are clearly coloured, by index.
        brightest: largest pixel value of all.
    """

    sizes: dict[tuple[int, int], str] = field(default_factory=dict)
    grey: dict[int, str] = field(default_factory=dict)
    coloured: dict[int, str] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    brightest: int = 0

    def add(self, index: int, name: str, frame: Frame) -> None:
        """Note a decoded frame."""
        if index in self.seen:
            return
        self.seen.add(index)
        self.sizes.setdefault((frame.shape[0], frame.shape[1]), name)
        self.brightest = max(self.brightest, int(frame.max()))
        if not has_colours(frame):
            self.grey[index] = name
        elif clearly_coloured(frame):
            self.coloured[index] = name

    @property
    def frame_hw(self) -> tuple[int, int]:
        """Size of the first frame, pixels."""
        return next(iter(self.sizes), (0, 0))

    @property
    def aspect(self) -> float | None:
        """Width / height of the frames when they all share one, within 2 %; else None."""
        if not share_aspect(self.sizes):
            return None
        rows, columns = self.frame_hw
        first = columns / rows
        # Four decimals, or four digits where that is more: those of a tall line scan start late.
        return round(first, 4) if first >= 1 else float(f"{first:.4g}")

    def declared(self, spec: InputSpec) -> InputSpec:
        """The declaration, with what all frames were found to be."""
        return spec.fitted_on(
            aspect=self.aspect,
            coloured=0 < len(self.seen) == len(self.coloured),
            monochrome=0 < len(self.seen) == len(self.grey),
        )

    def hints(self, spec: InputSpec) -> tuple[str, ...]:
        """What contradicts a declaration, or other frames: a line each."""
        found = (self._mixed_colours(spec), self._shapes(spec), self._unused_bits(spec))
        return tuple(line for line in found if line)

    def _mixed_colours(self, spec: InputSpec) -> str:
        if spec.colour == "grey" or not self.grey or not self.coloured:
            return ""
        grey, colour = next(iter(self.grey.values())), next(iter(self.coloured.values()))
        return (
            f"{len(self.grey)} of {len(self.seen)} images are grey (the first: {grey}), "
            f"{len(self.coloured)} have colours ({colour}): the model takes both for good; if a "
            "camera was set wrongly, leave its images out, or take --colour grey"
        )

    def _shapes(self, spec: InputSpec) -> str:
        if len(self.sizes) < 2 or self.aspect is not None:
            return ""
        by_shape = sorted((hw[1] / hw[0], hw, name) for hw, name in self.sizes.items())
        (_, low, narrow), (_, high, wide) = by_shape[0], by_shape[-1]
        return (
            f"the images have different shapes, {low[0]}x{low[1]} ({narrow}) to {high[0]}x"
            f"{high[1]} ({wide}); each is stretched to {spec.height}x{spec.width}, so the same "
            "part looks different, and frames of any shape will be judged: crop them to one view"
        )

    def _unused_bits(self, spec: InputSpec) -> str:
        used, white = max(1, int(self.brightest).bit_length()), 2**spec.bit_depth - 1
        if not self.seen or spec.bit_depth - used < _UNUSED_BITS:
            return ""
        levels = math.floor(self.brightest * 255 / white)
        said = (
            f"no image uses more than {used} of the declared {spec.bit_depth} bits (brightest "
            f"{self.brightest} of {white}): the network sees {levels} of 255 levels; "
        )
        if spec.bit_depth > 8 and used >= 8:
            return f"{said}if the camera gives {used} bits, say --bit-depth {used}"
        return f"{said}expose longer, or scale the images"
