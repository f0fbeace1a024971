"""AUPRO: the share of every defect region that is found, at low false-positive rates."""

from __future__ import annotations

from numpy.typing import ArrayLike

from anomalib_lite.metrics.inputs import Images, as_fraction
from anomalib_lite.metrics.regions import (
    ProCurve,
    collect_components,
    overlap_area,
    overlap_curve,
)


def aupro(
    maps: Images, masks: Images, fpr_limit: float = 0.3, *, labels: ArrayLike | None = None
) -> float:
    """Normalised area under the per-region-overlap curve up to `fpr_limit`; exact, 0 to 1.

    MVTec AD's own definition (Bergmann et al., IJCV 2021): 8-connected components over all
    images, each with the same weight; the false-positive rate counts the defect-free pixels of
    all images, anomalous ones included; tied pixels enter at once; straight lines between points,
    also at the limit; the area is divided by the limit. Only the order of scores matters.

    Memory beside the caller's own arrays: about 5 bytes a pixel for float32 maps, 10 for float64,
    and 8 more a defect pixel; pass a generator to keep only one map at a time.

    Args:
        maps: anomaly maps, one `(H, W)` an image; sizes may differ between images.
        masks: masks of the same sizes, bool or integer; any value above 0 is a defect.
        fpr_limit: upper end of the false-positive rate, in (0, 1].
        labels: optional `(N,)`, 1 = anomalous. An empty mask makes all pixels of its image good;
            with labels, an anomalous image with an empty mask is left out instead.

    Raises:
        MetricError: shapes or counts differ, a map is not finite, no pixel is a defect, every
            pixel is a defect, or an image labelled good has a defect in its mask.
    """
    limit = as_fraction(fpr_limit, "fpr_limit")
    return overlap_area(collect_components(maps, masks, labels), limit)


def pro_curve(
    maps: Images, masks: Images, fpr_limit: float = 1.0, *, labels: ArrayLike | None = None
) -> ProCurve:
    """Every point of the PRO curve up to `fpr_limit`, for plots.

    The trapezoid under it, divided by the limit, is `aupro`. One point a distinct score: at full
    resolution pass a small limit, or expect 24 bytes a pixel. Arguments and errors as `aupro`.
    """
    limit = as_fraction(fpr_limit, "fpr_limit")
    return overlap_curve(collect_components(maps, masks, labels), limit)
