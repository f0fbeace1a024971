"""Weights earned on simulated defects: the rule on made-up scores."""

import numpy as np
import pytest

from anomalib_lite.scorers.fusion.earned_weights import (
    Judgement,
    earn_weights,
    split_images,
    standard_of,
)


def judgement(*columns, images=32):
    """Good scores 0..1; each part sees a share of 32 defects far away, and the rest not at all."""
    good = np.linspace(0, 1, images)
    defects = np.full((32, len(columns)), 0.5)
    for place, seen in enumerate(columns):
        defects[: round(32 * seen), place] = 9
    return Judgement(np.tile(good[:, None], len(columns)), np.zeros((images, 2)), defects)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ((1.0, 1.0), (0.5, 0.5)),
        ((1.0, 0.5), ((1 * 32 + 3) ** 2, (0.5 * 32 + 3) ** 2)),
        ((1.0, 0.0), ((1 * 32 + 2) ** 2, 2**2)),
        ((0.0, 0.0), (0.5, 0.5)),
    ],
)
def test_a_part_is_trusted_as_far_as_it_tells_defects_from_good_images(columns, expected):
    shares = np.array(expected) / sum(expected)
    np.testing.assert_allclose(earn_weights(judgement(*columns)), shares, atol=1e-6)


def test_a_part_that_takes_defects_for_good_gets_no_more_than_a_blind_one():
    upside_down = judgement(1.0, 0.0)
    upside_down.defects[:, 1] = -5
    blind, inverted = earn_weights(judgement(1.0, 0.0)), earn_weights(upside_down)
    np.testing.assert_allclose(inverted, blind, atol=1e-6)


def test_few_judging_images_draw_the_shares_together():
    shares = [earn_weights(judgement(1.0, 0.25, images=images))[0] for images in (2, 8, 32)]
    assert 0.5 < shares[0] < shares[1] < shares[2]


def test_without_defects_the_shares_are_equal():
    seen = judgement(1.0, 0.2, 0.7)._replace(defects=np.zeros((0, 3)))
    np.testing.assert_allclose(earn_weights(seen), np.full(3, 1 / 3))


def test_standards_are_median_and_upper_mean_excess_and_never_zero():
    scores = np.array([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0], [9.0, 5.0]])
    standard = standard_of(scores)
    np.testing.assert_allclose(standard.centre, [3.0, 5.0])
    np.testing.assert_allclose(standard.spread, [2 * (1 + 6) / 4, 5e-3])


@pytest.mark.parametrize(("images", "learnt", "judged"), [(8, 6, 2), (40, 30, 10), (900, 128, 32)])
def test_images_to_learn_from_and_to_judge_on_are_different(images, learnt, judged):
    one, other = split_images(np.arange(images) + 5, seed=0)
    assert (len(one), len(other)) == (learnt, judged)
    assert not set(one) & set(other)
    assert set(one) | set(other) <= set(range(5, images + 5))
