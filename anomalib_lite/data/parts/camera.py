"""Light and camera: from an unlit surface to a photograph with its usual flaws."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from .streams import pick
from .surface import Float, Surface


@dataclass(frozen=True)
class Studio:
    """How one product is lit and shot.

    Attributes:
        relief: how strongly slopes brighten and darken.
        glare: strength of the highlight on glossy slopes.
        sharpness: how tight that highlight is (larger is smaller).
        evenness: 1 is an even field of light, lower ones have a stronger gradient.
    """

    relief: float = 0.45
    glare: float = 0.5
    sharpness: float = 6.0
    evenness: float = 0.8


def photograph(
    surface: Surface, size: int, rng: np.random.Generator, studio: Studio
) -> npt.NDArray[np.uint8]:
    """Light, expose, blur, downscale and digitise; returns (size, size, 3) uint8 RGB."""
    lit = _light(surface, rng, studio)
    sigma = pick(rng, 0.8, 1.25)
    small = np.empty((3, size, size), np.float32)
    for plane, band in zip(small, lit, strict=True):
        blurred = cv2.GaussianBlur(band, (7, 7), sigma)
        plane[:] = cv2.resize(blurred, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.merge([*_digitise(small, rng)]), dtype=np.uint8)


def _light(surface: Surface, rng: np.random.Generator, studio: Studio) -> Float:
    """(3, H, W): diffuse light on the relief, and the mirror-like glare of glossy slopes."""
    angle = np.deg2rad(pick(rng, 225, 243))
    lx, ly = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    gx = np.asarray(cv2.Sobel(surface.height, cv2.CV_32F, 1, 0, scale=0.125), dtype=np.float32)
    gy = np.asarray(cv2.Sobel(surface.height, cv2.CV_32F, 0, 1, scale=0.125), dtype=np.float32)
    # A slope that falls towards the light (negative gradient along it) is turned to the light.
    toward = -(gx * lx + gy * ly)
    shade = np.clip(1 + studio.relief * toward, 0.25, 1.7)
    tilt = np.float32(0.45)
    away = (gx + tilt * lx) ** 2 + (gy + tilt * ly) ** 2
    glare = (
        surface.gloss * np.float32(studio.glare) / (1 + np.float32(studio.sharpness) * away) ** 2
    )
    field = _field(surface.side, rng, studio.evenness)
    shade *= field
    glare *= field
    return surface.albedo * shade + glare


def _field(side: int, rng: np.random.Generator, evenness: float) -> Float:
    """(side, side) light on the plane: gradient, one broad moving lamp spot, vignette; mean ~1."""
    axis = np.linspace(-1, 1, 33, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    turn, uneven = pick(rng, 3.6, 4.4), (1 - evenness)
    slope = uneven * pick(rng, 0.5, 1.1) * (x * np.cos(turn) + y * np.sin(turn))
    cx, cy = pick(rng, -0.75, 0.1), pick(rng, -0.8, 0.0)
    spot = uneven * pick(rng, 0.8, 1.6) / (1 + 2.2 * ((x - cx) ** 2 + (y - cy) ** 2))
    vignette = 1 - pick(rng, 0.07, 0.13) * (x**2 + y**2)
    small = np.asarray((1 + slope + spot - 0.45 * uneven) * vignette, dtype=np.float32)
    big = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(big, dtype=np.float32)


def _digitise(image: Float, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Exposure, white balance, soft highlight shoulder, shot and read noise, 8 bits."""
    gains = pick(rng, 0.96, 1.04) * rng.uniform(0.985, 1.015, 3).astype(np.float32)
    image = np.maximum(image * gains[:, None, None], 0)
    # Above 0.8 the response bends towards white, as a camera's tone curve does.
    over = np.maximum(image - 0.8, 0)
    image = np.minimum(image, 0.8) + over / (1 + 4 * over)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    image += noise * np.sqrt(np.float32(1e-5) + np.float32(4e-5) * image)
    return np.asarray(np.clip(np.rint(image * 255), 0, 255), dtype=np.uint8)
