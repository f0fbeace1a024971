"""What the line feels at one threshold: good parts rejected, defects missed, recall a defect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from anomalib_lite.metrics.errors import MetricError
from anomalib_lite.metrics.inputs import Bools, as_floats, as_labels, as_scores

GOOD = "good"
"""The defect name that public data sets give to parts without one."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with the counts behind it: `value` = `num_hits` / `num_samples`."""

    value: float
    num_hits: int
    num_samples: int

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.num_hits}/{self.num_samples})"


def false_reject_rate(scores: ArrayLike, labels: ArrayLike, threshold: float) -> Rate:
    """Share of good parts that the line would reject: score > threshold.

    The threshold must come from held-out good parts, never from `f1_max` on the test set. With n
    good parts the finest rate that can be told from zero is about 1/n.

    Args:
        scores: `(N,)`, higher = more anomalous.
        labels: `(N,)`, 1 = anomalous, 0 = good.
        threshold: raw score; a part exactly at it is accepted.

    Raises:
        MetricError: no part is good, shapes differ, or a score or the threshold is not a number.
    """
    anomalous, rejected = _decide(scores, labels, threshold)
    return _rate(rejected[~anomalous], "good")


def miss_rate(scores: ArrayLike, labels: ArrayLike, threshold: float) -> Rate:
    """Share of anomalous parts that pass: score <= threshold.

    Arguments as `false_reject_rate`; raises `MetricError` when no part is anomalous.
    """
    anomalous, rejected = _decide(scores, labels, threshold)
    return _rate(~rejected[anomalous], "anomalous")


def per_defect_recall(
    scores: ArrayLike, defects: Sequence[str | None], threshold: float
) -> dict[str, Rate]:
    """Share of parts rejected for each kind of defect, sorted by name.

    Args:
        scores: `(N,)`, higher = more anomalous.
        defects: name of each part's defect; None or "good" marks a good part, which is left out.
        threshold: raw score; rejected = above.

    Raises:
        MetricError: counts differ, every part is good, or a score or the threshold is not a number.
    """
    values = as_scores(scores)
    if len(defects) != values.size:
        raise MetricError(f"defects names {len(defects)} parts; expected {values.size}")
    rejected = values > _finite(threshold)
    names = sorted({name for name in defects if name is not None and name != GOOD})
    if not names:
        raise MetricError("defects holds only good parts; recall needs anomalous ones")
    return {name: _rate(rejected[[found == name for found in defects]], name) for name in names}


def mean_and_sem(values: ArrayLike) -> tuple[float, float]:
    """Mean over seeds or categories and its standard error, s / √n with n − 1 in s.

    The error is NaN for a single value: one run says nothing about its spread.

    Raises:
        MetricError: `values` is empty, not 1-D, or not finite.
    """
    array = as_floats(values, "values").astype(np.float64)
    if array.ndim != 1 or not array.size:
        raise MetricError(f"values has shape {array.shape}; expected (n,) with n > 0")
    mean = float(array.mean())
    if array.size == 1:
        return mean, math.nan
    return mean, float(array.std(ddof=1)) / math.sqrt(array.size)


def _decide(scores: ArrayLike, labels: ArrayLike, threshold: float) -> tuple[Bools, Bools]:
    values = as_scores(scores)
    rejected: Bools = values > _finite(threshold)
    return as_labels(labels, values.size), rejected


def _finite(threshold: float) -> np.float64:
    # float64 on purpose: a Python float would be rounded to float32 beside float32 scores.
    if math.isnan(threshold):
        raise MetricError("threshold is NaN; expected a score")
    return np.float64(threshold)


def _rate(hits: Bools, name: str) -> Rate:
    if not hits.size:
        raise MetricError(f"no {name} part among the samples; the rate is undefined")
    count = int(np.count_nonzero(hits))
    return Rate(count / hits.size, count, hits.size)
