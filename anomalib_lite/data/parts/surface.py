"""A surface before light falls on it: colour, relief and gloss, and the strokes that change them.

All sizes are in pixels of the supersampled canvas (twice the image). Every stroke touches only
pixels where its alpha is above zero, which is what makes the defect masks exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Alpha = npt.NDArray[np.uint8]
Rgb = Sequence[float] | npt.NDArray[np.float64]


@dataclass
class Surface:
    """What the camera will see, unlit.

    Attributes:
        albedo: (3, H, W) RGB reflectance, 0 to 1; planes, because strokes then run fastest.
        height: (H, W) relief in canvas pixels, up towards the camera.
        gloss: (H, W) strength of the mirror-like highlight, 0 (chalk) to 1 (polish).
    """

    albedo: Float
    height: Float
    gloss: Float

    @property
    def side(self) -> int:
        """Canvas side in pixels."""
        return int(self.height.shape[0])

    def copy(self) -> Surface:
        """A deep copy that may be painted on."""
        return Surface(self.albedo.copy(), self.height.copy(), self.gloss.copy())

    def paint(self, alpha: Alpha, rgb: Rgb, opacity: float = 1.0) -> None:
        """Lay an opaque or thin coat of one colour over the surface."""
        box, a = _roi(alpha, opacity)
        for band, value in zip(self.albedo, rgb, strict=True):
            roi = band[box]
            roi += (np.float32(value) - roi) * a

    def tint(self, alpha: Alpha, gains: Rgb, opacity: float = 1.0) -> None:
        """Multiply the colour, as a stain or a soft shadow does."""
        box, a = _roi(alpha, opacity)
        for band, gain in zip(self.albedo, gains, strict=True):
            band[box] *= 1 + np.float32(gain - 1) * a

    def lift(self, alpha: Alpha, by: float) -> None:
        """Raise (or with a negative amount carve) the relief."""
        box, a = _roi(alpha, by)
        self.height[box] += a

    def polish(self, alpha: Alpha, gloss: float) -> None:
        """Set the gloss."""
        box, a = _roi(alpha, 1.0)
        roi = self.gloss[box]
        roi += (np.float32(gloss) - roi) * a

    def paste(self, alpha: Alpha, other: Surface) -> None:
        """Replace the surface by another one of the same size where alpha covers it."""
        box, a = _roi(alpha, 1.0)
        pairs = [*zip(self.albedo, other.albedo, strict=True)]
        pairs += [(self.height, other.height), (self.gloss, other.gloss)]
        for mine, theirs in pairs:
            roi = mine[box]
            roi += (theirs[box] - roi) * a


def _roi(alpha: Alpha, scale: float) -> tuple[tuple[slice, slice], Float]:
    x, y, w, h = cv2.boundingRect(alpha)
    box = (slice(y, y + h), slice(x, x + w))
    return box, alpha[box].astype(np.float32) * np.float32(scale / 255)


def flat(side: int, rgb: Rgb, gloss: float) -> Surface:
    """An even plane of one colour."""
    albedo = np.empty((3, side, side), np.float32)
    albedo[:] = np.asarray(rgb, np.float32)[:, None, None]
    return Surface(
        albedo, np.zeros((side, side), np.float32), np.full((side, side), gloss, np.float32)
    )


def warp(image: npt.NDArray[Any], matrix: npt.NDArray[Any], side: int) -> Float:
    """Move an image (H, W) through a 2x3 matrix onto a square canvas; its edge is mirrored."""
    moved = cv2.warpAffine(
        image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(moved, dtype=np.float32)


def warp_bands(bands: Float, matrix: Float, side: int) -> Float:
    """`warp` for (3, H, W)."""
    return np.stack([warp(band, matrix, side) for band in bands])


def pose(side_from: int, side_to: int, degrees: float, scale: float, dx: float, dy: float) -> Float:
    """The 2x3 matrix that turns and scales about the canvas centre, then shifts by (dx, dy)."""
    turn = cv2.getRotationMatrix2D((side_from / 2, side_from / 2), degrees, scale)
    matrix = np.array(turn, dtype=np.float32)
    matrix[:, 2] += np.array([dx, dy], np.float32) + np.float32((side_to - side_from) / 2)
    return matrix


def place(part: Surface, cover: Alpha, ground: Surface, matrix: Float) -> None:
    """Lay a part (with its alpha cover) through the pose matrix onto the ground, in place."""
    side = ground.side
    moved = Surface(
        warp_bands(part.albedo, matrix, side),
        warp(part.height, matrix, side),
        warp(part.gloss, matrix, side),
    )
    alpha = cv2.warpAffine(cover, matrix, (side, side), flags=cv2.INTER_LINEAR)
    ground.paste(np.asarray(alpha, dtype=np.uint8), moved)


def changed(before: Surface, after: Surface) -> npt.NDArray[np.bool_]:
    """(H, W): where colour, relief or gloss differ at all."""
    colour = (before.albedo != after.albedo).any(axis=0)
    relief = (before.height != after.height) | (before.gloss != after.gloss)
    return np.asarray(colour | relief, dtype=np.bool_)
