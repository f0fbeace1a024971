"""Pictures float32 `(h, w, 3)` in 0..1: coloured fields, and scenes of overlapping shapes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.pictures.fields import FIELDS, Field, fractal_noise, spread

Picture = NDArray[np.float32]


def coloured_field(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    """One field, through a random colour gradient of two to five stops."""
    field = FIELDS[rng.integers(len(FIELDS))](rng, size_hw)
    return paint(rng, field)


def paint(rng: np.random.Generator, field: Field) -> Picture:
    """Colour a field by a random gradient; half of the gradients have one hue or none."""
    count = int(rng.integers(2, 6))
    if rng.random() < 0.5:
        hue = rng.uniform(0.6, 1.0, 3) if rng.random() < 0.6 else np.ones(3)
        stops = rng.uniform(0, 1, (count, 1)) * hue
    else:
        stops = rng.uniform(0, 1, (count, 3))
    places = np.sort(rng.uniform(0, 1, count))
    channels = [np.interp(field, places, stops[:, index]) for index in range(3)]
    return np.stack(channels, axis=2).astype(np.float32)


def hidden_shapes(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    """Dead leaves (Matheron 1968): shapes of all sizes, each plain or textured, piled up."""
    picture = coloured_field(rng, size_hw)
    count = int(np.exp(rng.uniform(np.log(8), np.log(150))))
    textures = [coloured_field(rng, size_hw) for _ in range(2)]
    for _ in range(count):
        mask = random_shape(rng, size_hw)
        if rng.random() < 0.5:
            fill: Picture = np.broadcast_to(any_colour(rng), picture.shape).astype(np.float32)
        else:
            fill = np.roll(textures[rng.integers(2)], tuple(rng.integers(0, 99, 2)), (0, 1))
        picture = np.where(mask[:, :, None] > 0, fill, picture)
    return picture


def lone_part(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    """A few shaded bodies on a calm ground: what an inspection camera sees."""
    ground = 0.15 * fractal_noise(rng, size_hw)[:, :, None] + any_colour(rng)
    picture = ground.astype(np.float32)
    for _ in range(rng.integers(1, 5)):
        mask = random_shape(rng, size_hw, largest=0.45, smallest=0.15)
        inside = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
        height = np.tanh(inside / rng.uniform(3, 25)) + 0.2 * fractal_noise(rng, size_hw)
        light = shading(rng, height.astype(np.float32), rng.uniform(1, 8))
        body = (
            light[:, :, None] * any_colour(rng) + rng.uniform(0, 0.3) * spread(height)[:, :, None]
        )
        if rng.random() < 0.5:
            body = body * (0.6 + 0.8 * coloured_field(rng, size_hw))
        soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.4, 1.2))[:, :, None] / 255
        picture = (picture * (1 - soft) + body * soft).astype(np.float32)
    return picture


def draw_marks(
    rng: np.random.Generator, picture: NDArray[np.uint8], most: int = 12
) -> NDArray[np.uint8]:
    """A copy of a picture with scratches, specks, blots and letters: small things matter."""
    drawn = picture.copy()
    height, width = drawn.shape[:2]
    for _ in range(rng.integers(1, most + 1)):
        colour = tuple(255 * float(value) for value in any_colour(rng))
        x, y = int(rng.integers(width)), int(rng.integers(height))
        kind = rng.integers(4)
        if kind == 0:
            step = rng.normal(0, 0.06 * max(height, width), (int(rng.integers(2, 6)), 2))
            path = np.cumsum(np.vstack([[x, y], step]), axis=0).astype(np.int32)
            cv2.polylines(drawn, [path], False, colour, int(rng.integers(1, 4)), cv2.LINE_AA)
        elif kind == 1:
            cv2.circle(drawn, (x, y), int(rng.integers(1, 9)), colour, -1, cv2.LINE_AA)
        elif kind == 2:
            letter = chr(int(rng.integers(33, 127)))
            scale = float(rng.uniform(0.3, 2.5))
            cv2.putText(drawn, letter, (x, y), int(rng.integers(0, 5)), scale, colour, 2, 16)
        else:
            axes = (int(rng.integers(2, 20)), int(rng.integers(1, 8)))
            turn = float(rng.uniform(0, 180))
            cv2.ellipse(drawn, (x, y), axes, turn, 0, 360, colour, -1, cv2.LINE_AA)
    return drawn


def random_shape(
    rng: np.random.Generator,
    size_hw: tuple[int, int],
    largest: float = 0.3,
    smallest: float = 0.012,
) -> NDArray[np.uint8]:
    """Mask `(h, w)` of 0 and 255: an ellipse, a polygon, a ring or a smooth blob.

    Its radius is `smallest` to `largest` times the picture's side, small ones more often.
    """
    height, width = size_hw
    side = min(height, width)
    mask = np.zeros(size_hw, np.uint8)
    centre = (int(rng.integers(width)), int(rng.integers(height)))
    radius = side * max(smallest, largest * 0.05 / float(rng.uniform(0.05, 1)))
    kind, turn = rng.integers(4), float(rng.uniform(0, 360))
    if kind <= 1:
        axes = (max(1, int(radius)), max(1, int(radius * rng.uniform(0.3, 1))))
        cv2.ellipse(mask, centre, axes, turn, 0, 360, 255, -1)
        if kind == 1:
            inner = (int(0.6 * axes[0]), int(0.6 * axes[1]))
            cv2.ellipse(mask, centre, inner, turn, 0, 360, 0, -1)
        return mask
    corners = int(rng.integers(3, 8)) if kind == 2 else 24
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + turn
    wobble = rng.uniform(0.7, 1.3, corners)
    if kind == 3:
        wobble = np.convolve(np.tile(wobble, 3), np.ones(5) / 5, "same")[corners : 2 * corners]
    points = radius * wobble[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cv2.fillPoly(mask, [(points + centre).astype(np.int32)], 255)
    return mask


def shading(rng: np.random.Generator, height: Field, depth: float) -> Field:
    """Lambert shading of a height field under one light."""
    dy, dx = np.gradient(height * depth)
    turn, lift = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 1.2)
    light = np.cos(turn) * np.cos(lift) * -dx + np.sin(turn) * np.cos(lift) * -dy + np.sin(lift)
    lit = light / np.sqrt(1 + dx * dx + dy * dy)
    shaded: Field = np.clip(0.15 + 0.85 * lit, 0, 1.2).astype(np.float32)
    return shaded


def any_colour(rng: np.random.Generator) -> NDArray[np.float64]:
    """Any colour; every second one is a grey."""
    if rng.random() < 0.5:
        return np.full(3, rng.uniform(0, 1))
    return rng.uniform(0, 1, 3)
