"""Copies and views of one part: counted once, kept together, said."""

import runpy
import shutil

import cv2
import numpy as np
import pytest

from anomalib_lite import Detector
from anomalib_lite.data.parts import render
from anomalib_lite.detector.resting import explain_resting, rests_on
from anomalib_lite.edge.errors import FitError, SettingsError


def small(name="padim", **options):
    extra = {"num_features": 16} if name == "padim" else {}
    return Detector(name, backbone="filters", image_size=64, **extra, **options)


@pytest.fixture(scope="module")
def views():
    """Six parts, three views of each: the same part under other light."""
    frames = [render("kit", seed=1, index=index, size=96).image for index in range(6)]
    return [
        np.clip(frame * light, 0, 255).astype(np.uint8)
        for frame in frames
        for light in (1, 0.8, 0.6)
    ]


@pytest.mark.parametrize("name", ["padim", "mvg", "knn"])
@pytest.mark.parametrize("calibration", ["folds", "holdout"])
def test_copies_change_neither_model_nor_threshold(good_frames, name, calibration):
    once = small(name, calibration=calibration).fit(good_frames)
    fourfold = small(name, calibration=calibration).fit(good_frames * 4)
    assert fourfold.calibration == once.calibration
    assert fourfold.data.images == 12
    assert len(fourfold.data.copies) == 36
    assert fourfold.independence.explain()[0].startswith("36 exact copies count once")
    frame = render("flange", seed=0, index=40, size=96).image
    assert fourfold.predict(frame).score == once.predict(frame).score


@pytest.mark.parametrize("calibration", ["folds", "holdout"])
def test_views_of_one_part_count_once_and_are_held_out_together(views, calibration):
    parts = [f"part {place // 3}" for place in range(len(views))]
    fitted = small(calibration=calibration, max_false_reject=0.2).fit(views, group_by=parts)
    operating = fitted.calibration.operating
    held_out = [record for record in fitted.data.records if record.score is not None]
    shown = {record.origin for record in held_out}
    assert operating.parts == len(shown) == (6 if calibration == "folds" else 2)
    assert operating.samples == len(held_out) == 3 * len(shown)
    assert {record.origin for record in fitted.data.records} == set(parts)
    alone = small(calibration=calibration, max_false_reject=0.2).fit(views, group_by="none")
    assert alone.calibration.operating.parts == alone.calibration.operating.samples


def test_the_group_of_each_image_survives_the_file(views, tmp_path):
    parts = [f"part {place // 3}" for place in range(len(views))]
    fitted = small().fit([*views, views[0]], group_by=[*parts, parts[0]])
    again = Detector.load(fitted.save(tmp_path / "part.safetensors"))
    assert again.data == fitted.data
    assert again.calibration == fitted.calibration
    assert again.data.parts == 6
    assert list(again.data.copies) == list(fitted.data.copies)


def test_views_added_later_join_the_part_of_their_name(views):
    parts = [f"part {place // 3}" for place in range(len(views))]
    fitted = small().fit(views[:12], group_by=parts[:12])
    fitted.partial_fit(views[12:17], group_by=["part 3", "part 3", "", "new", "new"])
    assert fitted.calibration.operating.parts == 6  # four, one alone, one new
    fitted.forget([views[12], views[12]])
    assert fitted.data.images == 16


@pytest.mark.parametrize(
    ("group_by", "error", "words"),
    [
        (["a"], SettingsError, "1 groups for 18 images"),
        (["a"] * 18, FitError, "show only 1 part"),
        (["a"] * 9 + ["b"] * 9, FitError, "show only 2 part"),
    ],
)
def test_groups_that_leave_too_few_parts_are_refused(views, group_by, error, words):
    with pytest.raises(error, match=words):
        small().fit(views, group_by=group_by)


def test_near_copies_are_found_without_being_told(views):
    frames = [render("kit", seed=2, index=index, size=160).image for index in range(12)]
    brighter = np.clip(frames[3] * 1.03, 0, 255).astype(np.uint8)
    fitted = small().fit([*frames, brighter])
    assert fitted.calibration.operating.parts == 12
    assert len(fitted.independence.alike) == 1
    assert "look like further pictures of the same 1 parts" in fitted.independence.explain()[0]
    assert small().fit(frames).independence.explain() == []


def test_one_odd_image_that_sets_the_threshold_is_named(good_frames):
    odd = good_frames[0].copy()
    odd[30:60, 30:60] = 255
    fitted = small().fit([*good_frames[1:], odd])
    resting = rests_on(fitted.data, fitted.calibration)
    assert resting[0].name == fitted.data.records[-1].name
    assert resting[0].without == sorted(fitted.calibration.scores)[-2]
    words = explain_resting(fitted.data, fitted.calibration)
    assert words.startswith(f"the threshold rests on {resting[0].name}: without it, it would be ")
    assert words.endswith(" % lower"), "so few images have the same threshold at 5 %"


@pytest.fixture
def copies_case(shared_cases, tmp_path, monkeypatch):
    script = shutil.copy(shared_cases / "C02-duplicates-promise" / "make.py", tmp_path)
    runpy.run_path(str(script))
    return tmp_path / "in"


def test_case_c02_copies_promise_no_more_than_the_photographs(copies_case):
    unique, copies = (
        Detector("patchcore", image_size=64).fit(copies_case / name)
        for name in ("unique", "copies")
    )
    assert copies.threshold == unique.threshold
    assert copies.calibration.operating.explain() == unique.calibration.operating.explain()
    assert unique.calibration.operating.parts == 25
    rejected = sum(item.is_anomalous for item in copies.predict(copies_case / "new_good"))
    assert rejected <= 6


def test_neighbours_in_a_video_stay_together(tmp_path):
    video = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 96))
    for index in range(40):
        frame = render("kit", seed=2, index=index, size=96).image
        writer.write(frame[:, :, ::-1].copy())
    writer.release()
    fitted = small().fit(video)
    assert fitted.calibration.operating.parts == 10
    assert fitted.data.records[5].origin == "line.avi, block 1"
    assert small().fit(video, group_by="none").calibration.operating.parts == 40
