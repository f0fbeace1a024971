"""`kit`: a moulded tray with one bolt, nut, washer pair, O-ring and fuse in their compartments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from . import blemishes
from .camera import Studio
from .catalog import DefectInfo, Fault, Product
from .hardware import lay
from .shapes import polygon, soften
from .streams import choice, pick
from .surface import Surface, flat, pose, warp, warp_bands
from .textures import clouds, fine_grain, window

# Compartments as x0, y0, x1, y1 in fractions of the side.
_SLOTS = (
    (0.07, 0.07, 0.31, 0.93),
    (0.36, 0.07, 0.63, 0.47),
    (0.68, 0.07, 0.93, 0.47),
    (0.36, 0.53, 0.63, 0.93),
    (0.68, 0.53, 0.93, 0.93),
)


@dataclass(frozen=True)
class _Item:
    """One piece: its kind, its middle (fractions of the side) and its turn in degrees."""

    kind: str
    x: float
    y: float
    degrees: float


@lru_cache(maxsize=2)
def _tray(side: int) -> Surface:
    """The empty tray: sunk compartments with sloped walls and darker corners."""
    s = flat(side, (0.40, 0.43, 0.46), 0.12)
    for x0, y0, x1, y1 in _SLOTS:
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) * side
        edge = 0.035 * side
        inner = np.abs(corners - corners.mean(axis=0)) - edge
        turn = np.linspace(0, np.pi / 2, 8)
        arc = edge * np.column_stack([np.cos(turn), np.sin(turn)])
        quarter = inner[0] + arc
        half = np.vstack([quarter, (quarter * (-1, 1))[::-1]])
        outline = polygon(side, np.vstack([half, -half]) + corners.mean(axis=0))
        sunk = soften(outline, round(0.012 * side))
        s.lift(sunk, -0.022 * side)
        floor = soften(outline, round(0.05 * side))
        s.tint(outline - np.minimum(outline, floor), (0.45, 0.45, 0.47))
        s.tint(outline, (0.92, 0.92, 0.92))
    return s


def _items(rng: np.random.Generator) -> tuple[_Item, ...]:
    """A complete kit, every piece a little differently placed."""

    def at(kind: str, x: float, y: float, give: float, degrees: float) -> _Item:
        turn = degrees + pick(rng, -6, 6) if kind in ("bolt", "fuse") else pick(rng, 0, 360)
        return _Item(kind, x + pick(rng, -give, give), y + pick(rng, -give, give), turn)

    return (
        at("bolt", 0.19, 0.5, 0.012, 0),
        at("nut", 0.495, 0.27, 0.025, 0),
        at("washer", 0.79, 0.2, 0.012, 0),
        at("washer", 0.82, 0.33, 0.012, 0),
        at("oring", 0.495, 0.73, 0.025, 0),
        at("fuse", 0.805, 0.73, 0.02, 60),
    )


def _mistake(items: tuple[_Item, ...], fault: Fault) -> tuple[_Item, ...]:
    """The kit as it is when something is missing, double, swapped or broken."""
    rng, made = fault.rng, list(items)
    if fault.name == "missing_part":
        del made[choice(rng, len(made))]
    elif fault.name == "extra_part":
        kind = ("nut", "washer", "oring")[choice(rng, 3)]
        x0, y0, x1, y1 = _SLOTS[1 + choice(rng, 4)]
        x, y = pick(rng, x0 + 0.1, x1 - 0.1), pick(rng, y0 + 0.1, y1 - 0.1)
        made.append(_Item(kind, x, y, pick(rng, 0, 360)))
    elif fault.name == "swapped_parts":
        first, second = ((1, 4), (1, 5), (4, 5))[choice(rng, 3)]
        one, two = made[first], made[second]
        made[first] = replace(one, kind=two.kind)
        made[second] = replace(two, kind=one.kind)
    elif fault.name == "broken_washer":
        made[3] = replace(made[3], kind="broken_washer")
    return tuple(made)


_BLEMISHES = {
    "crack": blemishes.crack,
    "stain": blemishes.stain,
    "swarf": blemishes.swarf,
}


def _compose(scene: np.random.Generator, fault: Fault | None, side: int) -> Surface:
    items = _items(scene)
    s = _tray(side).copy()
    grain = window(fine_grain(side, "tray", 1.1, 1.1), side, scene)
    s.albedo *= 1 + 0.025 * grain + 0.02 * clouds(side, scene, 6)
    s.height += 0.35 * grain
    if fault is not None:
        items = _mistake(items, fault)
    for item in items:
        lay(s, item.kind, item.x * side, item.y * side, item.degrees)
    if fault is not None and fault.name in _BLEMISHES:
        x, y = (pick(fault.rng, 0.15, 0.85) * side for _ in range(2))
        _BLEMISHES[fault.name](s, x, y, fault.rng, side / 512)
    dx, dy = (pick(scene, -4, 4) * side / 512 for _ in range(2))
    move = pose(side, side, pick(scene, -1, 1), 1.0, dx, dy)
    return Surface(
        warp_bands(s.albedo, move, side), warp(s.height, move, side), warp(s.gloss, move, side)
    )


KIT = Product(
    name="kit",
    defects=(
        DefectInfo("crack", "structural"),
        DefectInfo("broken_washer", "structural"),
        DefectInfo("stain", "contamination"),
        DefectInfo("swarf", "contamination"),
        DefectInfo("missing_part", "logical"),
        DefectInfo("extra_part", "logical"),
        DefectInfo("swapped_parts", "logical"),
    ),
    studio=Studio(relief=0.45, glare=0.5, sharpness=6.0, evenness=0.8),
    compose=_compose,
)
