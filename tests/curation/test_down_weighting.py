"""Odd training images count less, and do not define the threshold."""

from dataclasses import replace

import numpy as np
import pytest

from anomalib_lite import Detector
from anomalib_lite.curation.downweight import (
    FULL_UP_TO,
    fit_down_weighted,
    learning_weight,
)
from anomalib_lite.curation.model_audit import AuditEntry, audit
from anomalib_lite.data.parts import render
from anomalib_lite.edge import FitError, SettingsError
from anomalib_lite.edge.calibration import Calibration

BAD = (3, 11, 20)


def small(name="padim", **settings):
    return Detector(name, backbone="filters", image_size=96, **settings)


@pytest.fixture(scope="module")
def found(mixed):
    report = audit(small(), mixed)
    first = next(index for index, each in enumerate(report.entries) if each.trusted)
    entries = list(report.entries)
    # Two images in doubt: one that chance may explain, one that only looks a little odd.
    entries[first] = entries[first]._replace(robust_z=2.69, weight=0.5)
    entries[first + 1] = entries[first + 1]._replace(robust_z=1.6)
    return replace(report, entries=tuple(entries))


@pytest.fixture(scope="module")
def outcome(mixed, found):
    """A down-weighted detector, and what was done."""
    return fit_down_weighted(small(), mixed, found)


def entry(z, weight):
    return AuditEntry(0, "x", 1.0, z, 0.5, weight, weight > 0)


@pytest.mark.parametrize(
    ("z", "weight", "expected"),
    [(-3, 1, 1), (0, 1, 1), (FULL_UP_TO, 1, 1), (2.69, 1, 0.25), (2.69, 0.3, 0.25), (1, 0, 0)],
)
def test_the_weight_falls_with_the_square_of_the_robust_z_and_is_nothing_for_suspects(
    z, weight, expected
):
    assert learning_weight(entry(z, weight)) == pytest.approx(expected)


def test_images_are_learnt_by_their_weight_and_suspects_not_at_all(mixed, found, outcome):
    detector, done = outcome
    kept = [i for i in range(24) if i not in BAD]
    by_position = {each.position: each for each in found.entries}
    weights = [learning_weight(by_position[i]) for i in kept]
    assert [record.sample_weight for record in detector.data.records] == weights
    assert (done.left_out, done.reduced) == (3, sum(weight < 1 for weight in weights))
    assert done.reduced == 2
    assert done.effective == pytest.approx(sum(weights))
    plain = small().fit([mixed[i] for i in kept], sample_weight=weights)
    assert detector.predict(mixed[3]).score == plain.predict(mixed[3]).score


def test_images_that_stand_out_have_no_part_in_the_threshold(mixed, found, outcome):
    detector, done = outcome
    doubtful = [each for each in found.entries if 0 < each.weight < 1]
    scored = [record for record in detector.data.records if record.score is not None]
    assert len(detector.calibration.scores) == len(scored) == 21 - len(doubtful)
    assert done.doubtful == detector.calibration.doubtful == len(doubtful) == 1
    assert detector.calibration.method.endswith(
        f"{done.reduced} image(s) down-weighted, 3 left out, 1 not calibrated on"
    )


def test_the_note_and_the_threshold_survive_a_file_and_an_update(mixed, outcome, tmp_path):
    detector = outcome[0]
    loaded = Detector.load(detector.save(tmp_path / "x.safetensors"))
    assert loaded.data.records == detector.data.records
    assert loaded.calibration == detector.calibration
    before = len(loaded.calibration.scores)
    new = render("flange", seed=3, index=40, size=96).image
    loaded.partial_fit([new])
    assert len(loaded.calibration.scores) == before + 1
    assert "down-weighted" in loaded.calibration.method
    assert loaded.calibration.doubtful == detector.calibration.doubtful


def test_forgetting_a_down_weighted_image_takes_out_its_share(mixed, outcome, tmp_path):
    detector = Detector.load(outcome[0].save(tmp_path / "x.safetensors"))
    kept = [i for i in range(24) if i not in BAD]
    place = next(i for i, record in enumerate(detector.data.records) if record.sample_weight < 1)
    weights = [record.sample_weight for record in detector.data.records]
    detector.forget([mixed[kept[place]]])
    rest = small().fit(
        [mixed[i] for i in kept if i != kept[place]],
        sample_weight=[weight for i, weight in enumerate(weights) if i != place],
    )
    assert detector.predict(mixed[3]).score == pytest.approx(rest.predict(mixed[3]).score, rel=1e-4)


@pytest.mark.parametrize("name", ["mvg", "patchcore"])
def test_other_scorers_that_weigh_are_asked_in_the_same_way(mixed, found, name):
    settings = {"rows": 100} if name == "patchcore" else {}
    detector, done = fit_down_weighted(small(name, **settings), mixed, found)
    assert detector.data.images == 21
    assert 3 <= done.effective < 21


def test_a_scorer_that_cannot_weigh_says_which_can(mixed):
    with pytest.raises(SettingsError, match=r"knn cannot weigh images; these can: .*padim"):
        small("knn").fit(mixed, sample_weight=np.ones(24))


@pytest.mark.parametrize("weights", [np.ones(23), np.full(24, 1.1), np.full(24, np.nan), [[1.0]]])
def test_weights_that_do_not_fit_are_one_line(mixed, weights):
    with pytest.raises(SettingsError, match="give one in"):
        small().fit(mixed, sample_weight=weights)


@pytest.mark.parametrize("weights", [np.zeros(24), np.full(24, 0.1)])
def test_weights_that_leave_too_little_are_refused(mixed, weights):
    with pytest.raises(FitError, match="less than 3 images"):
        small().fit(mixed, sample_weight=weights)


def test_the_promise_holds_even_if_all_doubtful_images_were_good():
    all_good = np.random.default_rng(0).normal(size=120)
    kept = np.sort(all_good)[:-6]
    plain = Calibration.from_scores(kept, kept, max_false_reject=0.05, method="x")
    calibration = replace(plain, doubtful=6)
    assert calibration.threshold == plain.threshold
    # Exchangeable with all 120: the rank of the threshold among them says how many lie above.
    rank = int((all_good >= calibration.threshold - 1e-6).sum())
    assert calibration.operating.false_reject_rate == pytest.approx(rank / 121)
    assert calibration.p_value(99) == 7 / 121
    assert calibration.p_value(-99) == 1
    assert not calibration.operating.honoured
    assert calibration.operating.explain() == (
        "9.1 % of good frames rejected on average, at most 14 % with 95 % confidence (5 % asked), "
        "from 114 good images, were 6 doubtful ones good, too; guaranteed for frames like these "
        "images"
    )
    assert Calibration.from_dict(calibration.to_dict()) == calibration
    assert calibration.with_rate(0.2).doubtful == 6
