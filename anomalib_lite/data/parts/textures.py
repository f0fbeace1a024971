"""Cached material textures: noise of a given character, made once for each canvas size."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from .streams import material_stream
from .surface import Float


def _unit(noise: Float) -> Float:
    noise = noise - noise.mean()
    return np.asarray(noise / noise.std(), dtype=np.float32)


def smooth_noise(rng: np.random.Generator, height: int, width: int, sx: float, sy: float) -> Float:
    """(height, width) Gaussian noise blurred by sx, sy pixels, mean 0 and deviation 1."""
    white = rng.standard_normal((height, width), dtype=np.float32)
    blurred = cv2.GaussianBlur(white, (0, 0), sigmaX=sx, sigmaY=sy, borderType=cv2.BORDER_REFLECT)
    return _unit(np.asarray(blurred, dtype=np.float32))


def _looped_noise(rng: np.random.Generator, height: int, width: int, sx: float, sy: float) -> Float:
    """Noise like `smooth_noise` whose last row runs on into its first, as angles must.

    Rows are drawn only as often as a blur by sy would tell apart, then interpolated: a wide blur
    of a large texture takes minutes.
    """
    rows, margin = max(6, round(0.7 * height / sy)), 3
    white = rng.standard_normal((rows, width), dtype=np.float32)
    reach = 2 * round(4 * sx) + 1
    blurred = cv2.GaussianBlur(white, (reach, 1), sigmaX=sx, sigmaY=1.0)
    padded = np.pad(np.asarray(blurred, np.float32), ((margin, margin), (0, 0)), mode="wrap")
    tall = round((rows + 2 * margin) * height / rows)
    full = cv2.resize(padded, (width, tall), interpolation=cv2.INTER_CUBIC)
    first = round(margin * height / rows)
    return _unit(np.asarray(full, dtype=np.float32)[first : first + height])


@lru_cache(maxsize=32)
def fine_grain(side: int, name: str, sx: float, sy: float) -> Float:
    """(2 side, 2 side) noise to cut random windows from."""
    return smooth_noise(material_stream(name), 2 * side, 2 * side, sx, sy)


@lru_cache(maxsize=16)
def turned_grain(side: int, variant: int) -> Float:
    """(side, side) concentric tool marks of a turned face, mean 0 and deviation 1."""
    rng = material_stream(f"turned-{variant}")
    rings, angles = side, 2 * side
    polar = 0.6 * _looped_noise(rng, angles, rings, 0.7, side / 6)
    polar += 0.45 * _looped_noise(rng, angles, rings, 5.0, side / 8)
    polar += 0.35 * _looped_noise(rng, angles, rings, 0.8, side / 40)
    flags = cv2.WARP_POLAR_LINEAR | cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    centre = (side / 2, side / 2)
    return _unit(
        np.asarray(cv2.warpPolar(polar, (side, side), centre, 0.72 * side, flags), np.float32)
    )


def window(texture: Float, side: int, rng: np.random.Generator) -> Float:
    """A random (side, side) cut of a larger texture."""
    y, x = (int(v) for v in rng.integers(0, texture.shape[0] - side + 1, 2))
    return texture[y : y + side, x : x + side]


def clouds(side: int, rng: np.random.Generator, cells: int) -> Float:
    """(side, side) slow unevenness with about `cells` bumps across, within about -2 to 2."""
    small = rng.standard_normal((cells, cells), dtype=np.float32)
    big = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(big, dtype=np.float32)
