"""Frames that are not what was declared or fitted: told in one line, never judged in silence."""

import runpy

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
