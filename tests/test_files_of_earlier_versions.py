"""Files written by version 0.1.0 before the rooms were rebuilt load and answer the same.

`tests/fixtures` holds what commit 91646ee saved and exported (64x64 parts), and its answers.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from anomalib_lite import Detector, EdgeModel

FIXTURES = Path(__file__).parent / "fixtures"
ANSWERS = json.loads((FIXTURES / "answers.json").read_text())
DETECTORS = sorted(path.stem for path in FIXTURES.glob("*.safetensors"))


@pytest.fixture(scope="module")
def frames():
    """A good and a scratched flange, RGB uint8 (2, 96, 96, 3)."""
    return list(np.load(FIXTURES / "frames.npz")["frames"])


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_file_answers_as_it_did(name, frames):
    detector = Detector.load(FIXTURES / f"{name}.safetensors")
    found = [detector.predict(frame) for frame in frames]
    expected = ANSWERS[name]
    assert [item.score for item in found] == pytest.approx(expected["scores"], rel=1e-4)
    assert [item.p_value for item in found] == pytest.approx(expected["p"])
    assert detector.calibration.threshold == pytest.approx(expected["threshold"])


@pytest.mark.parametrize("name", DETECTORS)
def test_an_edge_file_answers_as_it_did(name, frames):
    model = EdgeModel(FIXTURES / f"{name}.onnx")
    found = [model.predict(frame) for frame in frames]
    assert [item.score for item in found] == pytest.approx(ANSWERS[name]["edge"], rel=1e-4)


@pytest.mark.parametrize("name", DETECTORS)
def test_an_old_detector_saves_and_exports_anew(name, frames, tmp_path):
    detector = Detector.load(FIXTURES / f"{name}.safetensors")
    detector.save(tmp_path / "again.safetensors")
    assert Detector.load(tmp_path / "again.safetensors").data == detector.data
    detector.export(tmp_path / "again.onnx")
    found = EdgeModel(tmp_path / "again.onnx").predict(frames[1])
    assert found.score == pytest.approx(ANSWERS[name]["edge"][1], rel=1e-4)
