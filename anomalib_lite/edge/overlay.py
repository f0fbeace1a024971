"""The heat map over a frame: pure pixels, the same in reports, notebooks and saved pictures.

The colour scale is anchored at good images, never at the picture: the same colour means the same
map value on every frame of a model: clear up to halfway between what a usual good image reaches
and the threshold, yellow as it comes near, red above it. A good part stays uncoloured.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.colour_scale import ColourScale
from anomalib_lite.edge.frames import Frame

LEVELS = (0.5, 0.9, 1.0, 2.0, 3.0)
"""`ColourScale.levels` where the colours below apply; between them, linear."""

COLOURS_RGB = ((255, 235, 60), (255, 200, 0), (255, 90, 0), (230, 0, 0), (140, 0, 60))
OPACITIES = (0.0, 0.35, 0.55, 0.65, 0.75)

_BOX = (255, 255, 255)
_REJECTED, _ACCEPTED = (214, 30, 30), (40, 140, 60)


def draw_verdict(
    picture: NDArray[np.uint8],
    anomaly_map: NDArray[np.float32] | None,
    boxes: Iterable[tuple[int, int, int, int]],
    *,
    colours: ColourScale,
    is_anomalous: bool,
) -> NDArray[np.uint8]:
    """Blend the anomaly map over a picture, box the regions, frame it in the verdict's colour.

    Args:
        picture: RGB `uint8 (H, W, 3)`.
        anomaly_map: raw map `(H, W)`; None paints nothing.
        boxes: regions as `(x, y, width, height)`, pixels.
        colours: anchors the colours.
        is_anomalous: red frame, else green.

    Returns:
        A new RGB `uint8 (H, W, 3)`.
    """
    drawn = picture if anomaly_map is None else paint(picture, anomaly_map, colours)
    drawn = drawn.copy()
    thick = max(1, round(min(drawn.shape[:2]) / 250))
    for x, y, width, height in boxes:
        cv2.rectangle(drawn, (x, y), (x + width - 1, y + height - 1), _BOX, thick)
    edge = (drawn.shape[1] - 1, drawn.shape[0] - 1)
    cv2.rectangle(drawn, (0, 0), edge, _REJECTED if is_anomalous else _ACCEPTED, 2 * thick)
    return drawn


def paint(
    picture: NDArray[np.uint8], anomaly_map: NDArray[np.float32], colours: ColourScale
) -> NDArray[np.uint8]:
    """Blend a raw map over a picture of the same size.

    Args:
        picture: RGB `uint8 (H, W, 3)`.
        anomaly_map: raw map `(H, W)`.
        colours: anchors the colours.

    Returns:
        A new RGB `uint8 (H, W, 3)`.
    """
    level = colours.levels(anomaly_map)
    opacity = np.interp(level, LEVELS, OPACITIES, left=0.0)[:, :, None]
    bands = np.asarray(COLOURS_RGB, np.float64).T
    colour = np.stack([np.interp(level, LEVELS, band) for band in bands], axis=2)
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
