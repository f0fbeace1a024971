"""A detector learns on and forgets; its threshold follows."""

import numpy as np
import pytest
import torch

from anomalib_lite import Detector
from anomalib_lite.data.parts import render
from anomalib_lite.edge import FitError


def parts(first, count):
    return [render("flange", seed=5, index=first + i, size=96).image for i in range(count)]


def small(name):
    return Detector(name, backbone="filters", image_size=96)


@pytest.fixture(scope="module")
def early():
    return parts(0, 12)


@pytest.fixture(scope="module")
def late():
    return parts(12, 5)


@pytest.mark.parametrize("name", ["padim", "mvg"])
def test_learning_on_equals_fitting_on_everything(name, early, late):
    grown = small(name).fit(early).partial_fit(late)
    whole = small(name).fit([*early, *late])
    probe = parts(40, 3)
    for frame in probe:
        assert grown.predict(frame).score == pytest.approx(whole.predict(frame).score, rel=1e-4)
    assert grown.data.images == whole.data.images == 17
    assert grown.data.fingerprint == whole.data.fingerprint


@pytest.mark.parametrize("name", ["padim", "mvg"])
def test_forgetting_returns_to_before(name, early, late):
    before = small(name).fit(early)
    after = small(name).fit(early).partial_fit(late).forget(late)
    frame = parts(40, 1)[0]
    assert after.predict(frame).score == pytest.approx(before.predict(frame).score, rel=1e-4)
    assert after.calibration.scores == before.calibration.scores
    assert after.data.records == before.data.records


def test_new_images_join_the_calibration_with_scores_of_the_model_before_them(early, late):
    detector = small("padim").fit(early)
    unseen = [np.float32(detector.predict(frame).score) for frame in late]
    old = detector.calibration.scores
    detector.partial_fit(late)
    assert detector.calibration.operating.samples == 17
    assert sorted([*old, *unseen]) == pytest.approx(list(detector.calibration.scores), rel=1e-6)


def test_an_updated_detector_survives_saving(early, late, tmp_path):
    detector = small("padim").fit(early).partial_fit(late)
    loaded = Detector.load(detector.save(tmp_path / "a.safetensors"))
    assert loaded.data == detector.data
    assert loaded.forget(late).calibration.scores == small("padim").fit(early).calibration.scores


def test_forgetting_a_stranger_is_refused_and_changes_nothing(early, late):
    detector = small("padim").fit(early)
    score = detector.predict(late[0]).score
    with pytest.raises(FitError, match="image 1 of arrays is not among those that were fitted"):
        detector.forget(late)
    assert detector.predict(late[0]).score == score
    assert detector.data.images == 12


def test_forgetting_nearly_everything_is_refused(early):
    detector = small("padim").fit(early)
    with pytest.raises(FitError, match="fewer than 3 good images would remain"):
        detector.forget(early[:10])
    assert detector.data.images == 12


def test_a_held_out_image_can_be_forgotten_without_touching_the_model(early):
    detector = Detector("padim", backbone="filters", image_size=96, calibration="holdout")
    detector.fit(early)
    held_out = [i for i, record in enumerate(detector.data.records) if not record.learnt]
    assert len(held_out) == 2
    moments = detector.scorer.moments.sums(0).clone()
    detector.forget([early[held_out[0]]])
    assert detector.calibration.operating.samples == 1
    assert np.array_equal(moments, detector.scorer.moments.sums(0))


def test_one_picture_many_times_is_refused(early):
    with pytest.raises(FitError, match="all 5 good images are the same picture"):
        small("padim").fit([early[0]] * 5)


class StopError(Exception):
    pass


@pytest.mark.parametrize(
    ("name", "update"),
    [
        ("padim", "partial_fit"),
        ("patchcore", "partial_fit"),
        ("knn", "partial_fit"),
        ("mvg+padim", "partial_fit"),
        ("padim", "forget"),
        ("mvg+padim", "forget"),
    ],
)
def test_an_update_that_fails_on_the_way_changes_nothing(name, update, early, late, monkeypatch):
    detector = small(name).fit([*early, *late])
    frame = parts(40, 1)[0]
    score, fitted = detector.predict(frame).score, detector.scorer.state_dict()
    kept = {key: values.clone() for key, values in fitted.items()}
    learn = getattr(type(detector.scorer), update)

    def learn_and_stop(self, stream, context):
        learn(self, stream, context)
        raise StopError

    images = parts(20, 3) if update == "partial_fit" else late
    with monkeypatch.context() as patch:
        patch.setattr(type(detector.scorer), update, learn_and_stop)
        with pytest.raises(StopError):
            getattr(detector, update)(images)
    assert detector.predict(frame).score == score
    assert detector.data.images == 17
    for key, values in detector.scorer.state_dict().items():
        assert torch.equal(values, kept[key]), key
    getattr(detector, update)(images)
    assert detector.data.images == (20 if update == "partial_fit" else 12)
