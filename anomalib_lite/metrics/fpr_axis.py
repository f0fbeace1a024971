"""The false-positive-rate axis that AUPRO, AU-sPRO and AUPIMO share, and areas over it.

Every curve of these metrics is a weighted sum of one ramp per defect pixel: the pixel's share is 0
before the threshold falls to its score, 1 after, and rises in a straight line over the run of
defect-free pixels that tie with it. So the area up to a limit is a sum over defect pixels of
their ramps' areas, and only the top of the defect-free scores has to be sorted: no cumulative sum
runs over the pixels, and nothing is rounded but the final sums. The slow, cumulative form is the
reference in `tests/metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.metrics.inputs import Floats

Rates = NDArray[np.float64]


class FprAxis:
    """False-positive rate as a function of the threshold, exact up to `limit`.

    Args:
        groups: pairs `(scores (n,), denominator)`; a defect-free pixel of a group adds
            1/denominator to the rate. The scores are reordered in place.
        limit: rates above it are only known to be above it.
    """

    def __init__(self, groups: Sequence[tuple[Floats, float]], limit: float) -> None:
        self._groups = [(_sorted_top(scores, limit * d), d) for scores, d in groups]

    @property
    def thresholds(self) -> Floats:
        """Distinct defect-free scores that the limit can reach, ascending."""
        values: Floats = np.unique(np.concatenate([top for top, _ in self._groups]))
        return values

    def before(self, scores: Floats) -> Rates:
        """Return the rate `(P,)` of defect-free pixels above each score."""
        return self._rate(scores, "right")

    def at(self, scores: Floats) -> Rates:
        """Return the rate `(P,)` of defect-free pixels at or above each score."""
        return self._rate(scores, "left")

    def _rate(self, scores: Floats, side: Any) -> Rates:
        rate = np.zeros(scores.shape)
        for top, denominator in self._groups:
            rate += (top.size - np.searchsorted(top, scores, side=side)) / denominator
        return rate


def _sorted_top(scores: Floats, reach: float) -> Floats:
    """Return the highest `reach` scores and one more, with all that tie with the lowest kept."""
    keep = math.ceil(reach) + 1
    if keep >= scores.size:
        scores.sort()
        return scores
    cut = scores.size - keep
    scores.partition(cut)
    ties = int(np.count_nonzero(scores[:cut] == scores[cut]))
    top = scores[cut:]
    top.sort()
    return np.concatenate((np.full(ties, top[0]), top)) if ties else top


def ramp_area(start: Rates, stop: Rates, lower: float, upper: float) -> Rates:
    """Area between `lower` and `upper` under ramps `(P,)`: 0 up to start, straight to 1 at stop."""
    first, last = np.clip(start, lower, upper), np.clip(stop, lower, upper)
    width = last - first
    height = np.divide(
        (first + last) / 2 - start, stop - start, out=np.zeros_like(width), where=width > 0
    )
    return width * height + (upper - last)
