"""What the line feels: good parts rejected and defects missed at the calibrated thresholds.

Beside the rate that was asked for stand 1 % and 5 %, so that runs can be compared, and the best
that overlap allows: with the threshold at the highest good *test* part nobody could miss fewer
without rejecting one. The difference between the two is what the threshold costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.evaluation.maps import TestFrame
from anomalib_lite.metrics import (
    MetricError,
    Rate,
    false_reject_rate,
    miss_rate,
    per_defect_recall,
)
from anomalib_lite.statistics.shares import wilson_interval

COMPARED_RATES = (0.01, 0.05)
"""Promised false-reject rates at which every run is measured."""


def operating_figures(frames: Sequence[TestFrame], calibration: Calibration) -> dict[str, Any]:
    """Rates with the counts and 95 % intervals behind them, plain JSON types.

    Args:
        frames: scored test frames.
        calibration: from good images that are not among them.

    Returns:
        `threshold`, `promised_false_reject`, `promised_upper_bound_95`, `false_reject`, `miss` and
        `recall_per_defect` at the requested rate; the same for each of `COMPARED_RATES` under `at`;
        and under `best` the misses with the threshold at the highest good test part.
    """
    parts = [frame.sample for frame in frames]
    scores = [frame.score for frame in frames]
    labels = [part.label for part in parts]
    defects = [part.defect for part in parts]

    def at(threshold: float) -> dict[str, Any]:
        return {
            "threshold": threshold,
            "false_reject": measured_rate(lambda: false_reject_rate(scores, labels, threshold)),
            "miss": measured_rate(lambda: miss_rate(scores, labels, threshold)),
            "recall_per_defect": _recalls(scores, defects, threshold),
        }

    def promised(chosen: Calibration) -> dict[str, Any]:
        operating = chosen.operating
        return {
            **at(operating.threshold),
            "promised_false_reject": operating.false_reject_rate,
            "promised_upper_bound_95": operating.upper_bound,
        }

    good = [score for score, label in zip(scores, labels, strict=True) if not label]
    return {
        **promised(calibration),
        "at": {f"{rate:g}": promised(calibration.with_rate(rate)) for rate in COMPARED_RATES},
        "best": at(max(good)) if good else None,
    }


def rate_to_dict(rate: Rate) -> dict[str, Any]:
    """A rate with its counts and 95 % interval, plain JSON types."""
    return {
        "value": rate.value,
        "num_hits": rate.num_hits,
        "num_samples": rate.num_samples,
        "interval": list(wilson_interval(rate.num_hits, rate.num_samples)),
    }


def measured_rate(compute: Callable[[], Rate]) -> dict[str, Any]:
    """A rate as plain JSON types, or the reason why there is none."""
    try:
        return rate_to_dict(compute())
    except MetricError as error:
        return {"value": None, "num_hits": 0, "num_samples": 0, "reason": str(error)}


def _recalls(scores: list[float], defects: list[str], threshold: float) -> dict[str, Any]:
    try:
        recalls = per_defect_recall(scores, defects, threshold)
    except MetricError:
        return {}
    return {name: rate_to_dict(rate) for name, rate in recalls.items()}
