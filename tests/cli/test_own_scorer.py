"""A scorer that somebody registers is a detector on the command line, as ours are."""

import pytest
from toy_scorers import Toy

from anomalib_lite import Detector
from anomalib_lite.scorers import list_scorers, register_scorer, registry

SIDE = 64


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """`toy` is known during a test, and only then."""
    list_scorers()
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    register_scorer(Toy)


def test_the_command_line_takes_it_by_name(run, good_folder, tmp_path):
    out = tmp_path / "toy.safetensors"
    status, _, err = run(
        "fit", good_folder, "--out", out, "--detector", "toy", "--backbone", "filters",
        "--image-size", SIDE, "--set", "power=1.5",
    )  # fmt: skip
    assert status == 0, err
    assert Detector.load(out).scorer.power == 1.5
    assert run("export", out, tmp_path / "toy.onnx")[0] == 0
    assert run("check", tmp_path / "toy.onnx")[0] == 0
    status, printed, _ = run("info", tmp_path / "toy.onnx")
    assert status == 0
    assert "toy" in printed
