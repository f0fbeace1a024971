"""What is not fitted yet says so, whatever is asked of it; looking at it is always possible."""

import runpy

import numpy as np
import pytest

from anomalib_lite import Detector
from anomalib_lite.curation.update_gate import update_detector
from anomalib_lite.detector.explainer import Explainer
from anomalib_lite.edge.errors import FitError
from anomalib_lite.scorers import list_scorers

FRAME = np.zeros((96, 96, 3), np.uint8)
PREPARED = np.zeros((1, 64, 64, 3), np.uint8)

USES = {
    "predict": lambda detector, folder: detector.predict(FRAME),
    "predict what is no frame": lambda detector, folder: detector.predict(None),
    "predict a missing file": lambda detector, folder: detector.predict(folder / "none.png"),
    "predict_batch": lambda detector, folder: detector.predict_batch([FRAME]),
    "predict_batch of nothing": lambda detector, folder: detector.predict_batch([]),
    "run": lambda detector, folder: detector.run(PREPARED),
    "calibration": lambda detector, folder: detector.calibration,
    "threshold": lambda detector, folder: detector.threshold,
    "data": lambda detector, folder: detector.data,
    "state": lambda detector, folder: detector.state(),
    "save": lambda detector, folder: detector.save(folder / "x.safetensors"),
    "export": lambda detector, folder: detector.export(folder / "x.onnx"),
    "recalibrate": lambda detector, folder: detector.recalibrate(0.1),
    "partial_fit": lambda detector, folder: detector.partial_fit([FRAME]),
    "forget": lambda detector, folder: detector.forget([FRAME]),
    "update": lambda detector, folder: update_detector(detector, add=[FRAME]),
}


@pytest.mark.parametrize("use", USES)
def test_every_use_of_an_unfitted_detector_is_the_same_error(use, tmp_path):
    detector = Detector("padim", backbone="filters", image_size=64)
    with pytest.raises(FitError) as caught:
        USES[use](detector, tmp_path)
    assert str(caught.value) == "this detector is not fitted yet; call fit(source) first"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted({*list_scorers(), "padim+mvg"}))
def test_every_kind_of_detector_says_so_before_it_judges(name):
    detector = Detector(name, image_size=64)
    for use in ("predict", "run"):
        with pytest.raises(FitError, match="not fitted yet; call fit"):
            USES[use](detector, None)


def test_an_unfitted_detector_explains_nothing():
    detector = Detector("patchcore", backbone="filters", image_size=64)
    with pytest.raises(FitError, match="not fitted yet; call fit"):
        Explainer(detector)


@pytest.mark.parametrize("name", [*list_scorers(), "padim+mvg"])
def test_an_unfitted_detector_can_be_looked_at(name):
    text = repr(Detector(name, image_size=64))
    assert text.startswith(f"Detector('{name}', backbone='")
    assert text.endswith("', image_size=(64, 64), not fitted)")


def test_judging_right_after_making_one(shared_cases, tmp_path):
    """The folder that a user has, and the one line that they try first."""
    script = tmp_path / "make.py"
    script.write_bytes((shared_cases / "C31-predict-before-fit" / "make.py").read_bytes())
    runpy.run_path(str(script))
    good = tmp_path / "in" / "good" / "000.png"
    assert good.is_file()
    with pytest.raises(FitError, match=r"^this detector is not fitted yet; call fit"):
        Detector("padim", image_size=64).predict(str(good))
