"""Frames that are not what was declared or fitted: told in one line, never judged in silence."""

import runpy

import cv2
import numpy as np
import pytest


@pytest.fixture
def case(shared_cases, tmp_path):
    """Draw the inputs of a reported situation; gives their folder."""

    def draw(name):
        script = tmp_path / "make.py"
        script.write_bytes((shared_cases / name / "make.py").read_bytes())
        runpy.run_path(str(script))
        return tmp_path / "in"

    return draw


def test_a_line_scan_is_fitted_and_exported(run, case, tmp_path):
    good = case("C40-line-scan-cannot-be-exported") / "good"
    model, edge = tmp_path / "m.safetensors", tmp_path / "m.onnx"
    options = ["--image-size", "32x256", "--detector", "padim", "--set", "num_features=12"]
    assert run("fit", good, "--out", model, *options)[0] == 0
    assert run("export", model, edge)[0] == 0
    assert run("check", edge)[0] == 0
    assert run("bench", edge, "--frames", 5)[0] == 0


def test_a_mask_of_another_shape_is_refused(run, case, tmp_path):
    folder = case("C17-roi-of-another-shape")
    out = tmp_path / "m.safetensors"
    options = ["--image-size", 64, "--detector", "padim", "--roi", folder / "roi_300x100.png"]
    status, _, err = run("fit", folder / "good", "--out", out, *options)
    assert status != 0
    assert "160x160 (width / height 1.00), the mask of the region of interest has width" in err
    assert "Traceback" not in err
    assert not out.exists()


def test_grey_frames_are_not_judged_by_a_model_of_colour_frames(run, case, tmp_path):
    folder = case("C33-grey-camera-colour-model")
    model, edge, out = tmp_path / "m.safetensors", tmp_path / "m.onnx", tmp_path / "o"
    options = ["--image-size", 64, "--detector", "mvg", "--backbone", "filters"]
    assert run("fit", folder / "good", "--out", model, *options)[0] == 0
    assert run("export", model, edge)[0] == 0
    assert run("score", edge, folder / "mono", "--out", out)[0] == 3
    assert (out / "results.jsonl").read_text().count("frame is grey, the model was fitted on") == 4
    assert run("score", edge, folder / "good", "--out", tmp_path / "p")[0] == 0


def test_a_fit_says_what_is_too_small_to_be_seen(run, case, tmp_path):
    folder = case("C34-defects-smaller-than-a-pixel")
    options = ["--detector", "mvg", "--backbone", "filters"]
    status, out, _ = run("fit", folder / "good", "--out", tmp_path / "m.safetensors", *options)
    assert status == 0
    assert "one pixel of the network is 16.0 x 11.7 pixels of the frame" in out
    assert "smaller than about 32 pixels" in out


def test_a_fit_says_what_the_region_of_interest_keeps(run, good_folder, tmp_path):
    mask = np.zeros((96, 96), np.uint8)
    mask[:48] = 255
    cv2.imwrite(str(tmp_path / "roi.png"), mask)
    options = ["--detector", "mvg", "--backbone", "filters", "--image-size", 96]
    options += ["--roi", tmp_path / "roi.png"]
    status, out, _ = run("fit", good_folder, "--out", tmp_path / "m.safetensors", *options)
    assert status == 0
    assert "region of interest: keeps 50.0% of the frame" in out


@pytest.mark.parametrize(
    ("suffix", "inside", "said"),
    [
        (".png", slice(0, 96), "the mask has no black pixel, so the whole frame counts"),
        (".jpg", slice(0, 45), "nearly black pixels count as inside"),
    ],
)
def test_masks_that_mean_little_are_told(run, good_folder, tmp_path, suffix, inside, said):
    mask = np.zeros((96, 96), np.uint8)
    mask[inside, 3:93] = 255
    mask = mask if suffix == ".jpg" else mask * 0 + 255
    cv2.imwrite(str(tmp_path / f"roi{suffix}"), mask)
    options = ["--detector", "mvg", "--backbone", "filters", "--image-size", 32]
    options += ["--roi", tmp_path / f"roi{suffix}"]
    status, out, err = run("fit", good_folder, "--out", tmp_path / "m.safetensors", *options)
    assert status == 0
    assert said in out + err


def test_a_fit_tells_images_that_contradict_each_other(run, good_folder, tmp_path):
    for path in good_folder.iterdir():
        frame = cv2.imread(str(path))
        cv2.imwrite(str(tmp_path / path.name), frame)
    cv2.imwrite(str(tmp_path / "grey.png"), cv2.resize(frame[:, :, 1], (60, 80)))
    options = ["--detector", "mvg", "--backbone", "filters", "--image-size", 32]
    status, out, _ = run("fit", tmp_path, "--out", tmp_path / "m.safetensors", *options)
    assert status == 0
    assert "note: 1 of" in out
    assert "note: the images have different shapes" in out


@pytest.mark.parametrize("names", [("good", "bad"), ("a", "NG"), ("a", "test")])
def test_folders_that_say_good_or_bad_are_no_products(run, good_folder, tmp_path, names):
    for name in names:
        (tmp_path / "p" / name).mkdir(parents=True)
        for path in sorted(good_folder.iterdir())[:4]:
            (tmp_path / "p" / name / path.name).write_bytes(path.read_bytes())
    out = tmp_path / "m.safetensors"
    options = ["--detector", "gda", "--backbone", "filters", "--image-size", 32]
    status, _, err = run("fit", tmp_path / "p", "--products", "--out", out, *options)
    assert status == 2
    assert "say whether pictures are good, not which product they show" in err
    assert not out.exists()
