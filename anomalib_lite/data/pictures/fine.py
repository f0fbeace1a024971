"""Fine regular textures: meshes, knurls, print rasters, weaves, hole patterns of 2 to 12 pixels.

Under an inspection camera a repeat is often a few pixels long, which scenes cut out and enlarged at
random hardly ever show. Every texture has small faults of the kinds that break a repeat: displaced,
missing, thickened or smeared cells.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.pictures.fields import Field, fractal_noise, spread, warped_axes
from anomalib_lite.data.pictures.scenes import Picture, any_colour, draw_marks, paint, shading

_PERIOD = (2.0, 12.0)  # pixels
_FAULTS = 5
_MARKED = 0.3


def fine_texture(rng: np.random.Generator, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture full of one fine repeat, with a few small faults, uint8 RGB `(h, w, 3)`.

    Args:
        rng: the same state gives the same picture.
        size_hw: height and width, pixels.
    """
    period = np.exp(rng.uniform(*np.log(_PERIOD)))
    bend = period * rng.uniform(0, 0.25) if rng.random() < 0.4 else 0.0
    y, x = warped_axes(rng, size_hw, float(bend))
    turn = float(rng.choice([0, np.pi / 4, rng.uniform(0, np.pi)]))
    aspect = float(rng.choice([1, 1, rng.uniform(0.5, 2)]))
    u = (np.cos(turn) * x + np.sin(turn) * y) / period
    v = (np.cos(turn) * y - np.sin(turn) * x) / (period * aspect)
    for fault in _spots(rng, size_hw):  # displaced cells
        u, v = u + fault * rng.uniform(-0.6, 0.6), v + fault * rng.uniform(-0.6, 0.6)
    height = PATTERNS[rng.integers(len(PATTERNS))](rng, u, v)
    height = height + np.float32(rng.uniform(0, 0.15)) * (fractal_noise(rng, size_hw) - 0.5)
    for fault in _spots(rng, size_hw):  # missing, thickened or smeared cells
        height = height * (1 - fault) + fault * _replaced(rng, height)
    picture = _lit(rng, height, period) if rng.random() < 0.6 else paint(rng, spread(height))
    light = cv2.resize(rng.uniform(0.8, 1.1, (2, 2)).astype(np.float32), size_hw[::-1])
    seen = cv2.GaussianBlur(picture * light[:, :, None], (0, 0), float(rng.uniform(0.3, 0.8)))
    seen = seen + np.float32(rng.uniform(0, 0.03)) * rng.standard_normal(seen.shape, np.float32)
    levels = (np.clip(seen, 0, 1) * 255).round().astype(np.uint8)
    return draw_marks(rng, levels, most=4) if rng.random() < _MARKED else levels


def _spots(rng: np.random.Generator, size_hw: tuple[int, int]) -> list[Field]:
    """Up to a few soft spots or streaks `(h, w)` in 0..1, a few pixels to a tenth of the side."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32)
    found = []
    for _ in range(rng.integers(0, _FAULTS)):
        across = np.exp(rng.uniform(np.log(2), np.log(0.1 * min(size_hw))))
        along = across * np.exp(rng.uniform(0, np.log(5)))
        turn = rng.uniform(0, np.pi)
        dy, dx = y - rng.uniform(0, size_hw[0]), x - rng.uniform(0, size_hw[1])
        p, q = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        reach = (p / along) ** 2 + (q / across) ** 2
        found.append((1 / (1 + np.exp(np.clip(4 * (reach - 1), -30, 30)))).astype(np.float32))
    return found


def _replaced(rng: np.random.Generator, height: Field) -> Field:
    kind = rng.integers(3)
    if kind == 0:
        return np.full_like(height, rng.uniform(0, 1))
    if kind == 1:
        return np.asarray(cv2.GaussianBlur(height, (0, 0), float(rng.uniform(1, 4))), np.float32)
    return np.asarray(cv2.dilate(height, np.ones((3, 3), np.uint8)), np.float32)


def _lit(rng: np.random.Generator, height: Field, period: float) -> Picture:
    """A relief of one material under one light."""
    light = shading(rng, height, float(rng.uniform(0.3, 1.5)) * period)
    ground = np.float32(rng.uniform(0, 0.6)) * height + np.float32(1)
    lit: Picture = ((light * ground)[:, :, None] * (0.25 + 0.75 * any_colour(rng))).astype(
        np.float32
    )
    return lit


def _profile(rng: np.random.Generator, phase: Field) -> Field:
    """A round to sharp wave in 0..1 of period 1."""
    hardness = np.float32(np.exp(rng.uniform(np.log(0.3), np.log(5))))
    wave = np.tanh(hardness * (np.cos(2 * np.pi * phase) + np.float32(rng.uniform(-0.6, 0.6))))
    return spread(wave)


def _lines(rng: np.random.Generator, u: Field, v: Field) -> Field:
    """Ridges along one direction; `v` adds a slow beat."""
    beat = _profile(rng, v / np.float32(9))
    lines: Field = (_profile(rng, u) * (1 - rng.uniform(0, 0.3) * beat)).astype(np.float32)
    return lines


def _grid(rng: np.random.Generator, u: Field, v: Field) -> Field:
    """Crossed wires, one over the other."""
    over = _profile(rng, u)
    under = np.float32(rng.uniform(0.6, 1)) * _profile(rng, v)
    return np.asarray(np.maximum(over, under), np.float32)


def _knurl(rng: np.random.Generator, u: Field, v: Field) -> Field:
    """Pyramids between two families of grooves."""
    one, other = u + v, u - v
    rise = np.minimum(np.abs(one - np.round(one)), np.abs(other - np.round(other)))
    return spread(np.minimum(rise, np.float32(rng.uniform(0.15, 0.5))))


def _raster(rng: np.random.Generator, u: Field, v: Field) -> Field:
    """Dots of a print, all of one size or growing slowly across the picture."""
    tone = rng.uniform(-1.2, 1.2) + rng.uniform(0, 0.8) * np.sin(0.05 * (u + 0.7 * v))
    dots = np.cos(2 * np.pi * u) + np.cos(2 * np.pi * v) + tone
    return spread(np.tanh(np.float32(rng.uniform(1, 6)) * dots))


def _weave(rng: np.random.Generator, u: Field, v: Field) -> Field:
    """Plain weave, twill or satin: which yarn lies on top follows from row and column."""
    column, row = np.floor(u), np.floor(v)
    step, repeat = [(1, 2), (1, 3), (1, 4), (2, 5)][rng.integers(4)]
    on_top = np.mod(column + step * row, repeat) < np.float32(rng.integers(1, repeat))
    across = np.where(on_top, u - column, v - row) - 0.5
    along = np.where(on_top, v - row, u - column) - 0.5
    bulge = np.sqrt(np.clip(0.25 - across**2, 0, None)) * (1 - 0.5 * along**2)
    return spread(bulge + rng.uniform(0, 0.3) * on_top)


def _holes(rng: np.random.Generator, u: Field, v: Field) -> Field:
    """A sheet with round holes in rows, every second row shifted or not."""
    shift = float(rng.choice([0, 0.5]))
    row = np.round(v)
    place = u - shift * np.mod(row, 2)
    away = np.hypot(place - np.round(place), v - row)
    return spread(np.clip((away - rng.uniform(0.15, 0.42)) * 12, -1, 1))


PATTERNS: tuple[Callable[[np.random.Generator, Field, Field], Field], ...] = (
    _lines,
    _grid,
    _knurl,
    _raster,
    _weave,
    _holes,
)
"""Every kind of repeat: from coordinates in periods to a relief in 0..1."""
