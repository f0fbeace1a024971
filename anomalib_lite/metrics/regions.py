"""Regions and their mean overlap: what AUPRO and AU-sPRO have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomalib_lite.metrics.buffers import GrowingArray, append_split, require_both
from anomalib_lite.metrics.fpr_axis import FprAxis, Rates, ramp_area
from anomalib_lite.metrics.inputs import Bools, Floats, Images, image_pairs

_BLOCK = 1 << 20


class ProCurve(NamedTuple):
    """Mean region overlap over the false-positive rate, `(T,)` each, rates increasing.

    Scores at or above `thresholds[i]` are flagged; the first point is (0, 0) at infinity.
    """

    fpr: Rates
    pro: Rates
    thresholds: Rates


@dataclass(frozen=True, slots=True)
class Regions:
    """Defect-free scores `(n,)`, region scores `(P,)`, their region `(P,)`, region sizes `(K,)`."""

    good: Floats
    scores: Floats
    region: NDArray[np.int32]
    sizes: NDArray[np.int64]

    def blocks(self) -> Iterator[tuple[Floats, NDArray[np.int32]]]:
        """Yield `(scores, region)` of up to a million pixels, sorted within the block."""
        for start in range(0, self.scores.size, _BLOCK):
            part = self.scores[start : start + _BLOCK]
            # Sorted look-ups walk the table in order; random ones miss the cache every time.
            order = np.argsort(part)
            yield part[order], self.region[start : start + _BLOCK][order]

    def region_sums(self, values: Iterator[tuple[Rates, NDArray[np.int32]]]) -> Rates:
        """Sum values a region and divide by its size: `(K,)`."""
        sums = np.zeros(self.sizes.size)
        for value, region in values:
            sums += np.bincount(region, weights=value, minlength=sums.size)
        return sums / self.sizes


def collect_components(maps: Images, masks: Images, labels: ArrayLike | None) -> Regions:
    """Read all images once; every connected component of a mask is one region."""
    good, scores, region = GrowingArray(), GrowingArray(), GrowingArray(np.int32)
    sizes: list[NDArray[np.int64]] = []
    known = 0
    for pair in image_pairs(maps, masks, labels):
        if not append_split(pair, scores, good):
            continue
        ids = component_ids(pair.defects)
        region.append(ids + np.int32(known))
        sizes.append(np.bincount(ids))
        known += sizes[-1].size
    found, free = require_both(scores.take(), good.take())
    return Regions(free, found, region.take(), np.concatenate(sizes))


def component_ids(defects: Bools) -> NDArray[np.int32]:
    """Return the component, from 0, of each defect pixel in row order."""
    binary = np.ascontiguousarray(defects).view(np.uint8)
    _, components = cv2.connectedComponents(binary, connectivity=8, ltype=cv2.CV_32S)
    ids: NDArray[np.int32] = np.asarray(components, dtype=np.int32)[defects] - np.int32(1)
    return ids


def overlap_area(regions: Regions, fpr_limit: float) -> float:
    """Area under the mean-overlap curve up to `fpr_limit`, divided by the limit."""
    axis = FprAxis([(regions.good, regions.good.size)], fpr_limit)
    areas = (
        (ramp_area(axis.before(scores), axis.at(scores), 0.0, fpr_limit) / fpr_limit, region)
        for scores, region in regions.blocks()
    )
    return float(regions.region_sums(areas).mean())


def overlap_curve(regions: Regions, fpr_limit: float) -> ProCurve:
    """Every point of the mean-overlap curve up to `fpr_limit`, the last one interpolated."""
    axis = FprAxis([(regions.good, regions.good.size)], fpr_limit)
    reach = axis.thresholds
    lowest = -np.inf if fpr_limit == 1.0 else reach[0]
    reachable = regions.scores[regions.scores >= lowest]
    thresholds = np.unique(np.concatenate((reach, reachable)))[::-1]
    fpr = np.concatenate(([0.0], axis.at(thresholds)))
    pro = np.concatenate(([0.0], mean_overlap(regions, thresholds)))
    named = np.concatenate(([np.inf], thresholds))
    end = int(np.searchsorted(fpr, fpr_limit, side="right"))
    if end == fpr.size or fpr[end - 1] == fpr_limit:
        return ProCurve(fpr[:end], pro[:end], named[:end])
    pro[end] = np.interp(fpr_limit, fpr[end - 1 : end + 1], pro[end - 1 : end + 1])
    fpr[end] = fpr_limit
    return ProCurve(fpr[: end + 1], pro[: end + 1], named[: end + 1])


def mean_overlap(regions: Regions, thresholds: Floats, *, strict: bool = False) -> Rates:
    """Mean over regions of the share flagged at each threshold `(T,)`.

    A score is flagged at or above the threshold; with `strict` only above it.
    """
    order = np.argsort(regions.scores)
    shares = 1.0 / (regions.sizes[regions.region[order]] * float(regions.sizes.size))
    passed = np.concatenate(([0.0], np.cumsum(shares[::-1])))
    below = np.searchsorted(regions.scores[order], thresholds, side="right" if strict else "left")
    return np.minimum(passed[order.size - below], 1.0)
