"""Several photographs of one part: it is picked up, laid down again, and shot anew."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from .streams import pick
from .surface import Float, Surface

_SHIFT, _TURN_DEGREES = 0.015, 1.5


def laid_down_again(surface: Surface, rng: np.random.Generator) -> Surface:
    """The same part, shifted by up to 1.5 % of the side and turned by up to 1.5 degrees."""
    side = surface.side
    matrix = cv2.getRotationMatrix2D(
        ((side - 1) / 2, (side - 1) / 2), pick(rng, -_TURN_DEGREES, _TURN_DEGREES), 1.0
    )
    for row in (0, 1):
        matrix[row, 2] += side * pick(rng, -_SHIFT, _SHIFT)

    def moved(plane: Float) -> Float:
        warped = cv2.warpAffine(
            plane, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        return np.asarray(warped, np.float32)

    return replace(
        surface,
        albedo=np.stack([moved(plane) for plane in surface.albedo]),
        height=moved(surface.height),
        gloss=moved(surface.gloss),
    )
