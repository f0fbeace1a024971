"""The one resize, and the sizes that small copies get."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from anomalib_lite.edge.frames import Frame

_SAME_SHAPE = 1.05


def resize(picture: Any, size_hw: tuple[int, int]) -> Any:
    """Area when shrinking, bilinear when enlarging; per axis when the two axes disagree."""
    height, width = size_hw
    rows, columns = picture.shape[:2]
    if (rows, columns) == size_hw:
        return picture
    shrunk_hw = min(rows, height), min(columns, width)
    if shrunk_hw != (rows, columns):
        picture = cv2.resize(picture, shrunk_hw[::-1], interpolation=cv2.INTER_AREA)
    if shrunk_hw != size_hw:
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    return picture


def shrunk_hw(size_hw: tuple[int, int], longest: int) -> tuple[int, int]:
    """Size of a small copy: the longer side `longest` at most, the shape kept within 5 %.

    Of a line scan whose shorter side would round to another shape, the longer side gives way; it
    stays above `longest` only where the shorter side is one pixel already.
    """
    share = min(1.0, longest / max(size_hw))
    rows, columns = (max(1, round(side * share)) for side in size_hw)
    aspect = size_hw[1] / size_hw[0]
    if _alike(columns / rows, aspect):
        return rows, columns
    if aspect >= 1:
        rows = max(1, int(size_hw[0] * share))
        return rows, max(1, round(rows * aspect))
    columns = max(1, int(size_hw[1] * share))
    return max(1, round(columns / aspect)), columns


def shrink(frame: Frame, longest: int) -> Frame:
    """A small copy of the same kind and shape, of the size that `shrunk_hw` gives."""
    size_hw = shrunk_hw((frame.shape[0], frame.shape[1]), longest)
    shrunk: Frame = resize(np.ascontiguousarray(frame), size_hw)
    return shrunk.reshape(*size_hw, *frame.shape[2:])


def in_shape(frame: Frame, aspect: float | None) -> Frame:
    """A frame stretched to width / height `aspect` where it is more than 5 % off it.

    Line scans that earlier versions kept as small copies were rounded out of their own shape.
    """
    rows, columns = frame.shape[:2]
    if aspect is None or _alike(columns / rows, aspect):
        return frame
    wide = aspect >= 1
    size_hw = (rows, max(1, round(rows * aspect))) if wide else (round(columns / aspect), columns)
    stretched: Frame = resize(np.ascontiguousarray(frame), size_hw)
    return stretched.reshape(*size_hw, *frame.shape[2:])


def _alike(one: float, other: float) -> bool:
    return max(one, other) <= _SAME_SHAPE * min(one, other)
