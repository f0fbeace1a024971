"""Thresholds and p-values against tables worked out by hand, and the promise they make."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalib_lite.edge import Calibration, FitError, FrameError, SettingsError
from anomalib_lite.edge.promise import beta_quantile, images_needed, operating_point


def calibration(scores, rate=0.1, peaks=None):
    return Calibration.from_scores(
        scores, scores if peaks is None else peaks, max_false_reject=rate, method="held out"
    )


@pytest.mark.parametrize(
    ("scores", "rate", "threshold", "promised"),
    [
        # n = 9: k = ceil(10 * 0.9) = 9, the largest
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], 0.1, 9, 0.1),
        # k = ceil(10 * 0.8) = 8
        ([9, 8, 7, 6, 5, 4, 3, 2, 1], 0.2, 8, 0.2),
        # k = ceil(10 * 0.75) = 8: rounding goes to the safe side
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], 0.25, 8, 0.2),
        # k = ceil(10 * 0.95) = 10 > n: the largest, and the honest rate
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], 0.05, 9, 0.1),
        # n = 19: k = ceil(20 * 0.95) = 19
        (range(19), 0.05, 18, 0.05),
        (range(99), 0.01, 98, 0.01),
        (range(199), 0.01, 197, 0.01),
        ([4], 0.5, 4, 0.5),
        ([4], 0.01, 4, 0.5),
        ([2, 2, 2, 2], 0.4, 2, 0.4),
    ],
)
def test_threshold_and_promise_follow_the_conformal_rule(scores, rate, threshold, promised):
    found = operating_point(np.array(list(scores), float), rate)
    assert found.threshold == threshold
    assert found.false_reject_rate == pytest.approx(promised)
    assert found.requested == rate
    assert found.samples == len(list(scores))


@pytest.mark.parametrize(
    ("score", "p_value"),
    [(0.5, 6 / 6), (1, 6 / 6), (1.5, 5 / 6), (2, 5 / 6), (3, 3 / 6), (4, 2 / 6), (4.1, 1 / 6)],
)
def test_p_values_count_good_images_that_score_as_high(score, p_value):
    assert calibration([1, 2, 2, 3, 4]).p_value(score) == pytest.approx(p_value)


@pytest.mark.parametrize(
    ("images", "rate", "words"),
    [
        (
            42,
            0.01,
            "1 % needs at least 99 good images; you have 42: 2.3 % of good frames rejected on "
            "average, at most 6.9 % with 95 % confidence; guaranteed for frames like these images",
        ),
        (
            8,
            0.05,
            "5 % needs at least 19 good images; you have 8: 11 % of good frames rejected on "
            "average, at most 31 % with 95 % confidence; guaranteed for frames like these images",
        ),
        (
            99,
            0.01,
            "1 % of good frames rejected on average, at most 3 % with 95 % confidence, "
            "from 99 good images; guaranteed for frames like these images",
        ),
        (
            500,
            0.002,
            "0.2 % of good frames rejected on average, at most 0.6 % with 95 % confidence, "
            "from 500 good images; guaranteed for frames like these images",
        ),
    ],
)
def test_the_promise_is_put_into_honest_words(images, rate, words):
    assert operating_point(np.arange(images), rate).explain() == words


@pytest.mark.parametrize(
    ("rate", "needed"), [(0.5, 1), (0.1, 9), (0.05, 19), (0.01, 99), (0.001, 999), (0.3, 3)]
)
def test_so_many_images_are_just_enough(rate, needed):
    assert images_needed(rate) == needed
    assert operating_point(np.arange(needed), rate).honoured
    if needed > 1:
        assert not operating_point(np.arange(needed - 1), rate).honoured


@settings(max_examples=200, deadline=None)
@given(
    ranks=st.lists(st.integers(0, 12), min_size=1, max_size=40),
    rate=st.fractions(Fraction(1, 200), Fraction(199, 200)),
    score=st.integers(-1, 13),
)
def test_a_frame_is_anomalous_exactly_when_its_p_value_is_within_the_promise(ranks, rate, score):
    """Ties included: the verdict and the p-value never contradict each other."""
    found = calibration(ranks, float(rate))
    promised = found.operating.false_reject_rate
    assert (score > found.threshold) == (found.p_value(score) <= promised + 1e-12)
    count = len(ranks)
    assert 1 / (count + 1) - 1e-12 <= promised <= max(float(rate), 1 / (count + 1)) + 1e-12


@settings(max_examples=100, deadline=None)
@given(images=st.integers(1, 400), rate=st.fractions(Fraction(1, 300), Fraction(9, 10)))
def test_the_request_is_honoured_exactly_when_there_are_enough_images(images, rate):
    found = operating_point(np.arange(images), float(rate))
    assert found.honoured == (images >= images_needed(float(rate)))


@pytest.mark.parametrize(("images", "rate"), [(19, 0.05), (40, 0.1), (99, 0.01), (10, 0.2)])
@pytest.mark.parametrize("ties", [False, True])
def test_good_frames_are_rejected_no_more_often_than_promised(images, rate, ties):
    """Marginal coverage over many draws of calibration images and one new frame each."""
    rng = np.random.default_rng(7)
    draws = 20_000
    scores = rng.standard_normal((draws, images + 1))
    if ties:
        scores = scores.round(1)
    past, new = scores[:, :images], scores[:, images]
    rank = operating_point(np.arange(images), rate)
    threshold = np.sort(past, axis=1)[:, int(rank.threshold)]
    rejected = (new > threshold).mean()
    noise = 4 * np.sqrt(rate / draws)
    assert rejected <= rank.false_reject_rate + noise
    if not ties:
        assert rejected >= rank.false_reject_rate - noise


@settings(max_examples=50, deadline=None)
@given(
    scores=st.lists(st.floats(-1e6, 1e6, allow_nan=False, width=32), min_size=1, max_size=20).map(
        lambda values: np.array(values, np.float32)
    ),
    rate=st.floats(0.001, 0.9),
)
def test_a_calibration_survives_its_dictionary(scores, rate):
    found = calibration(scores, rate, peaks=scores[::-1] + 1)
    again = Calibration.from_dict(found.to_dict())
    assert again == found
    assert again.threshold == found.threshold
    assert again.map_threshold == found.map_threshold


def test_another_rate_moves_the_threshold_but_not_the_p_values():
    strict = calibration(range(99), 0.01)
    loose = strict.with_rate(0.2)
    assert (strict.threshold, loose.threshold) == (98, 79)
    assert strict.p_value(50) == loose.p_value(50)
    assert strict.max_false_reject == 0.01


def test_map_threshold_comes_from_the_peaks():
    assert calibration([1, 2, 3], 0.25, peaks=[10, 30, 20]).map_threshold == 30


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, float("nan")])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(SettingsError, match="choose a value between 0 and 1"):
        operating_point(np.arange(5), rate)


def test_no_images_is_a_fit_error():
    with pytest.raises(FitError, match="no good image is left"):
        calibration([])


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["scores", "peaks"])
def test_scores_that_are_not_finite_are_refused(broken, where):
    odd, even = [1.0, broken, 2.0], [1.0, 2.0, 3.0]
    with pytest.raises(FitError, match="NaN or infinity"):
        calibration(odd if where == "scores" else even, peaks=odd if where == "peaks" else even)


def test_a_nan_score_has_no_p_value():
    with pytest.raises(FrameError, match="NaN"):
        calibration([1, 2, 3]).p_value(float("nan"))


@settings(max_examples=300, deadline=None)
@given(
    above=st.floats(0.05, 400),
    below=st.floats(0.05, 4000),
    share=st.sampled_from([0.01, 0.05, 0.5, 0.95, 0.999]),
)
def test_beta_quantiles_are_scipys(above, below, share):
    assert beta_quantile(share, above, below) == pytest.approx(
        scipy.stats.beta.ppf(share, above, below), rel=1e-7, abs=1e-13
    )


@pytest.mark.parametrize(
    ("images", "rate", "bound"),
    [
        (99, 0.01, 1 - 0.05 ** (1 / 99)),  # the largest of 99: (1 - r)^99 = 5 %
        (8, 0.05, 1 - 0.05 ** (1 / 8)),
        (199, 0.01, 0.0236),  # P(Binomial(199, 2.36 %) <= 1) = 5 %
        (1, 0.5, 0.95),
    ],
)
def test_the_upper_bound_is_the_beta_quantile_of_the_rank(images, rate, bound):
    found = operating_point(np.arange(images), rate)
    assert found.upper_bound == pytest.approx(bound, abs=1e-4)
    assert found.upper_bound > found.false_reject_rate


@pytest.mark.parametrize(
    ("scores", "views", "rate", "threshold", "promised", "parts"),
    [
        # three parts, the last photographed three times: 1/4 for what is above everything
        ([1, 2, 3, 4, 5], [1, 1, 3, 3, 3], 0.25, 5, 1 / 4, 3),
        # (1 + 1/3) / 4: one of its three views may lie above
        ([1, 2, 3, 4, 5], [1, 1, 3, 3, 3], 0.34, 4, (4 / 3) / 4, 3),
        ([1, 2, 3, 4, 5], [1, 1, 3, 3, 3], 0.5, 2, 1 / 2, 3),
        # copies: each of four photographs four times is as good as four photographs
        (np.repeat([1, 2, 3, 4], 4), [4] * 16, 0.2, 4, 1 / 5, 4),
        ([1, 2, 3, 4], [4] * 4, 0.1, 4, 1 / 2, 1),
    ],
)
def test_views_of_one_part_count_as_one_image(scores, views, rate, threshold, promised, parts):
    found = operating_point(np.array(scores, float), rate, views=views)
    assert (found.threshold, found.parts) == (threshold, parts)
    assert found.false_reject_rate == pytest.approx(promised)
    assert found.images() == f"{len(scores)} good images of {parts} parts"


@settings(max_examples=100, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5)), min_size=1, max_size=30),
    rate=st.floats(0.01, 0.9),
    score=st.integers(-1, 9),
)
def test_with_views_verdict_and_p_value_agree_and_survive_the_dictionary(pairs, rate, score):
    scores, origins = zip(*pairs, strict=True)
    found = Calibration.from_scores(
        scores, scores[::-1], max_false_reject=rate, method="held out", origins=origins
    )
    promised = found.operating.false_reject_rate
    assert (score > found.threshold) == (found.p_value(score) <= promised + 1e-9)
    assert found.operating.parts == len(set(origins))
    again = Calibration.from_dict(found.to_dict())
    assert again == found
    assert again.map_threshold == found.map_threshold


def test_a_repeated_photograph_changes_nothing_where_it_is_known_as_a_copy():
    once = Calibration.from_scores(range(9), range(9), max_false_reject=0.1, method="held out")
    fourfold = Calibration.from_scores(
        [*range(9)] * 4,
        [*range(9)] * 4,
        max_false_reject=0.1,
        method="held out",
        origins=[*range(9)] * 4,
    )
    assert fourfold.threshold == once.threshold
    assert fourfold.operating.upper_bound == pytest.approx(once.operating.upper_bound)
    assert [fourfold.p_value(s) for s in (-1, 4, 9)] == pytest.approx(
        [once.p_value(s) for s in (-1, 4, 9)]
    )


def test_views_that_do_not_fit_their_scores_are_refused():
    fields = calibration([1, 2, 3]).to_dict()
    for counts in ([1, 2], [0, 1, 1]):
        with pytest.raises(ValueError, match="do not fit"):
            Calibration.from_dict(fields | {"views": {"scores": counts}})


def test_an_out_of_fold_promise_says_that_it_is_empirical():
    found = Calibration.from_scores(
        range(99), range(99), max_false_reject=0.01, method="out-of-fold, 5 folds"
    )
    assert found.operating.explain().endswith("measured out-of-fold: empirical, not guaranteed")
    assert found.to_dict()["guaranteed"] is False
    assert calibration(range(99)).to_dict()["guaranteed"] is True
