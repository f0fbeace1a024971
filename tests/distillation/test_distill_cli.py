"""`anomalib-lite distill`, from pictures to a backbone that `fit` takes."""

import pytest
from safetensors.torch import save_file

from anomalib_lite.backbones import create_backbone
from anomalib_lite.cli.main import run
from anomalib_lite.distillation.weights_file import read_card


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "resnet18.safetensors"
    save_file(create_backbone("resnet18", weights="random").net.state_dict(), path)
    return path


def command(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["anomalib-lite", *map(str, words)])
    try:
        run()
    except SystemExit as stop:
        return stop.code
    return 0


def options(out, teacher_file):
    small = ["--procedural", 3, "--batch-size", 1, "--crop", 64]
    return ["distill", "--out", out, "--weights", teacher_file, "--steps", 3, *small]


def test_a_distilled_network_can_be_fitted(monkeypatch, tmp_path, teacher_file, good_folder):
    out = tmp_path / "edge.safetensors"
    note = ["--note", "free"]
    assert command(monkeypatch, *options(out, teacher_file), good_folder, *note) in (0, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edge.safetensors"]
    card = read_card(out)
    assert (card["steps_done"], card["note"], card["pictures"]) == (3, "free", [12, 3])
    part = tmp_path / "part.safetensors"
    fit = ["fit", good_folder, "--out", part, "--detector", "mvg", "--image-size", 64]
    assert command(monkeypatch, *fit, "--backbone", "pdn_edge", "--weights", out) in (0, None)
    assert part.exists()


def test_a_run_out_of_time_leaves_weights_and_can_go_on(
    monkeypatch, tmp_path, teacher_file, capsys
):
    out = tmp_path / "edge.safetensors"
    words = options(out, teacher_file)
    assert command(monkeypatch, *words, "--minutes", "0.00001") == 0
    assert read_card(out)["steps_done"] == 1
    assert command(monkeypatch, *words) == 2
    assert "add --resume" in capsys.readouterr().err
    assert command(monkeypatch, *words, "--resume") in (0, None)
    assert read_card(out)["steps_done"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edge.safetensors"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--out", "x.safetensors", "--size", "medium", "--start", "shipped"],
            "there is no pdn_medium.safetensors",
        ),
        (
            ["--out", "x.safetensors", "--start", "absent.safetensors"],
            "there is no absent.safetensors",
        ),
        (["--out", "x.bin"], "must end in .safetensors"),
        (["--out", "x.safetensors", "--crop", "70"], "multiple of 16"),
        (["--out", "x.safetensors", "--size", "huge"], "choose one of edge, small, medium"),
    ],
)
def test_mistakes_end_in_one_line(monkeypatch, tmp_path, capsys, words, message, teacher_file):
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, "distill", "--weights", teacher_file, *words) == 2
    assert message in capsys.readouterr().err
