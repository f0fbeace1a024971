"""The torch-free ground floor: what runs beside the line and what the training side shares with it.

Needs numpy, OpenCV and ONNX Runtime only; nothing here fits or trains.

    from anomalib_lite.edge import EdgeModel

    model = EdgeModel("bottle.onnx")
    verdict = model.predict("frame.png")
    print(verdict.score, verdict.p_value, verdict.is_anomalous)
"""

from anomalib_lite.edge.calibration import Calibration, Operating
from anomalib_lite.edge.errors import (
    AnomalibLiteError,
    ExportError,
    FitError,
    FrameError,
    ModelFileError,
    SettingsError,
    SourceError,
    WeightsError,
)
from anomalib_lite.edge.frames import decode_frame, read_frame
from anomalib_lite.edge.inputs import Inputs
from anomalib_lite.edge.measured import MeasuredSpec
from anomalib_lite.edge.model import EdgeModel
from anomalib_lite.edge.prediction import Prediction, Region
from anomalib_lite.edge.prepare import InputSpec, map_to_frame, prepare
from anomalib_lite.edge.source_kinds.paired_source import PairedSource
from anomalib_lite.edge.sources import open_source

__all__ = [
    "AnomalibLiteError",
    "Calibration",
    "EdgeModel",
    "ExportError",
    "FitError",
    "FrameError",
    "InputSpec",
    "Inputs",
    "MeasuredSpec",
    "ModelFileError",
    "Operating",
    "PairedSource",
    "Prediction",
    "Region",
    "SettingsError",
    "SourceError",
    "WeightsError",
    "decode_frame",
    "map_to_frame",
    "open_source",
    "prepare",
    "read_frame",
]
