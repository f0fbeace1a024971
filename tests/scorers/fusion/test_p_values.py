"""From scores to `-log p` and to one score: tables worked out by hand, and what blindness costs."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalib_lite.metrics import auroc
from anomalib_lite.scorers import create_scorer
from anomalib_lite.scorers.fusion.p_values import OTHERS, SmallestP, curves_of, minus_log_p
from anomalib_lite.scorers.registry import settings_from_file


def curve(good, scores):
    curves = curves_of(np.asarray(good, np.float64)[:, None])
    tensors = (torch.from_numpy(values[0]) for values in (curves.knots, curves.rises))
    return minus_log_p(
        torch.as_tensor(scores, dtype=torch.float64), *tensors, torch.tensor(curves.below[0])
    ).numpy()


@pytest.mark.parametrize(
    ("score", "p"),
    [
        (8.0, 1 / 2),  # the median
        (12.0, 1 / 4),
        (10.0, 8**-0.5),  # half-way between in -log p
        (16.0, math.exp(-2.0) / 4),  # beyond the last knot: 2 mean excesses of 2
        (4.0, 2 ** -(1 - 4 / 4.25)),  # p = 1 as far below the median as those below it on average
    ],
)
def test_scores_become_the_share_of_good_images_above_them(score, p):
    good = np.arange(17.0)  # 12 is exceeded by 13, 14, 15, 16, the last knot: mean excess 2.5
    excess, below = 2.5, 2 * 36 / 17
    expected = -math.log(p)
    if score > 12:
        expected = math.log(4) + (score - 12) / excess
    if score < 8:
        expected = math.log(2) * (1 - (8 - score) / below)
    assert curve(good, [score])[0] == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-50, 50), min_size=2, max_size=80),
    st.floats(0.01, 100),
    st.floats(-100, 100),
)
def test_the_curve_rises_everywhere_and_knows_no_units(good, scale, shift):
    spread = max(good) - min(good)
    if spread < 0.1:
        return
    scores = np.linspace(min(good) - spread, max(good) + 3 * spread, 60)
    values = curve(good, scores)
    assert np.isfinite(values).all()
    assert (np.diff(values) > 0).all()
    if len(set(good)) == len(good) and min(np.diff(sorted(good))) > 0.01 * (
        1 + max(map(abs, good))
    ):
        again = curve(scale * np.array(good), scale * scores)
        np.testing.assert_allclose(again, values, rtol=1e-6)


def test_exponential_scores_are_their_own_minus_log_p():
    good = np.random.default_rng(0).exponential(size=4000)
    scores = np.array([0.7, 1.5, 3.0, 6.0, 12.0])
    np.testing.assert_allclose(curve(good, scores), scores, rtol=0.12)


def test_scores_that_do_not_vary_make_no_noise_of_rounding():
    values = curve(np.full(20, 5.0), [5.0, 5.000001, 5.0005])
    assert values[0] == pytest.approx(math.log(2))
    assert values[1] < math.log(20)
    assert values[2] == pytest.approx(math.log(4), rel=1e-6)  # a step is no shorter


def joined(weight, good, scores):
    smallest = SmallestP()
    smallest.learn(np.asarray(weight), good, torch.device("cpu"))
    return smallest([torch.from_numpy(column).float() for column in scores.T]).numpy()


def drawn(seed, seen, by, count=4000):
    """Unseen good images, then good images and defects that each part sees by some spreads."""
    rng = np.random.default_rng(seed)
    good, fresh, defects = (rng.standard_normal((count, 2)) for _ in range(3))
    defects += np.asarray(by) * (rng.random(defects.shape) < seen)
    return good, np.concatenate([fresh, defects]), np.repeat([0, 1], count)


def test_a_blind_part_costs_next_to_nothing_and_a_seeing_one_brings_what_it_sees():
    good, scores, labels = drawn(0, (1.0, 0.0), (2.5, 0.0))
    alone = auroc(scores[:, 0], labels)
    assert auroc(joined([0.6, 0.4], good, scores), labels) > alone - 0.01
    assert auroc(scores.sum(axis=1), labels) < alone - 0.04
    good, scores, labels = drawn(1, (0.6, 0.9), (8.0, 8.0))
    best = max(auroc(column, labels) for column in scores.T)
    assert auroc(joined([0.6, 0.4], good, scores), labels) > best + 0.01


def test_the_leading_part_alone_speaks_where_no_other_score_is_rare():
    good = np.random.default_rng(0).standard_normal((400, 2))
    first = joined([0.7, 0.3], good, np.array([[0.5, -1.0], [0.5, 1.0], [0.5, 9.0]]))
    assert first[0] == first[1] < first[2]
    curves = curves_of(good)
    high = minus_log_p(
        torch.tensor([9.0]).double(),
        torch.from_numpy(curves.knots[1]),
        torch.from_numpy(curves.rises[1]),
        torch.tensor(curves.below[1]),
    )
    assert first[2] == pytest.approx(float(high) + math.log(OTHERS * 0.3 / 0.7), rel=1e-5)


def test_parts_that_nobody_told_apart_lead_together():
    good = np.random.default_rng(0).standard_normal((50, 2))
    scores = np.array([[0.1, 0.2], [0.3, 0.2], [0.1, 0.4]])
    mean = [curve(good[:, place], scores[:, place]) for place in (0, 1)]
    np.testing.assert_allclose(joined([0.5, 0.5], good, scores), np.mean(mean, axis=0), rtol=1e-5)


def test_a_part_without_trust_never_decides():
    good = np.random.default_rng(0).standard_normal((50, 2))
    found = joined([1.0, 0.0], good, np.array([[0.5, 0.0], [0.5, 1e6]]))
    assert found[0] == found[1]


@settings(max_examples=20, deadline=None)
@given(st.floats(-1, 1), st.sampled_from([0.1, 0.01, 0.001]), st.integers(0, 9))
def test_good_images_stay_within_the_sum_of_weights_whatever_the_dependence(link, p, seed):
    rng = np.random.default_rng(seed)
    mixed = np.array([[1, link], [0, math.sqrt(1 - link**2)]])
    learnt, fresh = (rng.standard_normal((20000, 2)) @ mixed for _ in range(2))
    beyond = np.mean(joined([0.6, 0.4], learnt, fresh) > -math.log(p))
    allowed = p * (1 + OTHERS)
    assert beyond < 1.25 * allowed + 4 * math.sqrt(allowed / 20000)


def test_fusions_of_before_still_mean_the_weighted_sum():
    assert settings_from_file("patchcore+mvg", {"trust": "equal"})["rule"] == "sum"
    assert "rule" not in settings_from_file("patchcore", {})
    assert create_scorer("patchcore+mvg", rule="p_value").settings()["rule"] == "p_value"
