"""Image metrics: how well one score a part separates good from anomalous."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomalib_lite.metrics.inputs import Floats, split_scores
from anomalib_lite.metrics.ranking import (
    ranked_auroc,
    ranked_average_precision,
    ranked_f1_max,
)

Curve = NDArray[np.float64]


class RocCurve(NamedTuple):
    """Rates `(T + 1,)` while the threshold falls; the first point is (0, 0) at infinity.

    Scores at or above `thresholds[i]` are flagged.
    """

    fpr: Curve
    tpr: Curve
    thresholds: Curve


class PrecisionRecallCurve(NamedTuple):
    """Precision and recall `(T,)` at each distinct score, highest first; no point is invented.

    Scores at or above `thresholds[i]` are flagged.
    """

    precision: Curve
    recall: Curve
    thresholds: Curve


@dataclass(frozen=True, slots=True)
class F1Point:
    """The best F1 and where it is reached.

    `threshold` lies between the lowest flagged score and the next lower one, so `>` and `>=`
    flag the same images (only `>` where no number of the scores' type lies between the two).
    """

    f1: float
    precision: float
    recall: float
    threshold: float


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Probability that an anomalous image outscores a good one; a tie counts half.

    Args:
        scores: `(N,)`, higher = more anomalous.
        labels: `(N,)`, 1 = anomalous, 0 = good.

    Raises:
        MetricError: shapes differ, a score is NaN or infinite, or only one class is present.
    """
    return ranked_auroc(*split_scores(scores, labels))


def auroc_between(good: ArrayLike, anomalous: ArrayLike) -> float:
    """`auroc` of scores of good images `(n,)` and of anomalous ones `(m,)`."""
    sides = [np.asarray(side) for side in (good, anomalous)]
    return auroc(np.concatenate(sides), np.repeat([0, 1], [len(side) for side in sides]))


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Step-wise area under precision-recall, Σ (Rₙ − Rₙ₋₁) Pₙ; not the optimistic trapezoid.

    Args:
        scores: `(N,)`, higher = more anomalous.
        labels: `(N,)`, 1 = anomalous, 0 = good.

    Raises:
        MetricError: as `auroc`.
    """
    return ranked_average_precision(*split_scores(scores, labels))


def f1_max(scores: ArrayLike, labels: ArrayLike) -> float:
    """Best F1 over all thresholds: an upper bound chosen on the test set, not an operating point.

    `f1_max_point` also gives the threshold. Arguments and errors as `auroc`.
    """
    return f1_max_point(scores, labels).f1


def f1_max_point(scores: ArrayLike, labels: ArrayLike) -> F1Point:
    """Best F1 with its precision, recall and threshold (the highest one when several tie).

    Arguments and errors as `auroc`.
    """
    return f1_point(*split_scores(scores, labels))


def f1_point(positives: Floats, negatives: Floats) -> F1Point:
    """The best F1 of two sorted arrays; see `f1_max_point`."""
    f1, lowest = ranked_f1_max(positives, negatives)
    hit = positives.size - int(np.searchsorted(positives, positives.dtype.type(lowest)))
    false = negatives.size - int(np.searchsorted(negatives, negatives.dtype.type(lowest)))
    threshold = _between(_next_lower(positives, negatives, hit, false), lowest, positives.dtype)
    return F1Point(f1, hit / (hit + false), hit / positives.size, threshold)


def _next_lower(positives: Floats, negatives: Floats, hit: int, false: int) -> float:
    below = [
        float(values[values.size - flagged - 1])
        for values, flagged in ((positives, hit), (negatives, false))
        if flagged < values.size
    ]
    return max(below, default=-np.inf)


def _between(lower: float, upper: float, dtype: np.dtype[np.floating]) -> float:
    if lower == -np.inf:
        return float(np.nextafter(dtype.type(upper), dtype.type(-np.inf)))
    middle = float(dtype.type(lower / 2 + upper / 2))
    return middle if lower < middle < upper else lower


def roc_curve(scores: ArrayLike, labels: ArrayLike) -> RocCurve:
    """Every point of the ROC curve, one a distinct score. Arguments and errors as `auroc`."""
    positives, negatives = split_scores(scores, labels)
    thresholds = np.unique(np.concatenate((positives, negatives)))[::-1]
    tpr = _share_at_least(positives, thresholds)
    fpr = _share_at_least(negatives, thresholds)
    start = np.zeros(1)
    return RocCurve(
        np.concatenate((start, fpr)),
        np.concatenate((start, tpr)),
        np.concatenate((start + np.inf, thresholds)),
    )


def precision_recall_curve(scores: ArrayLike, labels: ArrayLike) -> PrecisionRecallCurve:
    """Precision and recall at each distinct score. Arguments and errors as `auroc`."""
    positives, negatives = split_scores(scores, labels)
    thresholds = np.unique(np.concatenate((positives, negatives)))[::-1]
    true = positives.size - np.searchsorted(positives, thresholds, side="left")
    false = negatives.size - np.searchsorted(negatives, thresholds, side="left")
    return PrecisionRecallCurve(
        true / (true + false), true / positives.size, thresholds.astype(np.float64)
    )


def _share_at_least(ascending: Floats, thresholds: Floats) -> Curve:
    return (ascending.size - np.searchsorted(ascending, thresholds, side="left")) / ascending.size
