"""Heat maps over the frames of a run, as files; the drawing itself is `edge.overlay`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import AnomalibLiteError
from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.overlay import as_rgb8, encode_png
from anomalib_lite.edge.prediction import Prediction
from anomalib_lite.edge.scoring import ScoredFrame


def overlay(frame: Frame, prediction: Prediction, calibration: Calibration) -> NDArray[np.uint8]:
    """`Prediction.picture` in the colours of a calibration: RGB `uint8 (H, W, 3)`.

    Args:
        frame: decoded frame `(H, W[, C])`.
        prediction: its result.
        calibration: anchors the colours.
    """
    return replace(prediction, colours=calibration.colours).picture(frame)


def write_heatmap(
    folder: Path, item: ScoredFrame, calibration: Calibration, source_name: str
) -> Path:
    """Write frame and overlay side by side as `folder/<name>.png`; returns the path."""
    if item.frame is None or item.prediction is None:
        raise AnomalibLiteError(f"{item.name}: has no result to draw")
    left = as_rgb8(item.frame, item.prediction.spec.bit_depth)
    pair = np.concatenate([left, overlay(item.frame, item.prediction, calibration)], axis=1)
    path = folder / f"{flat_name(item.name, source_name)}.png"
    write_bytes_atomic(path, encode_png(pair), durable=False)
    return path


def flat_name(name: str, source_name: str) -> str:
    """A file name for a frame: its path below the source, separators replaced."""
    inside = name.removeprefix(source_name).lstrip("/\\#")
    return (inside or Path(name).name).replace("/", "__").replace("\\", "__").replace(":", "_")
