"""A fitted musc is a variant of the method, and everything that it makes says so."""

import json

import pytest

from anomalib_lite import Detector
from anomalib_lite.edge import EdgeModel
from anomalib_lite.edge.model_files.headers import read_header
from anomalib_lite.evaluation import EvaluationSettings
from anomalib_lite.scorers import create_scorer
from anomalib_lite.scorers.mutual.frozen_pool import FROZEN
from anomalib_lite.scorers.mutual.pool_scores import PROTOCOL

SETTINGS = {"backbone": "filters", "image_size": 64, "degrees": [1], "references": 4}


@pytest.fixture(scope="module")
def files(good_frames, tmp_path_factory):
    """A frozen pool as (`.safetensors`, `.onnx`)."""
    folder = tmp_path_factory.mktemp("frozen")
    detector = Detector("musc", **SETTINGS).fit(good_frames)
    detector.save(folder / "part.safetensors")
    detector.export(folder / "part.onnx")
    return folder / "part.safetensors", folder / "part.onnx"


def lines_of(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_the_variant_is_not_called_by_the_name_of_the_published_protocol():
    assert "musc" in FROZEN
    assert "variant" in FROZEN
    assert PROTOCOL not in FROZEN


@pytest.mark.parametrize("kind", [0, 1], ids=["detector", "edge file"])
def test_score_says_so_in_every_line_and_on_the_page(run, files, good_folder, tmp_path, kind):
    frames = tmp_path / "frames"
    frames.mkdir()
    for path in sorted(good_folder.iterdir())[:3]:
        (frames / path.name).write_bytes(path.read_bytes())
    (frames / "torn.png").write_bytes(b"no picture")
    assert run("score", files[kind], frames, "--out", tmp_path / "out", "--report")[0] == 3
    lines = lines_of(tmp_path / "out")
    assert [line["protocol"] for line in lines] == [FROZEN] * 4
    assert "error" in lines[3]
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"judged by musc on filters ({FROZEN})" in page


def test_files_info_and_check_say_so(run, files):
    for file in files:
        assert FROZEN in run("info", file)[1]
        described = json.loads(run("info", file, "--json")[1])
        assert described["about"]["detector"]["protocol"] == FROZEN
    assert read_header(files[0])["about"]["detector"]["protocol"] == FROZEN
    assert EdgeModel(files[1]).protocol == FROZEN
    assert Detector.load(files[0]).protocol == FROZEN
    assert f"protocol: {FROZEN}" in run("check", files[1])[1]


def test_fit_says_so(run, good_folder, tmp_path):
    options = ["--detector", "musc", "--backbone", "filters", "--image-size", "64"]
    status, text, err = run("fit", good_folder, "--out", tmp_path / "part.safetensors", *options)
    assert status == 0, err
    assert f"protocol: {FROZEN}" in text


def test_an_evaluation_says_so():
    settings = EvaluationSettings(data=("mvtec:x",), detectors=("padim", "musc"))
    assert settings.protocol()[-1] == f"musc: {FROZEN}."
    plain = EvaluationSettings(data=("mvtec:x",), detectors=("padim",))
    assert settings.protocol()[:-1] == plain.protocol()


def test_a_fusion_with_it_says_so():
    assert create_scorer("padim+musc").protocol == FROZEN
    assert create_scorer("padim+mvg").protocol == ""


@pytest.mark.parametrize("kind", [0, 1], ids=["detector", "edge file"])
def test_other_methods_say_nothing(run, padim_files, good_folder, tmp_path, kind):
    assert "protocol" not in run("info", padim_files[kind])[1]
    run("score", padim_files[kind], good_folder, "--out", tmp_path, "--report")
    assert all("protocol" not in line for line in lines_of(tmp_path))
    assert "protocol" not in (tmp_path / "report.html").read_text()
