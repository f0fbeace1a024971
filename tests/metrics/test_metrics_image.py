"""Image metrics against scikit-learn, by hand, and at the traps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from anomalib_lite.metrics import (
    auroc,
    average_precision,
    f1_max,
    f1_max_point,
    precision_recall_curve,
    roc_curve,
)

FINITE = st.floats(-1e6, 1e6, width=32)
TIED = st.integers(-3, 3).map(float)


@st.composite
def scored(draw):
    values = draw(st.sampled_from([FINITE, TIED, st.just(0.5)]))
    scores = draw(st.lists(values, min_size=2, max_size=60))
    labels = draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    labels[0], labels[1] = False, True
    return np.array(scores), np.array(labels)


@settings(max_examples=150, deadline=None)
@given(scored())
def test_auroc_and_average_precision_equal_scikit_learn_with_ties_and_constants(case):
    scores, labels = case
    assert auroc(scores, labels) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(scores, labels) == pytest.approx(
        sk.average_precision_score(labels, scores), abs=1e-12
    )


@settings(max_examples=100, deadline=None)
@given(scored())
def test_curves_equal_scikit_learn(case):
    scores, labels = case
    ours, theirs = (
        roc_curve(scores, labels),
        sk.roc_curve(labels, scores, drop_intermediate=False),
    )
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12)
    precision, recall, thresholds = precision_recall_curve(scores, labels)
    other_p, other_r, other_t = sk.precision_recall_curve(labels, scores)
    np.testing.assert_allclose(precision[::-1], other_p[:-1], atol=1e-12)
    np.testing.assert_allclose(recall[::-1], other_r[:-1], atol=1e-12)
    np.testing.assert_allclose(thresholds[::-1], other_t)


@settings(max_examples=150, deadline=None)
@given(scored(), st.sampled_from([np.float32, np.float64]))
def test_f1_max_is_the_best_over_every_threshold_and_its_threshold_reaches_it(case, dtype):
    scores, labels = case[0].astype(dtype), case[1]
    best = max(sk.f1_score(labels, scores >= t) for t in np.unique(scores))
    point = f1_max_point(scores, labels)
    assert f1_max(scores, labels) == point.f1 == pytest.approx(best, abs=1e-12)
    flagged = scores > point.threshold
    assert sk.f1_score(labels, flagged) == pytest.approx(best, abs=1e-12)
    assert sk.precision_score(labels, flagged) == pytest.approx(point.precision, abs=1e-12)
    assert sk.recall_score(labels, flagged) == pytest.approx(point.recall, abs=1e-12)


def test_ties_count_half_in_auroc():
    assert auroc([1, 1], [0, 1]) == 0.5
    assert auroc([1, 1, 2], [0, 1, 1]) == 0.75


def test_auroc_worked_by_hand():
    # anomalous 4, 2; good 3, 1: pairs won 4>3, 4>1, 2>1 of 4
    assert auroc([4, 3, 2, 1], [1, 0, 1, 0]) == 0.75


def test_average_precision_is_the_steps_and_not_the_optimistic_trapezoid():
    scores, labels = [4, 3, 2, 1], [1, 0, 1, 0]
    # recall 1/2 at precision 1, then recall 1 at precision 2/3
    assert average_precision(scores, labels) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3, abs=1e-15)
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 8 == 0
    scores = np.round(rng.normal(size=40) + labels)
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    assert sk.auc(recall, precision) - average_precision(scores, labels) > 0.01


def test_a_constant_score_has_the_prevalence_as_ap_and_a_high_f1():
    labels = np.arange(100) < 73
    scores = np.zeros(100)
    assert auroc(scores, labels) == 0.5
    assert average_precision(scores, labels) == 0.73
    assert f1_max(scores, labels) == pytest.approx(2 * 0.73 / 1.73)


def test_scores_outside_zero_to_one_are_not_squashed():
    labels = np.array([0, 0, 1, 1])
    scores = np.array([40.0, 41.0, 42.0, 43.0], dtype=np.float32)
    squashed = 1 / (1 + np.exp(-scores))
    assert np.unique(squashed.astype(np.float32)).size == 1
    assert auroc(squashed.astype(np.float32), labels) == 0.5
    assert auroc(scores, labels) == 1.0


def test_f1_threshold_lies_between_two_scores_so_that_both_comparisons_agree():
    scores, labels = np.array([1.0, 2.0, 5.0, 6.0]), np.array([0, 0, 1, 1])
    point = f1_max_point(scores, labels)
    assert (point.f1, point.precision, point.recall, point.threshold) == (1.0, 1.0, 1.0, 3.5)


def test_f1_threshold_flags_right_between_neighbouring_floats():
    low = np.float32(1.0)
    scores = np.array([low, np.nextafter(low, np.float32(2))], dtype=np.float32)
    threshold = f1_max_point(scores, [0, 1]).threshold
    assert (scores > threshold).tolist() == [False, True]


def test_the_highest_threshold_wins_when_two_reach_the_same_f1():
    # flag {4}: F1 = 2/3; flag all four: F1 = 2·2/(2+4) = 2/3
    assert f1_max_point([4, 3, 2, 1], [1, 0, 0, 1]).threshold == 3.5


def test_minus_zero_ties_with_zero():
    assert auroc([-0.0, 0.0], [0, 1]) == 0.5


def test_float16_and_integer_scores_are_exact():
    assert auroc(np.array([1, 2], np.float16), [0, 1]) == 1.0
    assert auroc(np.array([2**24, 2**24 + 1]), [0, 1]) == 1.0
