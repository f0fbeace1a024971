"""Outlines of defects, sized in pixels: share by which each pixel of a small window is covered.

Every shape is float32 `(h, w)` in 0..1 with odd sides, its centre in the middle pixel, at least a
tenth where it is not zero.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]

_LEAST = 0.1  # thinner cover is none: a mask says what was changed, not what might have been
_FINER = 4  # lines are drawn that many times as large, then averaged
_WAVES = np.arange(2, 6)
_ANGLES = np.linspace(0, 2 * np.pi, 72, endpoint=False)


def blob(rng: np.random.Generator, diameter: float, softness: float = 1.0) -> FloatImage:
    """A compact spot of irregular outline, of the area of a disc of that diameter."""
    rough = min(1.0, diameter / 24)
    size = rough * rng.uniform(0, 0.4, len(_WAVES)) / _WAVES
    phase = rng.uniform(0, 2 * np.pi, len(_WAVES))
    turn, stretch = rng.uniform(0, np.pi), float(np.exp(rough * rng.uniform(-0.5, 0.5)))

    def outline(angle: NDArray[np.floating]) -> NDArray[np.floating]:
        radius: NDArray[np.floating] = np.ones_like(angle)
        for wave, height, start in zip(_WAVES, size, phase, strict=True):
            radius = radius + height * np.cos(wave * angle + start)
        return radius

    whole = outline(_ANGLES)
    scale = diameter / 2 / np.sqrt((whole**2).mean())
    reach = int(np.ceil(whole.max() * scale * max(stretch, 1 / stretch) ** 0.5 + softness))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    along = (x * np.cos(turn) + y * np.sin(turn)) / np.sqrt(stretch)
    across = (y * np.cos(turn) - x * np.sin(turn)) * np.sqrt(stretch)
    edge = outline(np.arctan2(across, along)) * scale
    return trimmed((0.5 + (edge - np.hypot(along, across)) / softness).astype(np.float32))


def disc(diameter: float) -> FloatImage:
    """A round spot."""
    reach = int(np.ceil(diameter / 2 + 0.5))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    return trimmed(diameter / 2 + np.float32(0.5) - np.hypot(y, x))


def line(rng: np.random.Generator, length: float, width: float) -> FloatImage:
    """A thin, slightly bent line of that length from end to end."""
    steps = 16
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.06, steps))
    return _stroke([(_path(angle, length - width), width)])


def jagged_line(rng: np.random.Generator, length: float, width: float) -> FloatImage:
    """A crack: jagged, thinner towards its ends, with a twig."""
    steps = 20
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.12, steps))
    path = _path(heading + rng.normal(0, 0.6, steps), length - width)
    start = int(rng.integers(6, 14))
    turned = heading[start] + rng.choice([-1, 1]) * rng.uniform(0.5, 1.0)
    twig = _path(turned + rng.normal(0, 0.5, 8), rng.uniform(0.15, 0.3) * length)
    twig = twig - twig[0] + path[start]
    return _stroke([(path, 0.6 * width), (path[4:17], width), (twig, 0.5 * width)])


def rectangle(rng: np.random.Generator, length: float, width: float, turn: float) -> FloatImage:
    """A straight bar, turned by that angle in radians."""
    reach = int(np.ceil(np.hypot(length, width) / 2 + 0.5))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    along = np.abs(x * np.cos(turn) + y * np.sin(turn))
    across = np.abs(y * np.cos(turn) - x * np.sin(turn))
    inside = np.clip(length / 2 + 0.5 - along, 0, 1) * np.clip(width / 2 + 0.5 - across, 0, 1)
    return trimmed(inside.astype(np.float32))


def trimmed(cover: FloatImage) -> FloatImage:
    """Cover in 0..1, what is thinner than a tenth taken away; the middle pixel is never empty."""
    cover = np.clip(cover, 0, 1)
    cover[cover < _LEAST] = 0
    middle = (cover.shape[0] // 2, cover.shape[1] // 2)
    if not cover.any():
        cover[middle] = _LEAST
    return cover


def _path(angles: NDArray[np.floating], length: float) -> NDArray[np.floating]:
    """Points `(n + 1, 2)` as (x, y) of a path with these headings, `length` from end to end."""
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    reached = float(np.hypot(*points[-1]))
    scaled: NDArray[np.floating] = points * (max(length, 0.0) / max(reached, 1e-6))
    return scaled


def _stroke(parts: list[tuple[NDArray[np.floating], float]]) -> FloatImage:
    """Paths drawn with their widths, centred on the first."""
    middle = (parts[0][0].min(axis=0) + parts[0][0].max(axis=0)) / 2
    widest = max(width for _, width in parts)
    far = max(float(np.abs(points - middle).max()) for points, _ in parts)
    reach = int(np.ceil(far + widest / 2 + 1))
    side = 2 * reach + 1
    canvas = np.zeros((side * _FINER, side * _FINER), np.uint8)
    for points, width in parts:
        place = ((points - middle + reach + 0.5) * _FINER - 0.5) * 16  # cv2 takes sixteenths
        thick = max(1, round(width * _FINER))
        cv2.polylines(canvas, [np.rint(place).astype(np.int32)], False, 255, thick, cv2.LINE_8, 4)
    small = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
    return trimmed(small.astype(np.float32) / np.float32(255))
