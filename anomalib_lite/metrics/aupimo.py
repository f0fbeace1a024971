"""AUPIMO: how much of each defect is found when almost nothing on good parts may be flagged."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomalib_lite.metrics.buffers import GrowingArray, require_both
from anomalib_lite.metrics.errors import MetricError, MetricWarning
from anomalib_lite.metrics.fpr_axis import FprAxis, Rates, ramp_area
from anomalib_lite.metrics.inputs import Images, image_pairs
from anomalib_lite.metrics.regions import Regions

_ENOUGH_POINTS = 30
"""Fewer distinct normal scores than this inside the bounds: the value rests on their luck."""

_TINY_RATE = 1e-300


@dataclass(frozen=True, slots=True)
class AupimoResult:
    """One value `(A,)` an anomalous image, and which image `(A,)` of the input it is.

    `num_points` is the number of distinct normal scores whose shared rate lies in the bounds.
    """

    values: Rates
    image_indices: NDArray[np.int64]
    num_points: int

    @property
    def mean(self) -> float:
        """Mean over the anomalous images, the figure that papers quote."""
        return float(self.values.mean())


def aupimo(
    maps: Images,
    masks: Images,
    fpr_bounds: tuple[float, float] = (1e-5, 1e-4),
    *,
    labels: ArrayLike | None = None,
) -> AupimoResult:
    """Per-image recall averaged over log false-positive rates between the bounds; exact.

    Bertoldo et al., BMVC 2024: ∫ recall d(log FPR) / log(upper / lower) for each anomalous image,
    its recall taken over the whole image. The shared rate is the mean over *normal images* of each
    image's share of flagged pixels: normal parts of anomalous images do not count. All distinct
    scores are thresholds; a tie of normal and defect pixels is a straight line in log FPR.

    Args:
        maps: anomaly maps, one `(H, W)` an image; sizes may differ between images.
        masks: masks of the same sizes, bool or integer; any value above 0 is a defect.
        fpr_bounds: `(lower, upper)` with 0 < lower < upper <= 1.
        labels: optional `(N,)`, 1 = anomalous. An empty mask makes its image normal; with labels,
            an anomalous image with an empty mask is left out instead.

    Raises:
        MetricError: as `aupro`; no image is normal; or the normal pixels are too few to reach the
            lower bound or to give a point between the bounds.

    Warns:
        MetricWarning: fewer than 30 distinct normal scores lie inside the bounds.
    """
    lower, upper = _check_bounds(fpr_bounds)
    groups, regions, indices = _collect_images(maps, masks, labels)
    axis = FprAxis(groups, upper)
    num_points = _count_points(axis, lower, upper)
    low, high = math.log(lower), math.log(upper)
    areas = (
        (
            ramp_area(_log(axis.before(scores)), _log(axis.at(scores)), low, high) / (high - low),
            image,
        )
        for scores, image in regions.blocks()
    )
    values = regions.region_sums(areas)
    return AupimoResult(values, np.asarray(indices, dtype=np.int64), num_points)


def _check_bounds(fpr_bounds: tuple[float, float]) -> tuple[float, float]:
    lower, upper = fpr_bounds
    if not 0.0 < lower < upper <= 1.0:
        raise MetricError(f"fpr_bounds is {fpr_bounds}; expected 0 < lower < upper <= 1")
    return float(lower), float(upper)


def _log(rates: Rates) -> Rates:
    # A rate of 0 lies left of every lower bound; any tiny number keeps it there.
    logs: Rates = np.log(np.maximum(rates, _TINY_RATE))
    return logs


def _collect_images(
    maps: Images, masks: Images, labels: ArrayLike | None
) -> tuple[list[tuple[NDArray[np.float64], float]], Regions, list[int]]:
    """Read all images once: normal scores grouped by image size, defect scores by image."""
    normal: dict[int, GrowingArray] = {}
    scores, image = GrowingArray(), GrowingArray(np.int32)
    sizes: list[int] = []
    indices: list[int] = []
    num_normal = 0
    for pair in image_pairs(maps, masks, labels):
        inside = pair.scores[pair.defects]
        if not inside.size:
            normal.setdefault(pair.scores.size, GrowingArray()).append(pair.scores)
            num_normal += 1
            continue
        scores.append(inside)
        image.append(np.full(inside.size, len(sizes), dtype=np.int32))
        sizes.append(inside.size)
        indices.append(pair.index)
    if not num_normal:
        raise MetricError("no image is normal (empty mask); AUPIMO's FPR axis needs normal images")
    groups = [(buffer.take(), float(num_normal * size)) for size, buffer in normal.items()]
    found, _ = require_both(scores.take(), groups[0][0])
    return groups, Regions(groups[0][0], found, image.take(), np.asarray(sizes)), indices


def _count_points(axis: FprAxis, lower: float, upper: float) -> int:
    """Count curve points inside the bounds; refuse or warn when they cannot carry a value."""
    rates = axis.at(axis.thresholds)
    smallest = float(rates[-1])
    if smallest > lower * (1 + 1e-12):
        raise MetricError(
            f"the highest normal score alone gives FPR {smallest:.2g}, above the lower bound "
            f"{lower:g}; add normal images or raise fpr_bounds"
        )
    inside = int(np.count_nonzero((rates >= lower) & (rates <= upper)))
    if not inside:
        raise MetricError(
            f"no normal score has an FPR between {lower:g} and {upper:g}; normal maps are too "
            "few or too coarse"
        )
    if inside < _ENOUGH_POINTS:
        warnings.warn(
            f"AUPIMO rests on {inside} distinct normal scores between FPR {lower:g} and "
            f"{upper:g}; {_ENOUGH_POINTS} or more make it steady",
            MetricWarning,
            stacklevel=3,
        )
    return inside
