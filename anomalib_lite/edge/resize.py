"""The one resize, and the sizes that small copies get."""

from __future__ import annotations

import threading
from typing import Any

import cv2
import numpy as np

from anomalib_lite.edge.frames import Frame

_SAME_SHAPE = 1.05
_WORTH_SHARING = 6_000_000
"""Values of a picture from which a second thread saves more than it costs (some 1.5 ms)."""


def resize(picture: Any, size_hw: tuple[int, int]) -> Any:
    """Area when shrinking, bilinear when enlarging; per axis when the two axes disagree."""
    height, width = size_hw
    rows, columns = picture.shape[:2]
    if (rows, columns) == size_hw:
        return picture
    shrunk_hw = min(rows, height), min(columns, width)
    if shrunk_hw != (rows, columns):
        picture = _shrunk(picture, shrunk_hw)
    if shrunk_hw != size_hw:
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    return picture


def _shrunk(picture: Any, size_hw: tuple[int, int]) -> Any:
    """By area; a large picture in bands of rows, one a thread, in the bytes of the whole.

    OpenCV shares work by the size of the *result*, so it leaves a camera's frame to one core.
    """
    height, width = size_hw
    bands = _bands(picture, height)
    if bands == 1:
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    rows = picture.shape[0] // bands
    shrunk = np.empty((bands, height // bands, width, *picture.shape[2:]), picture.dtype)

    failed: list[Exception] = []

    def work(band: int) -> None:
        part = picture[band * rows : (band + 1) * rows]
        try:
            cv2.resize(part, (width, height // bands), shrunk[band], interpolation=cv2.INTER_AREA)
        except Exception as error:
            failed.append(error)

    others = [threading.Thread(target=work, args=(band,)) for band in range(1, bands)]
    for thread in others:
        thread.start()
    work(0)
    for thread in others:
        thread.join()
    if failed:
        raise failed[0]
    return shrunk.reshape(height, width, *picture.shape[2:])


def _bands(picture: Any, height: int) -> int:
    """Into how many bands a picture can be cut without moving a single rounding.

    Where rows / height is a binary fraction, and OpenCV's `1 / (height / rows)` is it exactly, so
    are all places and shares of rows; then a band between whole rows is computed like the whole.
    """
    rows = picture.shape[0]
    scale = rows / height
    exact = 1.0 / (height / rows) == scale and (scale * 2**20).is_integer()
    if picture.size < _WORTH_SHARING or not exact:
        return 1
    possible = range(min(cv2.getNumThreads(), height), 1, -1)
    return next((n for n in possible if rows % n == 0 and height % n == 0), 1)


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
