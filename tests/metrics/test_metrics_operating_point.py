"""Rates at one threshold, each with the number of parts behind it."""

import math

import numpy as np
import pytest

from anomalib_lite.metrics import (
    MetricError,
    Rate,
    false_reject_rate,
    mean_and_sem,
    miss_rate,
    per_defect_recall,
)

SCORES = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
LABELS = [0, 0, 1, 0, 1, 1]


def test_rates_come_with_their_counts():
    assert false_reject_rate(SCORES, LABELS, 2.5) == Rate(1 / 3, 1, 3)
    assert miss_rate(SCORES, LABELS, 4.5) == Rate(1 / 3, 1, 3)
    assert str(miss_rate(SCORES, LABELS, 4.5)) == "0.3333 (1/3)"


def test_a_part_exactly_at_the_threshold_is_accepted():
    assert false_reject_rate(SCORES, LABELS, 4.0).num_hits == 0
    assert miss_rate(SCORES, LABELS, 3.0).num_hits == 1


def test_a_float64_threshold_is_not_rounded_beside_float32_scores():
    score = np.array([1.0], dtype=np.float32)
    assert false_reject_rate(score, [0], 1.0 - 1e-12).num_hits == 1


def test_recall_is_given_for_each_defect_and_leaves_good_parts_out():
    defects = ["good", None, "hole", "scratch", "hole", "scratch"]
    assert per_defect_recall(SCORES, defects, 4.0) == {
        "hole": Rate(0.5, 1, 2),
        "scratch": Rate(0.5, 1, 2),
    }


def test_mean_and_standard_error_of_seeds():
    mean, sem = mean_and_sem([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert sem == pytest.approx(math.sqrt(5 / 3) / 2)


def test_one_run_has_no_standard_error():
    mean, sem = mean_and_sem([0.9])
    assert mean == 0.9
    assert math.isnan(sem)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: false_reject_rate([1.0], [1], 0.5), "no good part"),
        (lambda: miss_rate([1.0], [0], 0.5), "no anomalous part"),
        (lambda: miss_rate([1.0], [1], math.nan), "threshold is NaN"),
        (lambda: per_defect_recall([1.0], ["good"], 0.5), "only good parts"),
        (lambda: per_defect_recall([1.0], ["a", "b"], 0.5), "names 2 parts; expected 1"),
        (lambda: mean_and_sem([]), r"shape \(0,\)"),
        (lambda: mean_and_sem([1.0, math.nan]), "NaN"),
    ],
)
def test_undefined_rates_are_refused(call, message):
    with pytest.raises(MetricError, match=message):
        call()
