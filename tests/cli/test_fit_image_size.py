"""`fit --image-size auto` and `--smallest-defect`, as a user meets them."""

import cv2
import numpy as np
import pytest

from anomalib_lite import Detector
from anomalib_lite.cli.visible import visible
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.tuning import sizes

FIT = ("--detector", "padim", "--backbone", "filters", "--image-size", "auto")


@pytest.fixture
def small_sizes(monkeypatch):
    monkeypatch.setattr(sizes, "SIDES", (64, 96))


def test_fit_chooses_a_size(run, small_sizes, good_folder, tmp_path):
    out = tmp_path / "part.safetensors"
    status, said, err = run("fit", good_folder, "--out", out, *FIT, "--smallest-defect", "0.7mm",
                            "--mm-per-pixel", "0.1")  # fmt: skip
    assert status == 0, err
    assert "simulated defects of 7 to 14 pixels" in said
    assert "chosen from 12 good images of 96x96" in said
    height, width = Detector.load(out).spec.size_hw
    assert f"image size {height}x{width}" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--smallest-defect", "1.5mm"], "add --mm-per-pixel"),
        (["--smallest-defect", "big"], "'big' is not understood; write 12 (pixels) or 1.5mm"),
        (["--smallest-defect", "0"], "'0' is not understood"),
        (["--mm-per-pixel", "0.1"], "--mm-per-pixel goes with --smallest-defect"),
        (["--mm-per-pixel", "-1", "--smallest-defect", "1mm"], "give a number above 0"),
        (["--smallest-defect", "1"], "smaller than a cell of the network, 4.0 pixels"),
        (["--detector", "efficientad"], "efficientad trains by steps; name a size"),
    ],
)
def test_what_cannot_be_is_one_line(run, small_sizes, good_folder, tmp_path, options, message):
    out = tmp_path / "part.safetensors"
    status, _, err = run("fit", good_folder, "--out", out, *FIT, *options)
    assert status == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not out.exists()


def test_a_named_size_that_cannot_see_the_smallest_defect_is_warned_of(run, good_folder, tmp_path):
    words = ("--detector", "padim", "--backbone", "filters", "--image-size", "32")
    status, _, err = run(
        "fit", good_folder, "--out", tmp_path / "part.safetensors", *words, "--smallest-defect", 5
    )
    assert status == 0, err
    assert "a defect of 5 pixels is smaller than a cell of the network, 12.0 pixels" in err


def test_squeezed_frames_are_told(run, tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "good"
    folder.mkdir()
    for index in range(4):
        cv2.imwrite(str(folder / f"{index}.png"), rng.integers(0, 255, (40, 100, 3), np.uint8))
    words = ("--detector", "padim", "--backbone", "filters", "--image-size", "32")
    _, said, _ = run("fit", folder, "--out", tmp_path / "part.safetensors", *words)
    assert "frames of 40x100 are squeezed to 32x32" in said


@pytest.mark.parametrize(
    ("frame_hw", "seen", "told"),
    [
        ((20, 20), 256, ["20x20 are enlarged to 256x256", "--image-size 32 is enough"]),
        ((40, 90), 256, ["40x90 are enlarged to 256x256", "--image-size 96 is enough"]),
        ((128, 128), 256, []),
        ((200, 300), 256, []),
    ],
)
def test_small_frames_that_are_enlarged_are_told(frame_hw, seen, told):
    lines = [line for line in visible(InputSpec(seen, seen), frame_hw) if "enlarged" in line]
    assert len(lines) == bool(told)
    assert all(words in lines[0] for words in told)
