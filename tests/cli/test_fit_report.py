"""What `fit` says about its threshold, on the screen and as a page."""

import json

import cv2
import numpy as np

FIT = ["--backbone", "filters", "--detector", "padim", "--image-size", "64"]
FIT += ["--set", "num_features=12"]


def test_a_fit_shows_rates_and_pictures_what_its_threshold_rests_on(run, good_frames, tmp_path):
    folder = tmp_path / "good"
    folder.mkdir()
    for index, frame in enumerate(good_frames):
        marked = frame.copy()
        if index == 5:
            marked[30:60, 30:60] = 255
        cv2.imwrite(str(folder / f"img_{index:03d}.png"), marked[:, :, ::-1])
        cv2.imwrite(str(folder / f"img_{index:03d}_again.png"), marked[:, :, ::-1])
    part = tmp_path / "part.safetensors"
    status, out, _ = run("fit", folder, "--out", part, *FIT, "--report")
    assert status == 0
    assert "12 exact copies count once" in out
    assert "the threshold rests on img_005.png: without it, it would be " in out
    for rate in ("0.5 %", "1 %", "2 %", "5 %"):
        assert rate in out
    page = (tmp_path / "part.fit.html").read_text()
    assert "Few images set the threshold" in page
    assert "What the threshold rests on" in page
    assert out.count("0.5 %, 1 %, 2 %, 5 %") == 1  # twelve images: one threshold for all rates
    assert "can promise less: 5 % from 19, 2 % from 49, 1 % from 99, 0.5 % from 199" in out
    assert page.count("<img") >= 12
    _, told, _ = run("info", part, "--json")
    calibration = json.loads(told)["calibration"]
    assert calibration["promise"] in out
    assert calibration["independent_images"] == 12
    assert np.isclose(calibration["upper_bound_95"], 1 - 0.05 ** (1 / 12))
    assert calibration["guaranteed"] is False


def test_group_by_is_heeded_and_a_wrong_one_refused(run, good_folder, tmp_path):
    part = tmp_path / "part.safetensors"
    status, out, _ = run("fit", good_folder, "--out", part, *FIT, "--group-by", "block:3")
    assert status == 0
    assert "you have 12 of 4 parts" in out
    status, _, err = run("fit", good_folder, "--out", part, *FIT, "--group-by", "board(x)")
    assert status == 2
    assert "finds nothing in '000.png'" in err
    status, _, err = run("fit", good_folder, "--out", part, *FIT, "--group-by", "folder")
    assert status == 2
    assert "show only 1 part" in err
