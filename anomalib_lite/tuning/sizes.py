"""Which input sizes are worth trying, and what of a photograph they can see."""

from __future__ import annotations

import math

from anomalib_lite.detector.detector import Detector

SIDES = (256, 320, 384, 512)
"""Square roots of the numbers of pixels that are tried."""

STEP = 32
"""Sides are multiples of it: the coarsest stride that backbones read."""

_SQUARE = 1.15  # frames less elongated than this are squeezed to a square
_LONGEST = 4096


def shown(size_hw: tuple[int, int]) -> str:
    """`256x320`: height and width as the command line takes them."""
    return f"{size_hw[0]}x{size_hw[1]}"


def candidates(frame_hw: tuple[int, int], *, same_aspect: bool = True) -> list[tuple[int, int]]:
    """Input sizes worth trying, smallest first; elongated frames keep their shape.

    Args:
        frame_hw: size of the photographs.
        same_aspect: whether all have that shape; else they are squeezed to squares.

    Returns:
        `(height, width)` of about 256², 320², 384² and 512² pixels, multiples of 32. None has
        more pixels than the photograph, but the first.
    """
    rows, columns = frame_hw
    stretch = math.sqrt(rows / columns)
    if not same_aspect or 1 / _SQUARE < rows / columns < _SQUARE:
        stretch = 1.0
    found: list[tuple[int, int]] = []
    for side in SIDES:
        size = _rounded(side * stretch), _rounded(side / stretch)
        if size not in found and (not found or size[0] * size[1] <= rows * columns):
            found.append(size)
    return found


def _rounded(side: float) -> int:
    return min(_LONGEST, max(2 * STEP, STEP * round(side / STEP)))


def cell_px(detector: Detector, frame_hw: tuple[int, int]) -> float:
    """Side of a cell of the finest layer that a detector reads, pixels of the photograph."""
    layout = detector.backbone.layout(detector.spec.size_hw)
    stride = min(layer.stride for layer in layout.layers)
    scales = [frame / seen for frame, seen in zip(frame_hw, detector.spec.size_hw, strict=True)]
    return stride * max(scales)
