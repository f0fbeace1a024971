"""Small loose hardware for the kit: each piece painted once for each canvas size, then laid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .shapes import Points, disc, polygon, ring, soften
from .streams import material_stream
from .surface import Alpha, Float, Surface, flat, place, pose
from .textures import smooth_noise

_STEEL = (0.50, 0.50, 0.49)
_ZINC = (0.60, 0.58, 0.51)
_RUBBER = (0.70, 0.24, 0.07)
_BRASS = (0.62, 0.5, 0.25)


@dataclass(frozen=True)
class Piece:
    """A loose part in the middle of its own small canvas."""

    surface: Surface
    cover: Alpha


def _box(side: int, x0: float, y0: float, x1: float, y1: float) -> Alpha:
    corners: Points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)
    return polygon(side, corners)


def _bevelled(cover: Alpha, bevel: float, height: float) -> Float:
    """Relief of a plate with this outline: flat on top, sloped within `bevel` of its edge."""
    depth = cv2.distanceTransform((cover > 127).astype(np.uint8), cv2.DIST_L2, 5)
    slope = np.clip(np.asarray(depth, np.float32) / np.float32(bevel), 0, 1)
    relief = np.float32(height) * np.sin(slope * np.float32(np.pi / 2))
    return np.asarray(cv2.GaussianBlur(relief, (0, 0), 1.2), dtype=np.float32)


def _metal(side: int, rgb: tuple[float, ...], name: str, sx: float, sy: float) -> Surface:
    surface = flat(side, rgb, 0.5)
    surface.albedo *= 1 + 0.04 * smooth_noise(material_stream(name), side, side, sx, sy)
    return surface


def _nut(unit: float) -> Piece:
    side, mid, radius = round(130 * unit), round(130 * unit) / 2, 44 * unit
    turn = np.arange(6) * np.pi / 3
    hexagon = polygon(side, mid + radius * np.column_stack([np.cos(turn), np.sin(turn)]))
    hole = disc(side, mid, mid, 22 * unit)
    s = _metal(side, _STEEL, "nut", 4, 0.8)
    s.height += _bevelled(hexagon, 9 * unit, 7 * unit)
    for k in range(4):  # the thread inside the hole
        tone = 0.75 if k % 2 else 0.35
        s.tint(ring(side, mid, mid, (20 - 2 * k) * unit, (22 - 2 * k) * unit), (tone,) * 3)
    s.lift(soften(hole, 3), -8 * unit)
    return Piece(s, hexagon - disc(side, mid, mid, 15 * unit))


def _washer(unit: float, *, broken: bool = False) -> Piece:
    side, mid = round(130 * unit), round(130 * unit) / 2
    cover = ring(side, mid, mid, 20 * unit, 42 * unit)
    if broken:
        gap = _box(side, mid + 10 * unit, mid - 5 * unit, side, mid + 4 * unit)
        cover = cover - np.minimum(cover, gap)
    s = _metal(side, _ZINC, "washer", 0.8, 3)
    s.height += _bevelled(cover, 5 * unit, 4 * unit)
    return Piece(s, cover)


def _oring(unit: float) -> Piece:
    side, mid = round(130 * unit), round(130 * unit) / 2
    cover = ring(side, mid, mid, 30 * unit, 45 * unit)
    s = flat(side, _RUBBER, 0.45)
    s.height += _bevelled(cover, 7.5 * unit, 8 * unit)
    return Piece(s, cover)


def _fuse(unit: float) -> Piece:
    side, mid = round(130 * unit), round(130 * unit) / 2
    left, right, half = mid - 52 * unit, mid + 52 * unit, 13 * unit
    cover = _box(side, left, mid - half, right, mid + half)
    s = flat(side, (0.62, 0.66, 0.66), 0.9)
    s.paint(_box(side, left, mid - 1.5 * unit, right, mid + 1.5 * unit), (0.2, 0.2, 0.2))
    for x0, x1 in ((left, left + 27 * unit), (right - 27 * unit, right)):
        s.paint(_box(side, x0, 0, x1, side), _BRASS)
    across = np.clip(np.abs(np.arange(side, dtype=np.float32) + 0.5 - mid) / half, 0, 1)
    s.height += (0.8 * half * np.sqrt(1 - across**2))[:, None].astype(np.float32)
    return Piece(s, cover)


def _bolt(unit: float) -> Piece:
    side = round(400 * unit)
    mid, top, half = side / 2, side / 2 - 175 * unit, 19 * unit
    head = _box(side, mid - 38 * unit, top, mid + 38 * unit, top + 32 * unit)
    shaft = _box(side, mid - half, top + 30 * unit, mid + half, top + 345 * unit)
    s = _metal(side, _STEEL, "bolt", 0.8, 3)
    pixel = np.arange(side, dtype=np.float32) + 0.5
    across = np.clip(np.abs(pixel - mid) / half, 0, 1)
    round_top = (half * np.sqrt(1 - across**2))[None, :]
    thread = np.sin((pixel[:, None] + 0.18 * pixel[None, :]) * np.float32(2 * np.pi / (9 * unit)))
    threaded = pixel[:, None] > top + 150 * unit
    grooves = thread * threaded
    on_shaft = pixel[:, None] > top + 32 * unit
    facets = 4 * unit * np.clip(3 - np.abs(pixel - mid)[None, :] / (14 * unit), 0, 1)
    s.height += np.where(on_shaft, round_top + 2.2 * unit * grooves, half + facets)
    s.albedo *= np.where(on_shaft, 1 + 0.22 * grooves, 1.05)
    s.tint(_box(side, 0, top + 32 * unit, side, top + 40 * unit), (0.55, 0.55, 0.55))
    return Piece(s, np.maximum(head, shaft))


_MAKERS: dict[str, Callable[[float], Piece]] = {
    "nut": _nut,
    "washer": _washer,
    "broken_washer": lambda unit: _washer(unit, broken=True),
    "oring": _oring,
    "fuse": _fuse,
    "bolt": _bolt,
}


@lru_cache(maxsize=32)
def _piece(name: str, canvas: int) -> Piece:
    return _MAKERS[name](canvas / 512)


def lay(ground: Surface, name: str, x: float, y: float, degrees: float) -> None:
    """Put a piece with its shadow on the ground, its middle at (x, y), in place."""
    piece = _piece(name, ground.side)
    side = piece.cover.shape[0]
    left, top = int(np.floor(x - side / 2)), int(np.floor(y - side / 2))
    # A piece near the edge keeps its whole canvas inside; the rest of the shift is in the pose.
    left, top = (min(max(0, v), ground.side - side) for v in (left, top))
    box = (slice(top, top + side), slice(left, left + side))
    spot = Surface(ground.albedo[:, *box], ground.height[box], ground.gloss[box])
    move = pose(side, side, degrees, 1.0, x - side / 2 - left, y - side / 2 - top)
    fall = np.asarray(cv2.warpAffine(piece.cover, move, (side, side)), dtype=np.uint8)
    unit = ground.side / 512
    for drop, reach, gain in ((7, 7, 0.6), (3, 3, 0.6)):
        shift = round(drop * unit)
        shadow = np.roll(soften(fall, max(1, round(reach * unit))), (shift, shift), axis=(0, 1))
        spot.tint(shadow, (gain, gain, gain))
    place(piece.surface, piece.cover, spot, move)
