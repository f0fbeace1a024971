"""`anomalib-lite fit` with detectors that train: budget, Ctrl-C, resuming."""

import os
import signal

import pytest

from anomalib_lite import Detector
from anomalib_lite.backbones import create_backbone
from anomalib_lite.scorers.training import loop as training

OPTIONS = ("--detector", "efficientad", "--image-size", "64")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A folder with made-up weights for pdn_edge."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("weights")
    network = create_backbone("pdn_edge", weights="random").net
    save_file(network.state_dict(), folder / "pdn_edge.safetensors")
    return folder


@pytest.fixture(autouse=True)
def weights(teacher, monkeypatch):
    monkeypatch.setenv("ANOMALIB_LITE_WEIGHTS", str(teacher))


def press_at(step, monkeypatch, number=signal.SIGINT):
    """Ctrl-C, or another signal, while a step is computed."""
    plain = training.Training.step

    def pressed(self, done):
        plain(self, done)
        if done + 1 == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(training.Training, "step", pressed)


def test_the_budget_and_the_size_are_options(run, good_folder, tmp_path):
    out = tmp_path / "part.safetensors"
    status, text, _ = run(
        "fit", good_folder, "--out", out, *OPTIONS, "--size", "edge", "--steps", 3
    )
    assert status == 0
    assert "efficientad on pdn_edge" in text
    scorer = Detector.load(out).scorer
    assert (scorer.size, scorer.steps) == ("edge", 3)
    assert scorer.held_out_loss_[:, 0].tolist() == [1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["part.safetensors"]


def test_the_width_is_an_option(run, good_folder, tmp_path):
    out = tmp_path / "part.safetensors"
    given = ("--detector", "draem", "--image-size", "32", "--width", "0.25", "--steps", 1)
    status, text, _ = run("fit", good_folder, "--out", out, *given)
    assert status == 0
    assert "draem on pixels" in text
    assert Detector.load(out).scorer.width == 0.25


@pytest.mark.parametrize(("number", "ends_with"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_writes_a_detector_and_resume_ends_in_the_same_bytes(
    run, good_folder, tmp_path, monkeypatch, number, ends_with
):
    whole, out = tmp_path / "whole.safetensors", tmp_path / "part.safetensors"
    assert run("fit", good_folder, "--out", whole, *OPTIONS, "--steps", 6)[0] == 0
    with monkeypatch.context() as patch:
        press_at(4, patch, number)
        status, text, _ = run("fit", good_folder, "--out", out, *OPTIONS, "--steps", 6)
    assert status == ends_with
    assert "--resume" in text
    assert Detector.load(out).scorer.held_out_loss_[-1, 0] == 4
    assert (tmp_path / "part.checkpoint").is_dir()
    status, _, _ = run("fit", good_folder, "--out", out, *OPTIONS, "--steps", 6, "--resume")
    assert status == 0
    assert out.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "part.checkpoint").exists()


def test_resuming_another_fit_is_one_line(run, good_folder, tmp_path, monkeypatch):
    out = tmp_path / "part.safetensors"
    with monkeypatch.context() as patch:
        press_at(1, patch)
        run("fit", good_folder, "--out", out, *OPTIONS, "--steps", 6)
    status, _, text = run("fit", good_folder, "--out", out, *OPTIONS, "--steps", 7, "--resume")
    assert status == 2
    assert "another fit" in text
    assert "Traceback" not in text


def test_resuming_without_a_checkpoint_starts_from_the_beginning(run, good_folder, tmp_path):
    out = tmp_path / "part.safetensors"
    status, _, text = run("fit", good_folder, "--out", out, *OPTIONS, "--steps", 1, "--resume")
    assert status == 0
    assert "no checkpoint" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--detector", "padim", "--steps", 5),
            "--steps is not an option of padim",
        ),
        (("--set", "steps=5"), "write --steps instead"),
        (("--size", "L"), "--size L: choose one of edge, S, M"),
        (("--resume", "--contamination", "audit"), "leave --contamination out"),
        (("--backbone", "filters"), "leave --backbone and --layers out"),
    ],
)
def test_options_that_make_no_sense_are_one_line(run, good_folder, tmp_path, options, message):
    words = ("--out", tmp_path / "part.safetensors", *OPTIONS, *options)
    status, _, text = run("fit", good_folder, *words)
    assert status == 2
    assert message in text
