"""`flange`: a turned steel flange on a mat, aligned within 2 pixels and 1 degree.

It has six countersunk bolt holes, a coloured seal around the bore, an engraved mark and two
paint dots. Lengths are fractions of the canvas side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from . import blemishes
from .camera import Studio
from .catalog import DefectInfo, Fault, Product
from .shapes import disc, lettering, ring, soften, turned
from .streams import choice, pick
from .surface import Alpha, Float, Surface, flat, place, pose, warp
from .textures import clouds, fine_grain, turned_grain, window

_OUTER, _BORE, _SEAL_IN, _SEAL_OUT, _BOLTS, _HOLE = 0.425, 0.1, 0.148, 0.19, 0.345, 0.027
_SEAL_RGB = (0.66, 0.15, 0.08)
_WRONG_SEALS = ((0.1, 0.22, 0.55), (0.08, 0.08, 0.085), (0.12, 0.42, 0.2), (0.6, 0.42, 0.1))
_DOTS = ((0.1, 0.45, 0.2), (0.75, 0.6, 0.08))


@dataclass(frozen=True)
class _Plan:
    """One flange's features; a logical defect is another plan."""

    holes: tuple[float, ...]
    mark: str
    mark_turn: float
    seal: tuple[float, ...]
    dots: tuple[tuple[float, ...], ...]


@lru_cache(maxsize=4)
def _polar(side: int) -> tuple[Float, Float, Float]:
    """Radius (fraction of the side), cosine and sine of the direction; each (side, side)."""
    axis = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / side - np.float32(0.5)
    x, y = np.meshgrid(axis, axis)
    radius = np.asarray(np.sqrt(x * x + y * y) + np.float32(1e-6), dtype=np.float32)
    return radius, np.asarray(x / radius, np.float32), np.asarray(y / radius, np.float32)


@lru_cache(maxsize=4)
def _profile(side: int) -> Float:
    """(side, side) turned relief: chamfers at rim and bore, a step, and the groove of the seal."""
    radius = _polar(side)[0]
    knots = (
        *((0, -0.03), (0.1, -0.03), (0.102, -0.012), (0.112, 0), (0.145, 0), (0.148, -0.004)),
        *((0.19, -0.004), (0.193, 0), (0.286, 0), (0.294, -0.008), (0.412, -0.008)),
        *((0.425, -0.022), (1.0, -0.022)),
    )
    where, level = zip(*knots, strict=True)
    relief = np.interp(radius, where, level) * side
    return np.asarray(relief, dtype=np.float32)


def _lobes(side: int, angle: float) -> Float:
    """(side, side) squared cosine of the direction's distance from `angle` (radians)."""
    _, cos, sin = _polar(side)
    near = cos * np.float32(np.cos(angle)) + sin * np.float32(np.sin(angle))
    return np.asarray(near * near, dtype=np.float32)


def _blank(side: int, rng: np.random.Generator) -> Surface:
    """The turned disc before drilling, with the bow-tie highlight that turned faces show."""
    spin = pose(side, side, pick(rng, 0, 360), pick(rng, 0.94, 1.08), 0, 0)
    grain = warp(turned_grain(side, choice(rng, 4)), spin, side)
    light = pick(rng, 0.55, 0.85)
    other = light + pick(rng, 1.2, 1.5)
    wide, narrow = _lobes(side, light), _lobes(side, other)
    # Powers by squaring: numpy's float32 power is ten times slower.
    sharp = wide * wide * wide
    thin = narrow * narrow
    bow = 0.28 * sharp * sharp + 0.2 * wide + 0.1 * thin * thin * thin * thin
    level = (0.40 + bow) * (1 + 0.085 * grain) + 0.008 * clouds(side, rng, 9)
    warmth = pick(rng, -0.015, 0.02)
    albedo = np.stack([level * np.float32(gain) for gain in (1 + warmth, 1, 0.985 - warmth)])
    gloss = np.full((side, side), 0.25, np.float32)
    return Surface(albedo, _profile(side).copy(), gloss)


def _drill(s: Surface, x: float, y: float, radius: float) -> None:
    """A through hole with a countersink that catches the light."""
    side = s.side
    sink = disc(side, x, y, radius * 1.45)
    s.tint(sink, (0.85, 0.85, 0.86))
    s.lift(soften(sink, round(0.35 * radius)), -0.45 * radius)
    s.paint(disc(side, x, y, radius), (0.055, 0.055, 0.06))
    s.tint(disc(side, x - 0.25 * radius, y - 0.25 * radius, 0.75 * radius), (0.45, 0.45, 0.45))
    s.polish(disc(side, x, y, radius), 0.02)


def _seat_seal(s: Surface, rgb: tuple[float, ...]) -> None:
    """The rubber ring in its groove, round on top."""
    side, mid = s.side, s.side / 2
    s.tint(ring(side, mid, mid, (_SEAL_IN - 0.006) * side, (_SEAL_OUT + 0.006) * side), (0.5,) * 3)
    seal = ring(side, mid, mid, _SEAL_IN * side, _SEAL_OUT * side)
    s.paint(seal, rgb)
    s.polish(seal, 0.5)
    radius = _polar(side)[0]
    half = (_SEAL_OUT - _SEAL_IN) / 2
    inside = np.clip(1 - ((radius - (_SEAL_IN + half)) / half) ** 2, 0, 1)
    s.height += (0.55 * half * side) * np.sqrt(inside)


def _build(plan: _Plan, s: Surface) -> None:
    side, mid = s.side, s.side / 2
    bore = disc(side, mid, mid, _BORE * side)
    s.paint(bore, (0.06, 0.06, 0.065))
    s.tint(disc(side, mid + 0.012 * side, mid + 0.012 * side, 0.085 * side), (0.6, 0.6, 0.6))
    s.polish(bore, 0.0)
    _seat_seal(s, plan.seal)
    for angle in plan.holes:
        x, y = _at(side, angle, _BOLTS)
        _drill(s, x, y, _HOLE * side)
    mark = turned(_mark(side, plan.mark), plan.mark_turn)
    s.lift(mark, -2.2 * side / 512)
    s.tint(mark, (0.42, 0.42, 0.42))
    for angle, rgb in zip((196.0, 214.0), plan.dots, strict=True):
        x, y = _at(side, angle, 0.242)
        dot = disc(side, x, y, 0.016 * side)
        s.paint(dot, rgb, 0.93)
        s.polish(dot, 0.4)


@lru_cache(maxsize=4)
def _soft_disc(side: int) -> Alpha:
    return soften(disc(side, side / 2, side / 2, _OUTER * side), round(0.035 * side))


@lru_cache(maxsize=16)
def _mark(side: int, text: str) -> Alpha:
    return lettering(side, text, side / 2, 0.742 * side, 0.042 * side, side / 190)


def _at(side: int, degrees: float, radius: float) -> tuple[float, float]:
    turn = np.deg2rad(degrees)
    return side * (0.5 + radius * float(np.cos(turn))), side * (0.5 + radius * float(np.sin(turn)))


def _mistake(plan: _Plan, fault: Fault) -> _Plan:
    """The plan of a flange that was made wrong."""
    rng = fault.rng
    if fault.name == "missing_hole":
        gone = choice(rng, len(plan.holes))
        return replace(plan, holes=plan.holes[:gone] + plan.holes[gone + 1 :])
    if fault.name == "extra_hole":
        return replace(plan, holes=(*plan.holes, 60.0 * choice(rng, 6) + pick(rng, 24, 36)))
    if fault.name == "wrong_seal":
        return replace(plan, seal=_WRONG_SEALS[choice(rng, len(_WRONG_SEALS))])
    if fault.name == "rotated_mark":
        return replace(plan, mark_turn=(90.0, 180.0, 120.0, 25.0, -20.0)[choice(rng, 5)])
    if fault.name == "swapped_dots":
        return replace(plan, dots=plan.dots[::-1])
    return plan


_BLEMISHES = {
    "scratch": blemishes.scratch,
    "dent": blemishes.dent,
    "stain": blemishes.stain,
    "swarf": blemishes.swarf,
}


def _compose(scene: np.random.Generator, fault: Fault | None, side: int) -> Surface:
    unit = side / 512
    tone = 1 + 0.06 * float(scene.normal())
    plan = _Plan(
        holes=tuple(60.0 * k for k in range(6)),
        mark="FL-40",
        mark_turn=0.0,
        seal=tuple(tone * c for c in _SEAL_RGB),
        dots=_DOTS,
    )
    part = _blank(side, scene)
    if fault is not None:
        plan = _mistake(plan, fault)
    _build(plan, part)
    if fault is not None and fault.name in _BLEMISHES:
        x, y = _at(side, pick(fault.rng, 0, 360), pick(fault.rng, 0.2, 0.375))
        _BLEMISHES[fault.name](part, x, y, fault.rng, unit)
    move = pose(
        side, side, pick(scene, -1, 1), 1.0, pick(scene, -4, 4) * unit, pick(scene, -4, 4) * unit
    )
    ground = _mat(side, scene)
    mid = side / 2
    cover = disc(side, mid, mid, _OUTER * side)
    fall = np.roll(_soft_disc(side), (round(0.018 * side), round(0.014 * side)), axis=(0, 1))
    ground.tint(fall, (0.3, 0.3, 0.32))
    place(part, cover, ground, move)
    return ground


def _mat(side: int, rng: np.random.Generator) -> Surface:
    """A dark rubber mat with fine grain."""
    ground = flat(side, (0.16, 0.17, 0.185), 0.03)
    grain = window(fine_grain(side, "mat", 1.6, 1.6), side, rng)
    ground.albedo *= 1 + 0.06 * grain + 0.04 * clouds(side, rng, 6)
    ground.height += np.float32(-0.022 * side) + 0.5 * grain
    return ground


FLANGE = Product(
    name="flange",
    defects=(
        DefectInfo("scratch", "structural"),
        DefectInfo("dent", "structural"),
        DefectInfo("stain", "contamination"),
        DefectInfo("swarf", "contamination"),
        DefectInfo("missing_hole", "logical"),
        DefectInfo("extra_hole", "logical"),
        DefectInfo("wrong_seal", "logical"),
        DefectInfo("rotated_mark", "logical"),
        DefectInfo("swapped_dots", "logical"),
    ),
    studio=Studio(relief=0.5, glare=0.45, sharpness=7.0, evenness=0.82),
    compose=_compose,
)
