"""Pictures of things that are made: turned, woven, printed, wired. Float32 RGB `(h, w, 3)` in 0..1.

Scenes of `scenes` are shaped by chance; what lies under an inspection camera repeats itself: the
ridges of a thread, the teeth of a wheel, the wires of a mesh, the letters of a label. Every one is
drawn from formulas over coordinates that are turned and scaled at random.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.pictures.fields import Field, fractal_noise
from anomalib_lite.data.pictures.scenes import Picture, any_colour, coloured_field, shading

Mask = NDArray[np.float32]


def made_thing(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    """One to three things of one kind on a ground that is calm more often than not."""
    picture = _ground(rng, size_hw)
    draw = KINDS[rng.integers(len(KINDS))]
    for _ in range(rng.integers(1, 4)):
        thing, mask = draw(rng, size_hw)
        if rng.random() < 0.3:
            picture = _cast_shadow(rng, picture, mask)
        opaque = np.float32(rng.uniform(0.5, 1) if rng.random() < 0.2 else 1) * mask[:, :, None]
        picture = (picture * (1 - opaque) + thing * opaque).astype(np.float32)
    return picture


def _ground(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    if rng.random() < 0.3:
        return coloured_field(rng, size_hw)
    grain = rng.uniform(0, 0.15) * (fractal_noise(rng, size_hw) - 0.5)
    ground: Picture = (any_colour(rng) + grain[:, :, None]).astype(np.float32)
    return ground


def _cast_shadow(rng: np.random.Generator, picture: Picture, mask: Mask) -> Picture:
    """Darken the ground beside a thing, softly."""
    shift = np.array([[1, 0, rng.uniform(-12, 12)], [0, 1, rng.uniform(-12, 12)]], np.float32)
    moved = cv2.warpAffine(mask, shift, mask.shape[::-1])
    moved = cv2.GaussianBlur(moved, (0, 0), float(rng.uniform(2, 9)))
    shaded: Picture = picture * (1 - np.float32(rng.uniform(0.2, 0.7)) * moved[:, :, None])
    return shaded


def _axes(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[Field, Field]:
    """Coordinates in pixels around a random centre, turned by a random angle."""
    height, width = size_hw
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y - rng.uniform(0.2, 0.8) * height, x - rng.uniform(0.2, 0.8) * width
    turn = rng.uniform(0, 2 * np.pi)
    along = np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y
    across = np.float32(np.cos(turn)) * y - np.float32(np.sin(turn)) * x
    return along, across


def _inside(distance: Field) -> Mask:
    """1 where a distance to the edge in pixels is positive, with an edge one pixel soft."""
    mask: Mask = np.clip(distance + np.float32(0.5), 0, 1)
    return mask


def _wave(rng: np.random.Generator, phase: Field) -> Field:
    """A periodic profile in -1..1 of a random sharpness: round, trapezoid or saw."""
    if rng.random() < 0.3:
        saw = phase / np.float32(2 * np.pi)
        saw = saw - np.floor(saw)
        return np.asarray(2 * np.minimum(saw / 0.85, (1 - saw) / 0.15) - 1, np.float32)
    hardness = np.float32(np.exp(rng.uniform(np.log(0.5), np.log(6))))
    return np.asarray(np.tanh(hardness * np.sin(phase)) / np.tanh(hardness), np.float32)


def _metal(rng: np.random.Generator, relief: Field, depth: float) -> Picture:
    """A lit surface of one colour with a highlight, and brushed at random."""
    light = shading(rng, relief, depth)
    gloss = np.clip(light, 0, 1) ** np.float32(rng.uniform(2, 12))
    body = light[:, :, None] * any_colour(rng) + rng.uniform(0, 0.8) * gloss[:, :, None]
    if rng.random() < 0.4:
        size_hw = (relief.shape[0], relief.shape[1])
        strength = np.float32(rng.uniform(0.02, 0.2))
        brushed = fractal_noise(rng, size_hw) - np.float32(0.5)
        body = body + strength * brushed[:, :, None]
    return body.astype(np.float32)


def threaded_rod(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[Picture, Mask]:
    """A round rod with ridges that wind around it; often with a plain neck, a point and a head."""
    along, across = _axes(rng, size_hw)
    side = min(size_hw)
    radius = np.float32(rng.uniform(0.03, 0.2) * side)
    length = np.float32(rng.uniform(0.3, 1.2) * side)
    pitch = np.exp(rng.uniform(np.log(3.5), np.log(24)))
    taper = np.float32(rng.uniform(0, 0.7) if rng.random() < 0.5 else 0)
    share = np.clip(along / length + 0.5, 0, 1)
    phase = 2 * np.pi * (along + rng.uniform(-0.5, 0.5) * pitch * across / radius) / pitch
    ridge = _wave(rng, phase.astype(np.float32)) * np.float32(rng.uniform(0.03, 0.2) * radius)
    if rng.random() < 0.6:
        ridge = ridge * (share > rng.uniform(0.1, 0.6))
    half = radius * (1 - taper * share**3) + ridge
    if rng.random() < 0.6:
        head = _inside(rng.uniform(0.05, 0.3) * radius * 4 - along - length / 2)
        half = half + head * radius * np.float32(rng.uniform(0.4, 1.2))
    mask = _inside(half - np.abs(across)) * _inside(length / 2 - np.abs(along))
    bulge = np.sqrt(np.clip(half**2 - across**2, 0, None))
    return _metal(rng, (bulge + 0.5 * ridge).astype(np.float32), rng.uniform(0.5, 2)), mask


def wheel(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[Picture, Mask]:
    """Rings around a centre, with teeth, spokes or holes: gears, caps, mouths of bottles."""
    along, across = _axes(rng, size_hw)
    squeeze = np.float32(rng.uniform(0.6, 1) if rng.random() < 0.3 else 1)
    across = across / squeeze
    angle, reach = np.arctan2(across, along), np.hypot(along, across)
    radius = np.float32(rng.uniform(0.1, 0.5) * min(size_hw))
    edge = np.full_like(reach, radius)
    if rng.random() < 0.6:
        teeth = int(rng.integers(4, 60))
        edge = edge + _wave(rng, teeth * angle) * radius * np.float32(rng.uniform(0.01, 0.12))
    mask = _inside(edge - reach)
    if rng.random() < 0.5:
        mask = mask * _inside(reach - radius * np.float32(rng.uniform(0.1, 0.85)))
    if rng.random() < 0.4:
        count, ring = int(rng.integers(2, 12)), radius * np.float32(rng.uniform(0.4, 0.8))
        turned = (angle + np.pi / count) % np.float32(2 * np.pi / count) - np.float32(np.pi / count)
        from_hole = np.hypot(reach * np.cos(turned) - ring, reach * np.sin(turned))
        mask = mask * _inside(from_hole - ring * np.float32(rng.uniform(0.3, 2) / count))
    rings = np.zeros_like(reach)
    for _ in range(rng.integers(1, 5)):
        place, width = rng.uniform(0.1, 1.05) * radius, rng.uniform(0.01, 0.15) * radius
        step = np.tanh((reach - np.float32(place)) / np.float32(width))
        rings = rings + np.float32(rng.uniform(-6, 6)) * step
    if rng.random() < 0.3:
        strength = np.float32(rng.uniform(0.1, 1))
        groove = np.float32(rng.uniform(0.6, 3))
        rings = rings + strength * _wave(rng, (reach / groove).astype(np.float32))
    return _metal(rng, rings.astype(np.float32), rng.uniform(0.2, 1.5)), mask


def mesh(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[Picture, Mask]:
    """Two families of round wires or yarns that go over and under each other."""
    along, across = _axes(rng, size_hw)
    gap = np.float32(np.exp(rng.uniform(np.log(5), np.log(40))))
    half = gap * np.float32(rng.uniform(0.08, 0.5))
    slant = np.float32(rng.uniform(-0.5, 0.5) if rng.random() < 0.3 else 0)
    along = along + slant * across
    warp, weft = along / gap, across / gap
    swing = np.float32(0.5 * (rng.random() < 0.7))
    over = np.cos(np.pi * np.round(warp)) * np.cos(np.pi * weft)
    under = -np.cos(np.pi * np.round(weft)) * np.cos(np.pi * warp)
    reliefs = []
    for place, lift in ((warp, over), (weft, under)):
        from_wire = np.abs(place - np.round(place)) * gap
        bulge = np.sqrt(np.clip(half**2 - from_wire**2, 0, None))
        reliefs.append(np.where(from_wire < half, bulge + half * (1.2 + swing * lift), 0))
    relief = np.maximum(*reliefs).astype(np.float32)
    covered = cv2.GaussianBlur((relief > 0).astype(np.float32), (0, 0), 0.5)
    mask: Mask = np.asarray(covered if rng.random() < 0.7 else np.ones_like(covered), np.float32)
    return _metal(rng, relief, rng.uniform(0.5, 1.5)), mask


def label(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[Picture, Mask]:
    """A print on a plain or shaded piece: lines of letters, bars, frames, discs."""
    side = min(size_hw)
    ink, ground = any_colour(rng), any_colour(rng)
    sheet = np.zeros(size_hw, np.uint8)
    row = int(rng.uniform(0, 0.3) * side)
    while row < size_hw[0]:
        kind, tall = rng.integers(4), int(rng.uniform(0.03, 0.2) * side)
        left = int(rng.uniform(0, 0.4) * side)
        if kind <= 1:
            count = int(rng.integers(2, 24))
            words = "".join(chr(int(code)) for code in rng.integers(33, 127, count))
            thick = max(1, tall // 10)
            font = int(rng.integers(0, 8))
            cv2.putText(sheet, words, (left, row + tall), font, tall / 26, 255, thick, cv2.LINE_AA)
        elif kind == 2:
            x = left
            for _ in range(rng.integers(5, 40)):
                x, wide = x + int(rng.integers(1, 5)), int(rng.integers(1, 6))
                cv2.rectangle(sheet, (x, row), (x + wide, row + tall), 255, -1)
                x += wide
        else:
            corner = (left + int(rng.uniform(0.1, 0.7) * side), row + tall)
            cv2.rectangle(sheet, (left, row), corner, 255, int(rng.integers(1, 4)))
            cv2.circle(sheet, corner, max(2, tall // 2), 255, int(rng.choice([-1, 1, 2])), 16)
        row += int(tall * rng.uniform(1.2, 2.5)) + 2
    height, width = size_hw
    turn = float(rng.choice([0, 90, 180, 270]) + rng.normal(0, 6))
    move = cv2.getRotationMatrix2D((width / 2, height / 2), turn, float(rng.uniform(0.5, 1.3)))
    print_ = cv2.warpAffine(sheet, move, (width, height)).astype(np.float32)[:, :, None] / 255
    along, across = _axes(rng, size_hw)
    half = rng.uniform(0.15, 0.6, 2) * side
    mask = _inside(np.minimum(half[0] - np.abs(along), half[1] - np.abs(across)))
    shade = 1 + np.float32(rng.uniform(-0.5, 0.5)) * (across / np.float32(half[1])) ** 2
    piece = (ground * (1 - print_) + ink * print_) * np.clip(shade, 0.2, 1.5)[:, :, None]
    return piece.astype(np.float32), mask


def board(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[Picture, Mask]:
    """Tracks at right angles with pads, and boxes with rows of legs: electronics."""
    height, width = size_hw
    base = any_colour(rng)
    picture = np.ascontiguousarray(np.broadcast_to(base, (height, width, 3)), np.float32)
    metal, thick = any_colour(rng).tolist(), int(rng.integers(1, 5))
    grid = int(rng.integers(5, 22))
    for _ in range(rng.integers(5, 50)):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        for _ in range(rng.integers(1, 6)):
            run = grid * int(rng.integers(-6, 7))
            way = rng.integers(3)
            to = (x + run * int(way != 1), y + run * int(way != 0))
            cv2.line(picture, (x, y), to, metal, thick, cv2.LINE_AA)
            x, y = to
        cv2.circle(picture, (x, y), thick + 2, metal, -1, cv2.LINE_AA)
        cv2.circle(picture, (x, y), max(1, thick // 2), base.tolist(), -1, cv2.LINE_AA)
    for _ in range(rng.integers(0, 7)):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        wide, tall = (grid * int(rng.integers(1, 6)) for _ in range(2))
        for leg in range(x + grid // 2, x + wide, grid):
            low, high = (leg, y - grid // 2), (leg + max(1, grid // 3), y + tall + grid // 2)
            cv2.rectangle(picture, low, high, metal, -1)
        cv2.rectangle(picture, (x, y), (x + wide, y + tall), any_colour(rng).tolist(), -1)
    centre, turn = (width / 2, height / 2), float(rng.uniform(0, 360))
    move = cv2.getRotationMatrix2D(centre, turn, float(rng.uniform(0.8, 1.5)))
    turned = cv2.warpAffine(picture, move, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    along, across = _axes(rng, size_hw)
    half = rng.uniform(0.3, 0.9, 2) * min(size_hw)
    mask = _inside(np.minimum(half[0] - np.abs(along), half[1] - np.abs(across)))
    return np.asarray(turned, np.float32), mask


def container(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[Picture, Mask]:
    """A glossy body of revolution from the side, filled to a level, with bright reflections."""
    along, across = _axes(rng, size_hw)
    side = min(size_hw)
    length, radius = np.float32(rng.uniform(0.4, 1.1) * side), rng.uniform(0.08, 0.35) * side
    knots = rng.uniform(0.4, 1, 5)
    knots[2:] = knots[2] if rng.random() < 0.5 else knots[2:]
    share = np.clip(along / length + 0.5, 0, 1)
    outline = np.interp(share, np.linspace(0, 1, 5), knots) * radius
    outline = np.asarray(cv2.GaussianBlur(outline.astype(np.float32), (0, 0), 3), np.float32)
    mask = _inside(outline - np.abs(across)) * _inside(length / 2 - np.abs(along))
    place = across / np.maximum(outline, 1)
    wall = np.clip(1 - place**2, 0, 1) ** np.float32(rng.uniform(0.2, 1))
    level = (share - rng.uniform(0.1, 0.9)) * length
    filled = _inside(level.astype(np.float32))[:, :, None]
    body = (any_colour(rng) * filled + any_colour(rng) * (1 - filled)) * wall[:, :, None]
    for _ in range(rng.integers(0, 4)):
        streak = np.exp(-(((place - rng.uniform(-0.9, 0.9)) / rng.uniform(0.02, 0.15)) ** 2))
        body = body + rng.uniform(0.2, 0.9) * streak[:, :, None]
    return np.clip(body, 0, 1.2).astype(np.float32), mask


KINDS: tuple[
    Callable[[np.random.Generator, tuple[int, int]], tuple[Picture, Mask]],
    ...,
] = (threaded_rod, wheel, mesh, label, board, container)
