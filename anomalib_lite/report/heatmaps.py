"""Heat maps over frames. The colour scale is anchored at the threshold, never at the picture.

The same colour means the same score on every frame of a model: clear below half the threshold,
yellow as it comes near, red above it. A good part stays uncoloured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import AnomalibLiteError
from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.prediction import Prediction
from anomalib_lite.edge.scoring import ScoredFrame

LEVELS = (0.5, 0.9, 1.0, 1.5, 2.0)
"""Map value divided by the map threshold, where the colours below apply; between them, linear."""

COLOURS_RGB = ((255, 235, 60), (255, 200, 0), (255, 90, 0), (230, 0, 0), (140, 0, 60))
OPACITIES = (0.0, 0.35, 0.55, 0.65, 0.75)

_BOX = (255, 255, 255)
_REJECTED, _ACCEPTED = (214, 30, 30), (40, 140, 60)


def overlay(frame: Frame, prediction: Prediction, calibration: Calibration) -> NDArray[np.uint8]:
    """Blend the anomaly map over the frame and box the regions.

    Args:
        frame: decoded frame `(H, W[, C])`.
        prediction: its result.
        calibration: gives the map threshold that anchors the colours.

    Returns:
        RGB `uint8 (H, W, 3)`.
    """
    painted = as_rgb8(frame, prediction.spec.bit_depth)
    if prediction.network_map.size > 1:
        painted = paint(painted, prediction.anomaly_map, calibration.map_threshold)
    painted = painted.copy()
    thick = max(1, round(min(painted.shape[:2]) / 250))
    for region in prediction.regions:
        corner = (region.x + region.width - 1, region.y + region.height - 1)
        cv2.rectangle(painted, (region.x, region.y), corner, _BOX, thick)
    frame_colour = _REJECTED if prediction.is_anomalous else _ACCEPTED
    edge = (painted.shape[1] - 1, painted.shape[0] - 1)
    cv2.rectangle(painted, (0, 0), edge, frame_colour, 2 * thick)
    return painted


def paint(
    picture: NDArray[np.uint8], anomaly_map: NDArray[np.float32], map_threshold: float
) -> NDArray[np.uint8]:
    """Blend a raw map over a picture of the same size.

    Args:
        picture: RGB `uint8 (H, W, 3)`.
        anomaly_map: raw map `(H, W)`.
        map_threshold: anchors the colours.

    Returns:
        A new RGB `uint8 (H, W, 3)`.
    """
    level = anomaly_map / max(map_threshold, 1e-12)
    opacity = np.interp(level, LEVELS, OPACITIES, left=0.0)[:, :, None]
    colours = np.asarray(COLOURS_RGB, np.float64)
    colour = np.stack([np.interp(level, LEVELS, column) for column in colours.T], axis=2)
    blended = picture * (1 - opacity) + colour * opacity
    return np.ascontiguousarray(blended.round().astype(np.uint8))


def as_rgb8(frame: Frame, bit_depth: int = 8) -> NDArray[np.uint8]:
    """A frame for the eye: RGB `uint8 (H, W, 3)`, without alpha."""
    if frame.dtype != np.uint8:
        frame = (frame.astype(np.float64) * (255 / (2**bit_depth - 1))).clip(0, 255)
    pixels = frame.astype(np.uint8)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, :3])


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """PNG bytes of an RGB picture."""
    encoded: Any = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    return bytes(encoded.tobytes())


def write_heatmap(
    folder: Path, item: ScoredFrame, calibration: Calibration, source_name: str
) -> Path:
    """Write frame and overlay side by side as `folder/<name>.png`; returns the path."""
    if item.frame is None or item.prediction is None:
        raise AnomalibLiteError(f"{item.name}: has no result to draw")
    left = as_rgb8(item.frame, item.prediction.spec.bit_depth)
    pair = np.concatenate([left, overlay(item.frame, item.prediction, calibration)], axis=1)
    path = folder / f"{flat_name(item.name, source_name)}.png"
    write_bytes_atomic(path, encode_png(pair))
    return path


def flat_name(name: str, source_name: str) -> str:
    """A file name for a frame: its path below the source, separators replaced."""
    inside = name.removeprefix(source_name).lstrip("/\\#")
    return (inside or Path(name).name).replace("/", "__").replace("\\", "__").replace(":", "_")
