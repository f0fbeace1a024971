"""Heat maps over the frames of a run, as files; the drawing itself is `edge.overlay`."""

from __future__ import annotations

import hashlib
import os
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
from anomalib_lite.edge.runs.scoring import ScoredFrame

_LONGEST_BYTES = 180
"""File systems take 255 for a name; what is added (digest, number, suffix) needs some of them."""

_HEAD_BYTES, _TAIL_BYTES = 60, 100


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
    """A file name for a frame: its path below the source, separators replaced; one for each frame.

    Where another frame could get the same name, or the name would be too long for the file system,
    a digest of the whole one follows.
    """
    inside = _below(name, source_name)
    flat = inside.replace("/", "__").replace("\\", "__").replace(":", "_")
    encoded = os.fsencode(flat)
    if flat.replace("__", "/") == inside and len(encoded) <= _LONGEST_BYTES:
        return flat
    digest = f"~{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"
    if len(encoded) > _LONGEST_BYTES:
        # The end tells more than the beginning: it holds the file's own name.
        flat = f"{_cut(encoded[:_HEAD_BYTES])}~{_cut(encoded[-_TAIL_BYTES:])}"
    return flat + digest


def tells_its_frame(file_name: str, name: str, source_name: str) -> bool:
    """Whether a name given by `flat_name` is the frame's path with other separators, no more."""
    return file_name.replace("__", "/") == _below(name, source_name)


def _below(name: str, source_name: str) -> str:
    return name.removeprefix(source_name).lstrip("/\\#") or Path(name).name


def _cut(encoded: bytes) -> str:
    """Text of bytes that may begin or end inside a character."""
    return encoded.decode("utf-8", "ignore")
