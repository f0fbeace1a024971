"""Procedural pictures: endless variety from nothing but a random generator.

No third-party picture is in them, so networks that learn from them carry no foreign licence.
`distill` trains on them and EfficientAD takes its penalty pictures from them.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.pictures.fields import warped_axes
from anomalib_lite.data.pictures.made import made_thing
from anomalib_lite.data.pictures.scenes import (
    Picture,
    coloured_field,
    draw_marks,
    hidden_shapes,
    lone_part,
    random_shape,
)

__all__ = ["draw_marks", "procedural_picture"]

_SCENES = (coloured_field, hidden_shapes, lone_part, made_thing)


def procedural_picture(rng: np.random.Generator, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """One picture, uint8 RGB `(h, w, 3)`: a scene, or two joined along a shape, then a camera.

    Args:
        rng: the same state gives the same picture.
        size_hw: height and width, pixels.
    """
    picture = _scene(rng, size_hw)
    if rng.random() < 0.4:
        other, mask = _scene(rng, size_hw), random_shape(rng, size_hw, largest=1.0)
        soft = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.5, 3)))[:, :, None] / 255
        picture = (picture * (1 - soft) + other * soft).astype(np.float32)
    seen = _photograph(rng, picture)
    return draw_marks(rng, seen) if rng.random() < 0.4 else seen


def _scene(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    picture = _SCENES[rng.integers(len(_SCENES))](rng, size_hw)
    if rng.random() < 0.3:
        y, x = warped_axes(rng, size_hw, float(rng.uniform(2, 15)))
        bent = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(bent, np.float32)
    return picture


def _photograph(rng: np.random.Generator, picture: Picture) -> NDArray[np.uint8]:
    """Uneven light, blur, noise and exposure of a camera."""
    height, width = picture.shape[:2]
    falloff = cv2.resize(
        rng.uniform(0.7, 1.1, (2, 2)).astype(np.float32), (width, height), interpolation=1
    )
    seen = np.asarray(picture * falloff[:, :, None], np.float64)
    if rng.random() < 0.5:
        seen = np.asarray(cv2.GaussianBlur(seen, (0, 0), float(rng.uniform(0.3, 1.5))), np.float64)
    low, high = np.percentile(seen, (1, 99))
    if high - low > 1e-3:
        ground, contrast = rng.uniform(0, 0.3), rng.uniform(0.5, 1.0)
        seen = ground + (contrast - 0.5 * ground) * (seen - low) / (high - low)
    seen = seen + rng.normal(0, rng.uniform(0, 0.03), seen.shape)
    return (np.clip(seen, 0, 1) * 255).round().astype(np.uint8)
