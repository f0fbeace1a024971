"""`anomalib-lite score --explain` from end to end."""

import json

import cv2
import numpy as np
import pytest

from anomalib_lite import Detector


@pytest.fixture(scope="module")
def bank(good_folder, tmp_path_factory):
    """A fitted PatchCore as (`.safetensors`, `.onnx`)."""
    folder = tmp_path_factory.mktemp("bank")
    detector = Detector("patchcore", image_size=64, rows=150).fit(good_folder)
    detector.export(folder / "part.onnx")
    return detector.save(folder / "part.safetensors"), folder / "part.onnx"


@pytest.fixture
def line(good_frames, tmp_path):
    """A good, a soiled and an unreadable frame."""
    soiled = good_frames[1].copy()
    squares = np.random.default_rng(1).integers(0, 2, (10, 10, 3)) * 255
    soiled[30:70, 20:60] = squares.repeat(4, 0).repeat(4, 1)
    folder = tmp_path / "line"
    folder.mkdir()
    for name, frame in {"0.png": good_frames[0], "1.png": soiled}.items():
        cv2.imwrite(str(folder / name), frame[:, :, ::-1])
    (folder / "2.png").write_bytes(b"not a picture")
    return folder


def test_rejected_frames_get_the_nearest_good_patch_and_a_picture(
    run, bank, line, good_folder, tmp_path
):
    out = tmp_path / "out"
    arguments = ["--out", out, "--explain", "--good", good_folder, "--report"]
    status, _, _ = run("score", bank[0], line, *arguments)
    assert status == 3
    lines = [json.loads(text) for text in (out / "results.jsonl").read_text().splitlines()]
    good, bad, unreadable = lines
    assert not good["is_anomalous"]
    assert good["explanations"] == unreadable["explanations"] == []
    assert bad["is_anomalous"]
    assert 1 <= len(bad["explanations"]) <= 3
    for found in bad["explanations"]:
        assert (good_folder / found["good_image"]).exists()
        assert found["good_picture"] == "the photograph itself"
        assert found["distance"] > 0
        assert {"x", "y", "width", "height"} == found["box"].keys() == found["good_box"].keys()
        assert cv2.imread(str(out / found["picture"])).shape == (240, 488, 3)
    written = sorted(path.name for path in (out / "explanations").iterdir())
    assert written == [f"1.png.{i + 1}.png" for i in range(len(bad["explanations"]))]
    assert "Why they were rejected" in (out / "report.html").read_text()


def test_the_detector_file_alone_is_enough(run, bank, line, tmp_path):
    for out in ("one", "two"):
        run("score", bank[0], line, "--out", tmp_path / out, "--explain")
    texts = [(tmp_path / out / "results.jsonl").read_text() for out in ("one", "two")]
    assert texts[0] == texts[1]
    found = json.loads(texts[0].splitlines()[1])["explanations"][0]
    assert found["good_picture"] == "small picture in the detector file"
    pictures = [(tmp_path / out / found["picture"]).read_bytes() for out in ("one", "two")]
    assert pictures[0] == pictures[1]


def test_without_the_option_nothing_is_added(run, bank, line, tmp_path):
    run("score", bank[0], line, "--out", tmp_path / "out")
    assert "explanations" not in (tmp_path / "out" / "results.jsonl").read_text()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"results.jsonl", "run.json"}


def test_what_cannot_explain_is_one_line(run, bank, mvg_files, line, tmp_path):
    out = ["--out", tmp_path / "out"]
    cases = [
        ([bank[1], line, *out, "--explain"], "give the .safetensors"),
        ([mvg_files[0], line, *out, "--explain"], "mvg cannot explain; these can: "),
        ([bank[0], line, *out, "--explain", "--good", tmp_path / "none"], "no such folder"),
        ([bank[0], line, *out, "--good", line], "--good is for --explain"),
    ]
    for arguments, words in cases:
        status, _, err = run("score", *arguments)
        assert status == 2
        assert "Traceback" not in err
        assert len(err.splitlines()) == 1
        assert words in err
    assert not (tmp_path / "out").exists()
