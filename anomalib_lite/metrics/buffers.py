"""A growing array: pixels of many images in one block, at a few bytes a pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from anomalib_lite.metrics.errors import MetricError
from anomalib_lite.metrics.inputs import Floats, ImagePair, Images, image_pairs

_GROWTH = 1.25


class GrowingArray:
    """Appends chunks to one block that grows in place (`realloc`), so nothing is held twice.

    Args:
        dtype: type to start with; a wider type appended later widens the block, never rounds.
    """

    def __init__(self, dtype: DTypeLike = np.float32) -> None:
        self._data: NDArray[Any] = np.empty(0, dtype)
        self._size = 0

    def append(self, values: NDArray[Any]) -> None:
        """Add `values` (any shape, read in C order) at the end."""
        if not values.size:
            return
        wide = np.result_type(self._data.dtype, values.dtype)
        if wide != self._data.dtype:
            self._data = self._data.astype(wide)
        end = self._size + values.size
        if end > self._data.size:
            self._data.resize(max(end, int(self._data.size * _GROWTH)), refcheck=False)
        self._data[self._size : end].reshape(values.shape)[...] = values
        self._size = end

    def take(self) -> NDArray[Any]:
        """Return the collected values `(n,)` and start again empty."""
        data, self._data = self._data, np.empty(0, self._data.dtype)
        data.resize(self._size, refcheck=False)
        self._size = 0
        return data


def collect_pixels(
    maps: Images, masks: Images, labels: ArrayLike | None = None
) -> tuple[Floats, Floats]:
    """Return `(defect, good)` pixel scores of all images, unsorted, in one pass.

    Memory: one image plus 4 bytes a pixel for float32 maps (8 for float64), and up to a quarter
    more while the block grows.

    Raises:
        MetricError: as `image_pairs`, and when no pixel is a defect or every pixel is.
    """
    defect, good = GrowingArray(), GrowingArray()
    for pair in image_pairs(maps, masks, labels):
        append_split(pair, defect, good)
    return require_both(defect.take(), good.take())


def append_split(pair: ImagePair, defect: GrowingArray, good: GrowingArray) -> bool:
    """Append the image's defect and good scores; return whether it has a defect."""
    if not pair.defects.any():
        good.append(pair.scores)
        return False
    defect.append(pair.scores[pair.defects])
    good.append(pair.scores[~pair.defects])
    return True


def require_both(defect: Floats, good: Floats) -> tuple[Floats, Floats]:
    """Return both arrays in one type; raise `MetricError` when either is empty."""
    if not defect.size:
        raise MetricError("no mask marks a defect pixel; pixel metrics need at least one")
    if not good.size:
        raise MetricError("every pixel is marked as defect; pixel metrics need defect-free pixels")
    wide = np.result_type(defect, good)
    return defect.astype(wide, copy=False), good.astype(wide, copy=False)
