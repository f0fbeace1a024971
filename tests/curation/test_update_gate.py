"""What an update measures, and when it is refused."""

import math

import numpy as np
import pytest

from anomalib_lite import Detector
from anomalib_lite.curation.update_gate import (
    Comparison,
    HeldOut,
    reasons_to_refuse,
    update_detector,
)
from anomalib_lite.data.parts import render
from anomalib_lite.edge import FitError, SettingsError
from anomalib_lite.edge.calibration import operating_point


def parts(first, count):
    return [render("flange", seed=5, index=first + i, size=96).image for i in range(count)]


def small(name="padim", **settings):
    return Detector(name, backbone="filters", image_size=96, **settings)


@pytest.fixture(scope="module")
def early():
    return parts(0, 12)


@pytest.fixture(scope="module")
def late():
    return parts(12, 5)


@pytest.mark.parametrize("name", ["padim", "mvg"])
def test_an_update_equals_fitting_on_everything(name, early, late):
    detector = small(name).fit(early)
    report = update_detector(detector, add=late)
    whole = small(name).fit([*early, *late])
    for frame in parts(40, 3):
        assert detector.predict(frame).score == pytest.approx(whole.predict(frame).score, rel=1e-4)
    assert detector.data.fingerprint == whole.data.fingerprint
    assert report.images == (12, 17)


def test_new_images_before_are_scored_by_the_model_as_it_was(early, late):
    detector = small().fit(early)
    expected = [detector.predict(frame).score for frame in late]
    report = update_detector(detector, add=late)
    assert report.added.before.scores == pytest.approx(expected, rel=1e-5)
    assert report.added.before.threshold == small().fit(early).calibration.threshold


def test_new_images_after_are_scored_by_models_that_have_seen_all_but_them(early, late):
    report = update_detector(small().fit(early), add=late)
    for index, score in enumerate(report.added.after.scores):
        others = [frame for i, frame in enumerate(late) if i != index]
        without = small().fit([*early, *others])
        assert score == pytest.approx(without.predict(late[index]).score, rel=1e-4)


def test_calibration_images_keep_their_stored_scores(early, late):
    detector = small().fit(early)
    stored = detector.calibration.scores
    report = update_detector(detector, add=late)
    assert sorted(report.kept.before.scores) == pytest.approx(list(stored))
    assert np.array_equal(report.kept.before.scores, report.kept.after.scores)
    assert report.kept.after.threshold == detector.calibration.threshold


def test_known_images_and_doubles_are_not_learnt_again(early, late):
    detector = small().fit(early)
    report = update_detector(detector, add=[early[3], late[0], late[1], late[0]])
    assert report.known == ("arrays#000000", "arrays#000003")
    assert report.images == (12, 14)
    assert detector.data.images == 14


def test_only_known_images_are_refused(early):
    with pytest.raises(FitError, match="no new usable image \\(3 known already, 0 unreadable\\)"):
        update_detector(small().fit(early), add=early[:3])


def test_forgetting_and_adding_at_once_equals_fitting_on_the_rest(early, late):
    detector = small().fit(early)
    report = update_detector(detector, add=late, forget=early[:2])
    whole = small().fit([*early[2:], *late])
    frame = parts(40, 1)[0]
    assert detector.predict(frame).score == pytest.approx(whole.predict(frame).score, rel=1e-4)
    assert report.forgotten == 2
    assert report.images == (12, 15)
    assert report.kept.after.images == 10


def test_nothing_to_do_is_an_error(early):
    with pytest.raises(SettingsError, match="nothing to update"):
        update_detector(small().fit(early))


def test_an_update_with_parts_like_the_others_is_not_refused(early, late):
    assert update_detector(small(max_false_reject=0.2).fit(early), add=late).reasons == ()


def test_easy_images_that_push_the_others_out_are_refused(early):
    """Sixty nearly equal photographs lower the threshold below most of the other parts."""
    noise = np.random.default_rng(0)
    easy = [
        np.clip(early[0] + noise.integers(-1, 2, early[0].shape), 0, 255).astype(np.uint8)
        for _ in range(60)
    ]
    report = update_detector(small(max_false_reject=0.2).fit(early), add=easy)
    assert len(report.reasons) == 1
    assert "of 12 calibration images would be rejected" in report.reasons[0]
    assert report.kept.after.rejected > report.kept.before.rejected


def test_losing_the_promise_is_refused(early):
    report = update_detector(small(max_false_reject=0.08).fit(early), forget=early[:3])
    assert report.reasons == (
        "the promise is lost: 8 % needs at least 12 good images; you have 9: 10 % of good "
        "frames rejected on average, at most 28 % with 95 % confidence; measured out-of-fold: "
        "empirical, not guaranteed",
    )


def compared(total, before, after, rate=0.01, samples=199):
    """Reasons when `before` and `after` of `total` new images are rejected."""
    operating = operating_point(np.arange(samples, dtype=float), rate)
    scores = [HeldOut(np.where(np.arange(total) < hits, 2.0, 0.0), 1.0) for hits in (before, after)]
    none = HeldOut(np.zeros(0), 1.0)
    return reasons_to_refuse(
        operating, operating, Comparison(none, none), Comparison(scores[0], scores[1])
    )


@pytest.mark.parametrize(
    ("total", "before", "after", "refused"),
    [
        (100, 0, 0, False),
        (100, 0, 3, False),  # P(X >= 3 | 1 %) = 0.079
        (100, 0, 4, True),  # 0.018
        (100, 4, 4, False),
        (100, 9, 4, False),
        (20, 3, 6, False),  # P(X >= 6 | 15 %) = 0.067
        (20, 3, 7, True),  # 0.022
    ],
)
def test_false_rejects_are_worse_when_chance_hardly_explains_them(total, before, after, refused):
    assert bool(compared(total, before, after)) == refused


def test_a_group_without_images_has_no_quantile():
    assert math.isnan(HeldOut(np.zeros(0), 1.0).of_threshold(0.5))
