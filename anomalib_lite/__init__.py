"""Industrial anomaly detection: good images in, one verified edge file out.

    from anomalib_lite import Detector

    detector = Detector().fit("parts/good")
    detector.export("part.onnx")

Attributes load on first use, so importing the package costs next to nothing; `EdgeModel` and the
other names of `anomalib_lite.edge` never need torch.

Nothing is sent: importing the package switches off what ONNX Runtime and others report home.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
}
"""Environment variables that silence other packages; ONNX Runtime reads its own when imported."""

for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)  # who wants one of them back has set it already

_HOMES = {
    "AnomalyEstimator": "anomalib_lite.detector.estimator",
    "Detector": "anomalib_lite.detector.detector",
    "EdgeModel": "anomalib_lite.edge",
    "InputSpec": "anomalib_lite.edge",
    "Prediction": "anomalib_lite.edge",
    "AnomalibLiteError": "anomalib_lite.edge",
    "list_backbones": "anomalib_lite.backbones",
    "list_scorers": "anomalib_lite.scorers",
}

__all__ = ["__version__", *sorted(_HOMES)]

if TYPE_CHECKING:
    from anomalib_lite.backbones import list_backbones as list_backbones
    from anomalib_lite.detector.detector import Detector as Detector
    from anomalib_lite.detector.estimator import AnomalyEstimator as AnomalyEstimator
    from anomalib_lite.edge import AnomalibLiteError as AnomalibLiteError
    from anomalib_lite.edge import EdgeModel as EdgeModel
    from anomalib_lite.edge import InputSpec as InputSpec
    from anomalib_lite.edge import Prediction as Prediction
    from anomalib_lite.scorers import list_scorers as list_scorers


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
