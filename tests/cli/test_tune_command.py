"""`anomalib-lite tune`, as a user meets it."""

import json

import pytest

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.data.parts.dataset import write_dataset

SMALL = ("--detector", "mvg", "--detector", "padim", "--backbone", "filters", "--image-size", "32",
         "--image-size", "64", "--engine", "onnxruntime")  # fmt: skip


def test_a_tuning_ends_in_a_verified_file_that_fits_the_budget(run, good_folder, tmp_path):
    out = tmp_path / "tuned"
    status, said, err = run("tune", good_folder, "--budget-ms", 1000, "--out", out, *SMALL)
    assert status == 0, err
    found = json.loads((out / "tune.json").read_text())
    assert len(found["trials"]) == 4
    assert all(trial["tried"][0]["images"] == 12 for trial in found["trials"])
    best = max(trial["tried"][-1]["found"] for trial in found["trials"])
    assert found["chosen"]["tried"][-1]["found"] == best
    model = EdgeModel(out / "part.onnx")
    assert list(model.spec.size_hw) == found["chosen"]["size_hw"]
    assert Detector.load(out / "part.safetensors").data.images == 12
    assert f"score {out / 'part.onnx'}" in said
    assert "<svg" in (out / "report.html").read_text()
    assert "| mvg on filters, 32x32 |" in (out / "tune.md").read_text()


def test_nothing_that_fits_is_one_line_with_the_quickest(run, good_folder, tmp_path):
    out = tmp_path / "tuned"
    small = SMALL[:2] + SMALL[4:8]
    status, _, err = run("tune", good_folder, "--budget-ms", 1e-6, "--out", out, *small)
    assert status == 2
    assert "nothing takes 1e-06 ms or less on this machine; the quickest is mvg on filters" in err
    assert (out / "report.html").is_file()
    assert not (out / "part.onnx").exists()
    assert "--resume with a larger --budget-ms keeps what was tried" in err
    larger = ("tune", good_folder, "--budget-ms", 1000, "--out", out, *small)
    status, said, err = run(*larger, "--resume")
    assert status == 0, err
    assert "labelled" not in said, "a column without a figure only takes room"
    assert (out / "part.onnx").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget-ms", "0"], "--budget-ms 0: give milliseconds above 0"),
        (["--budget-ms", "-3"], "give milliseconds above 0"),
        (["--budget-ms", "nan"], "give milliseconds above 0"),
        (["--budget-ms", "5", "--detector", "padmi"], "did you mean padim?"),
        (["--budget-ms", "5", "--detector", "efficientad"], "trains by steps"),
        (["--budget-ms", "5", "--backbone", "resnet17"], "resnet17"),
        (["--budget-ms", "5", "--engine", "openvin"], "did you mean openvino?"),
        (["--budget-ms", "5", "--precision", "int4"], "did you mean int8?"),
        (["--budget-ms", "5", "--minutes", "0"], "choose a time above 0"),
        (["--budget-ms", "5", "--labelled", "folder:/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_be_is_one_line(run, good_folder, tmp_path, options, message):
    out = tmp_path / "tuned"
    status, _, err = run("tune", good_folder, "--out", out, *options)
    assert status == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not out.exists()


def test_a_precision_is_an_axis_and_what_is_chosen_is_exported_in_it(run, good_folder, tmp_path):
    out, small = tmp_path / "tuned", ("--detector", "mvg", *SMALL[4:8], *SMALL[-2:])
    words = ("--budget-ms", 1000, "--out", out, "--precision", "fp16", *small)
    status, _, err = run("tune", good_folder, *words)
    assert status == 0, err
    found = json.loads((out / "tune.json").read_text())
    assert found["chosen"]["precision"] == "fp16"
    assert EdgeModel(out / "part.onnx").about["precision"]["name"] == "fp16"


@pytest.mark.parametrize("words", [("tune", "--budget-ms", 5), ("fit", "--image-size", "auto")])
def test_a_live_source_is_refused(run, tmp_path, words):
    status, _, err = run(*words, "camera:0", "--out", tmp_path / "part.safetensors")
    assert status == 2
    assert "a live source cannot be read twice" in err


def test_too_few_images_are_one_line(run, good_folder, tmp_path):
    status, _, err = run("tune", f"{good_folder}/00[0-3].png", "--budget-ms", 5, "--out", tmp_path)
    assert status == 2
    assert "4 usable good images; a choice takes at least 5" in err


def test_labelled_images_judge_in_place_of_simulated_defects(run, tmp_path):
    parts = write_dataset(
        tmp_path, "flange", train=8, test_good=3, test_per_defect=1, size=96, image_format="png"
    )
    out, small = tmp_path / "tuned", ("--detector", "mvg", *SMALL[4:8], *SMALL[-2:])
    words = ("--budget-ms", 1000, "--out", out, "--labelled", f"mvtec:{tmp_path}:flange")
    status, _, err = run("tune", parts / "train" / "good", *words, *small)
    assert status == 0, err
    chosen = json.loads((out / "tune.json").read_text())["chosen"]
    assert 0 <= chosen["tried"][0]["labelled_auroc"] <= 1
    assert "image AUROC on labelled images" in (out / "report.html").read_text()
