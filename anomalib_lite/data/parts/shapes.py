"""Anti-aliased shapes as alpha masks (H, W) uint8, 0 outside and 255 inside."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from .streams import pick
from .surface import Alpha

_SHIFT = 4  # cv2 takes coordinates in 1/16 pixel with this shift
Points = npt.NDArray[np.float64]


def _fixed(points: Points) -> npt.NDArray[np.int32]:
    return np.rint(points * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2)


def disc(side: int, x: float, y: float, radius: float) -> Alpha:
    """A filled circle."""
    alpha = np.zeros((side, side), np.uint8)
    centre = (round(x * (1 << _SHIFT)), round(y * (1 << _SHIFT)))
    cv2.circle(alpha, centre, round(radius * (1 << _SHIFT)), 255, -1, cv2.LINE_AA, _SHIFT)
    return alpha


def ring(side: int, x: float, y: float, inner: float, outer: float) -> Alpha:
    """A filled circle less a smaller one."""
    return disc(side, x, y, outer) - disc(side, x, y, inner)


def polygon(side: int, points: Points) -> Alpha:
    """A filled polygon; points (N, 2) as x, y."""
    alpha = np.zeros((side, side), np.uint8)
    cv2.fillPoly(alpha, [_fixed(points)], 255, cv2.LINE_AA, _SHIFT)
    return alpha


def curve(side: int, points: Points, width: float) -> Alpha:
    """An open line of the given width with round ends; points (N, 2) as x, y."""
    alpha = np.zeros((side, side), np.uint8)
    cv2.polylines(alpha, [_fixed(points)], False, 255, max(1, round(width)), cv2.LINE_AA, _SHIFT)
    return alpha


def capsule(side: int, length: float, width: float, grow: float = 0.0) -> Alpha:
    """A lying stadium in the middle of the canvas: straight sides, round ends."""
    half, radius = (length - width) / 2, width / 2 + grow
    turn = np.linspace(-np.pi / 2, np.pi / 2, 40)
    arc = np.column_stack([half + radius * np.cos(turn), radius * np.sin(turn)])
    return polygon(side, np.vstack([arc, -arc]) + side / 2)


def blob(
    side: int, x: float, y: float, radius: float, rng: np.random.Generator, rough: float
) -> Alpha:
    """An irregular closed outline around (x, y); rough 0 is a circle, 0.5 very ragged."""
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    radii = np.ones(64)
    for wave in range(2, 9):
        radii += rough / wave * rng.normal() * np.cos(wave * turn + pick(rng, 0, 2 * np.pi))
    radii = radius * np.clip(radii, 0.3, 1.8)
    squeeze = pick(rng, 0.65, 1.0)
    return polygon(
        side, np.column_stack([x + radii * np.cos(turn), y + squeeze * radii * np.sin(turn)])
    )


def soften(alpha: Alpha, reach: int) -> Alpha:
    """Blur an alpha; the edge spreads by at most `reach` pixels."""
    size = 2 * reach + 1
    return np.asarray(cv2.GaussianBlur(alpha, (size, size), 0), dtype=np.uint8)


def lettering(side: int, text: str, x: float, y: float, height: float, thick: float) -> Alpha:
    """A line of upright text centred on (x, y); height is that of a capital letter."""
    font, weight = cv2.FONT_HERSHEY_DUPLEX, max(1, round(thick))
    scale = height / 22  # a capital of this font is 22 px high at scale 1
    (wide, _), _ = cv2.getTextSize(text, font, scale, weight)
    alpha = np.zeros((side, side), np.uint8)
    origin = (round(x - wide / 2), round(y + height / 2))
    cv2.putText(alpha, text, origin, font, scale, 255, weight, cv2.LINE_AA)
    return alpha


def turned(alpha: Alpha, degrees: float) -> Alpha:
    """The alpha turned counter-clockwise about the canvas centre."""
    side = alpha.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(alpha, matrix, (side, side)), dtype=np.uint8)


def wander(
    x: float,
    y: float,
    length: float,
    bend: float,
    rng: np.random.Generator,
    steps: int = 24,
    jag: float = 0.0,
) -> Points:
    """A wandering path (steps, 2) centred on (x, y).

    `bend` is the lasting turn per step and `jag` the passing one, both in radians.
    """
    heading = pick(rng, 0, 2 * np.pi) + np.cumsum(rng.normal(0, bend, steps))
    heading += jag * rng.standard_normal(steps)
    path = np.cumsum(np.column_stack([np.cos(heading), np.sin(heading)]), axis=0)
    path *= length / steps
    return np.asarray(path - path.mean(axis=0) + (x, y), dtype=np.float64)
