"""An audit ranks training images by models that have not seen them."""

import math

import cv2
import numpy as np
import pytest

from anomalib_lite import Detector
from anomalib_lite.curation.model_audit import audit, fit_without_suspects
from anomalib_lite.data.parts import render
from anomalib_lite.edge import FitError, SourceError
from anomalib_lite.edge.sources import CameraSource
from anomalib_lite.statistics.outliers import EXCLUDED, ORDINARY, judge

BAD = (3, 11, 20)


def small(name="padim", **settings):
    return Detector(name, backbone="filters", image_size=96, **settings)


@pytest.fixture(scope="module")
def found(mixed):
    return audit(small(), mixed)


def test_planted_bad_parts_rank_first_and_are_suspects(found):
    assert {entry.position for entry in found.entries[:3]} == set(BAD)
    assert {entry.position for entry in found.suspects} == set(BAD)
    assert all(entry.weight == 0 and not entry.trusted for entry in found.entries[:3])
    assert all(entry.weight > 0 and entry.trusted for entry in found.entries[3:])


def test_the_ranking_holds_every_image_once_by_falling_score(found):
    scores = [entry.score for entry in found.entries]
    assert scores == sorted(scores, reverse=True)
    assert sorted(entry.position for entry in found.entries) == list(range(24))
    assert found.entries[0].name == f"arrays#{found.entries[0].position:06d}"


def test_suspects_are_scored_by_a_model_fitted_on_the_trusted_images(found, mixed):
    trusted = [mixed[i] for i in range(24) if i not in BAD]
    plain = small().fit(trusted)
    for entry in found.suspects:
        expected = plain.predict(mixed[entry.position]).score
        assert entry.score == pytest.approx(expected, rel=1e-4)
    stored = sorted(entry.score for entry in found.entries if entry.trusted)
    assert stored == pytest.approx(list(plain.calibration.scores), rel=1e-4)


def test_the_audited_detector_is_not_changed(mixed):
    detector = small("mvg").fit(mixed)
    score = detector.predict(mixed[0]).score
    audit(detector, mixed)
    assert detector.predict(mixed[0]).score == score
    assert detector.data.images == 24


def test_the_same_images_give_the_same_report(found, mixed):
    assert audit(small(), mixed).to_dict() == found.to_dict()


def test_fitting_without_suspects_equals_fitting_on_the_others_and_says_so(found, mixed):
    detector = fit_without_suspects(small(), mixed, found)
    plain = small().fit([mixed[i] for i in range(24) if i not in BAD])
    without_names, plainly = (
        [record._replace(name="") for record in one.data.records] for one in (detector, plain)
    )
    assert without_names == plainly
    assert detector.predict(mixed[3]).score == plain.predict(mixed[3]).score
    assert detector.calibration.scores == plain.calibration.scores
    assert detector.calibration.method == (
        "out-of-fold, 5 folds; 3 suspected image(s) left out after an audit"
    )


def test_the_note_on_suspects_survives_saving_learning_on_and_the_edge(found, mixed, tmp_path):
    detector = fit_without_suspects(small(), mixed, found)
    loaded = Detector.load(detector.save(tmp_path / "part.safetensors"))
    loaded.partial_fit([render("flange", seed=3, index=40, size=96).image])
    assert "3 suspected image(s) left out" in loaded.calibration.method


def test_without_suspects_nothing_is_left_out():
    frames = [render("flange", seed=4, index=i, size=96).image for i in range(16)]
    report = audit(small("mvg"), frames)
    assert report.suspects == ()
    assert report.rounds == 1
    detector = fit_without_suspects(small("mvg"), frames, report)
    assert detector.data.images == 16
    assert detector.calibration.method == "out-of-fold, 5 folds"


def test_unreadable_images_are_listed_and_positions_stay_right(mixed, tmp_path):
    for index, frame in enumerate(mixed):
        cv2.imwrite(str(tmp_path / f"{index:02d}.png"), frame[:, :, ::-1])
    (tmp_path / "05.png").write_bytes(b"no picture")
    report = audit(small(), tmp_path)
    assert {entry.name for entry in report.suspects} == {
        str(tmp_path / f"{index:02d}.png") for index in BAD
    }
    assert list(report.skipped) == [str(tmp_path / "05.png")]
    detector = fit_without_suspects(small(), tmp_path, report)
    assert detector.data.images == 20
    assert list(detector.data.skipped) == [str(tmp_path / "05.png")]


def test_a_handful_of_images_is_not_audited(mixed):
    with pytest.raises(FitError, match="7 usable image"):
        audit(small(), mixed[:7])


def test_a_camera_cannot_be_audited():
    with pytest.raises(SourceError, match="cannot be read twice"):
        audit(small(), CameraSource(0))


@pytest.mark.parametrize(
    ("scores", "scale", "z"),
    [
        (np.exp([0.0, 1, 2, 3, 4]), "log", [-2, -1, 0, 1, 2]),
        ([-1.0, 0, 1, 2, 3], "raw", [-2, -1, 0, 1, 2]),
        ([5.0] * 5, "log", [0] * 5),
    ],
)
def test_robust_z_is_the_distance_from_the_median_in_deviations(scores, scale, z):
    oddness = judge(np.array(scores))
    assert oddness.scale == scale
    assert oddness.robust_z == pytest.approx(np.array(z) / 1.4826)


def test_p_values_are_adjusted_for_how_many_images_there_are():
    """Benjamini and Hochberg 1995, by hand: p_(k) n / k, made monotone from the largest down."""
    scores = np.array([-1.0, -0.5, 0.0, 0.5, 1.0, 4.0])
    found = judge(scores)
    chances = np.array([0.5 * math.erfc(z / math.sqrt(2)) for z in found.robust_z])
    order = np.argsort(chances)
    by_hand = chances[order] * 6 / np.arange(1, 7)
    for place in range(4, -1, -1):
        by_hand[place] = min(by_hand[place], by_hand[place + 1])
    assert found.p_value[order] == pytest.approx(np.minimum(by_hand, 1))


def test_the_weight_falls_from_ordinary_to_excluded():
    scores = np.concatenate([np.linspace(0.9, 1.1, 41), [1.22, 3.0]])
    oddness = judge(np.exp(scores))
    assert EXCLUDED < oddness.p_value[-2] < ORDINARY
    assert oddness.weight[-1] == 0
    assert 0 < oddness.weight[-2] < 1
    assert (oddness.weight[:41] == 1).all()
