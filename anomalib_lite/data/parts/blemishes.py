"""Structural damage and contamination that any product can suffer.

Each function paints one blemish near (x, y) of the canvas and draws its size, shape and contrast
from ranges that go from easy to hard but visible. `unit` is canvas pixels per 1/512 of its side.
"""

from __future__ import annotations

import numpy as np

from .shapes import blob, curve, polygon, soften, wander
from .streams import choice, pick
from .surface import Surface

Rng = np.random.Generator


def scratch(s: Surface, x: float, y: float, rng: Rng, unit: float) -> None:
    """A bright or dark score line with a raised burr."""
    path = wander(x, y, pick(rng, 45, 150) * unit, 0.03, rng)
    width = pick(rng, 1.6, 4.2) * unit
    alpha = curve(s.side, path, width)
    s.lift(alpha, -pick(rng, 0.8, 2.2) * unit)
    level = pick(rng, 0.85, 1.0) if rng.random() < 0.6 else pick(rng, 0.1, 0.25)
    s.paint(alpha, (level, level, level), pick(rng, 0.5, 0.9))


def dent(s: Surface, x: float, y: float, rng: Rng, unit: float) -> None:
    """A pit knocked into the surface, with a bruised floor."""
    radius = pick(rng, 10, 22) * unit
    outline = blob(s.side, x, y, radius, rng, 0.2)
    alpha = soften(outline, round(0.6 * radius))
    s.lift(alpha, -pick(rng, 0.25, 0.6) * radius)
    gain = pick(rng, 0.72, 0.95)
    s.tint(alpha, (gain, gain, gain))


def crack(s: Surface, x: float, y: float, rng: Rng, unit: float) -> None:
    """A jagged dark line that thins out, with one branch."""
    path = wander(x, y, pick(rng, 60, 130) * unit, 0.1, rng, 20, jag=0.6)
    width = pick(rng, 2.0, 4.5) * unit
    dark, opacity = pick(rng, 0.03, 0.15), pick(rng, 0.6, 0.95)
    start = 6 + choice(rng, 8)
    twig = wander(0, 0, pick(rng, 18, 45) * unit, 0.1, rng, 8, jag=0.6)
    twig += path[start] - twig[0]
    for points, wide in ((path, width * 0.6), (path[4:16], width), (twig, width * 0.5)):
        alpha = curve(s.side, points, wide)
        s.lift(alpha, -1.5 * unit)
        s.paint(alpha, (dark, dark * 0.95, dark * 0.9), opacity)


def stain(s: Surface, x: float, y: float, rng: Rng, unit: float) -> None:
    """A spill of oil, ink or coolant: see-through, glossy, darker at its rim."""
    gains = ((0.62, 0.5, 0.3), (0.5, 0.47, 0.45), (0.42, 0.33, 0.27), (0.55, 0.62, 0.78))
    gain = np.array(gains[choice(rng, len(gains))])
    strength = pick(rng, 0.5, 1.0)
    radius = pick(rng, 18, 44) * unit
    alpha = np.zeros((s.side, s.side), np.uint8)
    for _ in range(1 + choice(rng, 3)):
        dx, dy = rng.normal(0, 0.6 * radius, 2)
        part = blob(s.side, x + dx, y + dy, radius * pick(rng, 0.4, 1.0), rng, 0.3)
        alpha = np.maximum(alpha, part)
    body = soften(alpha, max(2, round(4 * unit)))
    rim = body - np.minimum(body, soften(alpha, max(3, round(10 * unit))))
    s.tint(body, gain, strength)
    s.tint(rim, gain * 0.8, strength)
    s.polish(body, pick(rng, 0.3, 0.6))


def hair(s: Surface, x: float, y: float, rng: Rng, unit: float) -> None:
    """One hair or loose fibre lying on top, with its thin shadow."""
    path = wander(x, y, pick(rng, 80, 200) * unit, 0.13, rng, 40)
    width = pick(rng, 1.8, 3.4) * unit
    colours = ((0.10, 0.07, 0.05), (0.32, 0.2, 0.1), (0.85, 0.83, 0.78), (0.12, 0.2, 0.5))
    colour = colours[choice(rng, len(colours))]
    s.tint(soften(curve(s.side, path + 2.2 * unit, width), 2), (0.5, 0.5, 0.5), 0.7)
    alpha = curve(s.side, path, width)
    s.paint(alpha, colour, pick(rng, 0.75, 1.0))
    s.lift(soften(alpha, 2), 1.5 * unit)
    s.polish(alpha, 0.5)


def swarf(s: Surface, x: float, y: float, rng: Rng, unit: float) -> None:
    """A curl of cut metal with bright facets and a shadow."""
    loops, radius = pick(rng, 1.5, 4.0), pick(rng, 7, 15) * unit
    turn = np.linspace(0, 2 * np.pi * loops, round(24 * loops))
    heading, pitch = pick(rng, 0, 2 * np.pi), pick(rng, 0.5, 1.1) * radius / np.pi
    along = pitch * turn + radius * np.cos(turn)
    across = radius * pick(rng, 0.5, 0.9) * np.sin(turn)
    c, si = np.cos(heading), np.sin(heading)
    path = np.column_stack([along * c - across * si, along * si + across * c])
    path += np.array([x, y]) - path.mean(axis=0)
    width = pick(rng, 2.4, 4.5) * unit
    s.tint(soften(curve(s.side, path + 4 * unit, width * 1.4), 4), (0.35, 0.35, 0.38), 0.9)
    for first in range(0, len(path) - 3, 3):
        facet = 0.5 + 0.42 * np.cos(turn[first] + heading)
        piece = curve(s.side, path[first : first + 5], width)
        s.paint(piece, (facet, facet * 0.98, facet * 0.94))
        s.polish(piece, 0.8)
    s.lift(soften(curve(s.side, path, width), 2), 3 * unit)


def lint(s: Surface, x: float, y: float, rng: Rng, unit: float) -> None:
    """A clump of dust: many short pale fibres over a haze."""
    radius = pick(rng, 14, 32) * unit
    level = pick(rng, 0.66, 0.95)
    haze = soften(blob(s.side, x, y, radius * 0.8, rng, 0.4), max(3, round(8 * unit)))
    s.paint(haze, (level * 0.9, level * 0.89, level * 0.86), pick(rng, 0.35, 0.6))
    for _ in range(14 + choice(rng, 16)):
        dx, dy = rng.normal(0, 0.45 * radius, 2)
        path = wander(x + dx, y + dy, pick(rng, 0.5, 1.5) * radius, 0.3, rng, 12)
        s.paint(curve(s.side, path, 1.3 * unit), (level, level * 0.98, level * 0.95), 0.75)


def specks(s: Surface, x: float, y: float, rng: Rng, unit: float) -> None:
    """A few dark crumbs."""
    dark = pick(rng, 0.06, 0.3)
    for _ in range(1 + choice(rng, 5)):
        dx, dy = rng.normal(0, 9 * unit, 2)
        radius = pick(rng, 2.5, 7) * unit
        crumb = blob(s.side, x + dx, y + dy, radius, rng, 0.5)
        s.paint(crumb, (dark * 1.1, dark, dark * 0.85), pick(rng, 0.7, 1.0))
        s.lift(soften(crumb, 2), 2 * unit)


def tear(s: Surface, x: float, y: float, rng: Rng, unit: float) -> None:
    """A cut through cloth: a dark slit with frayed ends of yarn across it."""
    path = wander(x, y, pick(rng, 45, 120) * unit, 0.06, rng)
    wide = pick(rng, 7, 18) * unit
    side = path - path.mean(axis=0)
    normal = np.array([-side[-1, 1], side[-1, 0]]) / (np.hypot(*side[-1]) + 1e-9)
    belly = np.sin(np.linspace(0, np.pi, len(path)))[:, None] * normal * wide / 2
    jag = rng.normal(0, 0.8 * unit, path.shape)
    slit = polygon(s.side, np.vstack([path + belly + jag, (path - belly - jag)[::-1]]))
    s.paint(slit, (0.05, 0.045, 0.04), 0.92)
    s.lift(soften(slit, 3), -4 * unit)
    for _ in range(6 + choice(rng, 10)):
        at = path[choice(rng, len(path))]
        fray = wander(at[0], at[1], pick(rng, 1.0, 2.2) * wide, 0.25, rng, 8)
        tone = pick(rng, 0.5, 0.85)
        s.paint(curve(s.side, fray, 1.4 * unit), (tone, tone * 0.93, tone * 0.8), 0.8)
