"""`tablet`: a coated tablet lying anywhere, at any angle, on a conveyor belt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from . import blemishes
from .camera import Studio
from .catalog import DefectInfo, Fault, Product
from .shapes import blob, capsule, curve, disc, lettering, soften
from .streams import choice, pick
from .surface import Alpha, Float, Surface, flat, place, pose
from .textures import clouds, fine_grain, window

_LENGTH, _WIDTH = 0.5, 0.27
_COATS = (0.86, 0.83, 0.74)


@dataclass(frozen=True)
class _Plan:
    """One tablet's features; a logical defect is another plan."""

    left: str = "AL"
    right: str = "40"
    scored: bool = True


@lru_cache(maxsize=4)
def _dome(side: int) -> Float:
    """(side, side) height of the pressed body: a band at the edge, a rounded cap on top."""
    cover = capsule(side, _LENGTH * side, _WIDTH * side)
    depth = np.asarray(cv2.distanceTransform((cover > 127).astype(np.uint8), cv2.DIST_L2, 5))
    t = np.clip(depth / (0.115 * side), 0, 1)
    cap = 0.075 * side * np.sqrt(np.clip(1 - (1 - t) ** 2, 0, 1))
    return np.asarray(cv2.GaussianBlur(cap, (0, 0), side / 100), dtype=np.float32)


@lru_cache(maxsize=32)
def _imprint(side: int, left: str, right: str) -> Alpha:
    mid, high, thick = side / 2, 0.068 * side, side / 90
    alpha = lettering(side, left, mid - 0.12 * side, mid, high, thick)
    return np.maximum(alpha, lettering(side, right, mid + 0.12 * side, mid, high, thick))


def _press(side: int, plan: _Plan, rng: np.random.Generator) -> Surface:
    """The tablet in its own axes, with score line, imprint and the specks of its mix."""
    unit, mid = side / 512, side / 2
    tone = 1 + 0.02 * float(rng.normal())
    s = flat(side, tuple(tone * c for c in _COATS), 0.28)
    grain = window(fine_grain(side, "coat", 1.3, 1.3), side, rng)
    mottle = window(fine_grain(side, "mottle", 6, 6), side, rng)
    s.albedo *= 1 + 0.016 * grain + 0.016 * mottle
    s.height += _dome(side) + 0.3 * grain + 0.25 * mottle
    rim = capsule(side, _LENGTH * side, _WIDTH * side)
    inner = soften(capsule(side, _LENGTH * side, _WIDTH * side, -0.012 * side), 9)
    s.tint(rim - np.minimum(rim, inner), (0.72, 0.7, 0.68))
    if plan.scored:
        line = np.array([[mid, mid - 0.2 * side], [mid, mid + 0.2 * side]])
        s.lift(soften(curve(side, line, 9 * unit), 4), -5 * unit)
        s.tint(soften(curve(side, line, 4 * unit), 3), (0.68, 0.66, 0.62))
    mark = _imprint(side, plan.left, plan.right)
    s.lift(soften(mark, 2), -3.2 * unit)
    s.tint(mark, (0.8, 0.79, 0.76))
    return s


def _belt(side: int, rng: np.random.Generator) -> Surface:
    """A blue-green belt: rubber with a woven grain, worn streaks along its run."""
    base = np.array([0.115, 0.235, 0.25]) * pick(rng, 0.9, 1.1)
    s = flat(side, tuple(base), 0.08)
    streak = window(fine_grain(side, "belt-streak", 60, 1.2), side, rng)
    grain = window(fine_grain(side, "belt-grain", 1.2, 1.2), side, rng)
    s.albedo *= 1 + 0.07 * streak + 0.05 * grain + 0.05 * clouds(side, rng, 5)
    s.height += _knurl(side, choice(rng, 8), choice(rng, 8)) + 0.35 * grain
    return s


@lru_cache(maxsize=64)
def _knurl(side: int, dx: int, dy: int) -> Float:
    """(side, side) low diamond pattern pressed into the belt, at one of 8x8 phases."""
    pitch = side / 42.667
    axis = np.arange(side, dtype=np.float32) * np.float32(2 * np.pi / pitch)
    x, y = axis[None, :] + dx * 0.785, axis[:, None] + dy * 0.785
    waves = np.cos(x * 0.5 + y * 0.5) * np.cos(x * 0.5 - y * 0.5)
    return np.asarray(0.9 * side / 512 * waves, dtype=np.float32)


def _mistake(plan: _Plan, fault: Fault) -> _Plan:
    rng = fault.rng
    if fault.name == "wrong_imprint":
        left, right = (("AL", "80"), ("AL", ""), ("", "40"), ("40", "AL"), ("AL", "10"))[
            choice(rng, 5)
        ]
        return replace(plan, left=left, right=right)
    if fault.name == "missing_score":
        return replace(plan, scored=False)
    return plan


_BLEMISHES = {
    "crack": blemishes.crack,
    "stain": blemishes.stain,
    "hair": blemishes.hair,
    "specks": blemishes.specks,
}


def _chip(cover: Alpha, s: Surface, rng: np.random.Generator) -> Alpha:
    """Break a piece off the edge: bare core beside the gap; returns what is left of the cover."""
    side = s.side
    turn = np.deg2rad(pick(rng, 0, 360))
    inner, radius = (_LENGTH - _WIDTH) / 2, pick(rng, 0.025, 0.06) * side
    x = side * (0.5 + np.sign(np.cos(turn)) * inner + _WIDTH / 2 * np.cos(turn))
    y = side * (0.5 + _WIDTH / 2 * np.sin(turn))
    core = blob(side, x, y, radius * 1.25, rng, 0.3)
    tone = pick(rng, 0.58, 0.74)
    s.paint(core, (tone, tone * 0.95, tone * 0.86), 0.9)
    s.lift(core, -0.016 * side)
    s.polish(core, 0.0)
    gap = np.minimum(blob(side, x, y, radius * 0.8, rng, 0.3), disc(side, x, y, radius))
    return cover - np.minimum(cover, gap)


def _compose(scene: np.random.Generator, fault: Fault | None, side: int) -> Surface:
    unit, mid = side / 512, side / 2
    plan = _Plan() if fault is None else _mistake(_Plan(), fault)
    tablet = _press(side, plan, scene)
    cover = whole = capsule(side, _LENGTH * side, _WIDTH * side)
    if fault is not None and fault.name == "chip":
        cover = _chip(whole, tablet, fault.rng)
    elif fault is not None and fault.name in _BLEMISHES:
        x = mid + pick(fault.rng, -0.17, 0.17) * side
        y = mid + pick(fault.rng, -0.08, 0.08) * side
        _BLEMISHES[fault.name](tablet, x, y, fault.rng, 0.8 * unit)
    ground = _belt(side, scene)
    dx, dy = (pick(scene, -0.17, 0.17) * side for _ in range(2))
    move = pose(side, side, pick(scene, 0, 360), 1.0, dx, dy)
    for reach, drop, gain in ((0.03, 0.03, 0.45), (0.012, 0.008, 0.45)):
        fall = cv2.warpAffine(whole, move, (side, side))
        shadow = soften(np.asarray(fall, dtype=np.uint8), round(reach * side))
        shift = round(drop * side)
        ground.tint(np.roll(shadow, (shift, shift), axis=(0, 1)), (gain, gain, gain))
    place(tablet, cover, ground, move)
    return ground


TABLET = Product(
    name="tablet",
    defects=(
        DefectInfo("chip", "structural"),
        DefectInfo("crack", "structural"),
        DefectInfo("stain", "contamination"),
        DefectInfo("hair", "contamination"),
        DefectInfo("specks", "contamination"),
        DefectInfo("wrong_imprint", "logical"),
        DefectInfo("missing_score", "logical"),
    ),
    studio=Studio(relief=0.34, glare=0.42, sharpness=9.0, evenness=0.8),
    compose=_compose,
)
