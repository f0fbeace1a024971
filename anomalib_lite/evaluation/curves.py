"""Curves for plots, thinned to a few hundred points; the figures themselves are exact."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.evaluation.maps import PixelView
from anomalib_lite.metrics.buffers import GrowingArray, require_both
from anomalib_lite.metrics.fpr_axis import FprAxis
from anomalib_lite.metrics.inputs import Floats, image_pairs
from anomalib_lite.metrics.regions import Regions, mean_overlap

POINTS = 200
PIMO_LIMIT = 1e-2

Curve = dict[str, list[float]]


def pro_curve(regions: Regions, fpr_limit: float) -> Curve:
    """Mean region overlap at up to `POINTS` false-positive rates in (0, `fpr_limit`].

    Args:
        regions: as collected for AUPRO.
        fpr_limit: upper end of the false-positive rate.

    Returns:
        `fpr`, `overlap` and `threshold`, rates rising.
    """
    axis = FprAxis([(regions.good, float(regions.good.size))], fpr_limit)
    return _thinned(axis, regions, fpr_limit, "overlap", even_in_log=False)


def pimo_curve(view: PixelView) -> Curve:
    """Mean recall of anomalous images over the shared false-positive rate of normal images.

    Points are even in log rate, up to `PIMO_LIMIT`; `fpr`, `recall` and `threshold`, rates rising.

    Raises:
        MetricError: no image is normal or no pixel is a defect.
    """
    groups, regions = _collect_images(view)
    return _thinned(FprAxis(groups, PIMO_LIMIT), regions, PIMO_LIMIT, "recall", even_in_log=True)


def _collect_images(view: PixelView) -> tuple[list[tuple[Floats, float]], Regions]:
    """Normal scores grouped by image size with their weights, and defect scores by image."""
    normal: dict[int, GrowingArray] = {}
    counts: dict[int, int] = {}
    scores, image = GrowingArray(), GrowingArray(np.int32)
    sizes: list[int] = []
    for pair in image_pairs(view.maps, view.masks, view.labels):
        inside = pair.scores[pair.defects]
        if inside.size:
            scores.append(inside)
            image.append(np.full(inside.size, len(sizes), np.int32))
            sizes.append(inside.size)
        else:
            size = pair.scores.size
            normal.setdefault(size, GrowingArray()).append(pair.scores)
            counts[size] = counts.get(size, 0) + 1
    images = sum(counts.values())
    groups = [(buffer.take(), float(images * size)) for size, buffer in normal.items()]
    good = groups[0][0] if groups else np.zeros(0, np.float32)
    found, good = require_both(scores.take(), good)
    return groups, Regions(good, found, image.take(), np.asarray(sizes, np.int64))


def _thinned(
    axis: FprAxis, regions: Regions, limit: float, name: str, *, even_in_log: bool
) -> Curve:
    reach = axis.thresholds[::-1]
    thresholds = reach[_places(reach.size, even_in_log)]
    rates = axis.at(thresholds)
    kept = rates <= limit
    thresholds, rates = thresholds[kept], rates[kept]
    overlap = mean_overlap(regions, thresholds)
    return {
        "fpr": _plain(rates),
        name: _plain(overlap),
        "threshold": _plain(thresholds),
    }


def _places(count: int, even_in_log: bool) -> NDArray[np.int64]:
    if even_in_log:
        places = np.geomspace(1, count, min(POINTS, count)) - 1
    else:
        # Half of the points crowd near zero, where good curves rise.
        half = min(POINTS, count) // 2 + 1
        places = np.concatenate((np.linspace(0, count - 1, half), np.geomspace(1, count, half) - 1))
    return np.unique(places.round().astype(np.int64))


def _plain(values: Any) -> list[float]:
    return [float(value) for value in values]
