"""`weave`: twill-woven cloth that fills the frame, at any phase, slightly turned and scaled.

Each image is a cut from one large cached cloth. Blemishes are painted in the cloth's own axes,
so that a wrong yarn follows its yarn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from . import blemishes
from .camera import Studio
from .catalog import DefectInfo, Fault, Product
from .streams import choice, material_stream, pick
from .surface import Float, Surface, pose, warp, warp_bands
from .textures import clouds, smooth_noise

_YARNS = 72  # yarns across the cached cloth in each direction
_WARP_RGB = (0.30, 0.36, 0.45)
_WEFT_RGB = (0.50, 0.53, 0.56)
_WRONG_RGB = ((0.62, 0.2, 0.14), (0.75, 0.6, 0.2), (0.85, 0.85, 0.82), (0.14, 0.14, 0.16))

Yarns = npt.NDArray[np.int32]


@dataclass(frozen=True)
class _Cloth:
    """Cloth in its own axes.

    Attributes:
        surface: its look.
        warp: (H, W) number of the upright yarn that passes here.
        weft: (H, W) number of the lying yarn that passes here.
        over: (H, W) True where the upright yarn is on top.
    """

    surface: Surface
    warp: Yarns
    weft: Yarns
    over: npt.NDArray[np.bool_]


def _twill(u: Float, v: Float) -> tuple[_Cloth, Float, Float]:
    """Two-over-two twill at yarn coordinates u, v: a blank cloth, and where each pixel lies
    across and along the yarn on top, both -1 to 1."""
    iu, iv = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    fu, fv = u - iu, v - iv
    phase = (iu - iv) % 4
    over = phase < 2
    cross = np.where(over, 2 * fu - 1, 2 * fv - 1)
    along = np.where(over, 1 - phase + fv, phase - 2 + fu) - 1
    side = u.shape[0]
    blank = Surface(
        np.zeros((3, side, side), np.float32),
        np.zeros((side, side), np.float32),
        np.full((side, side), 0.05, np.float32),
    )
    return (
        _Cloth(blank, iu, iv, over),
        np.asarray(cross, np.float32),
        np.asarray(along, np.float32),
    )


@lru_cache(maxsize=2)
def _cloth(side: int) -> _Cloth:
    """Weave the cloth once: round yarns, over and under in turn, twisted fibres, uneven dye."""
    rng = material_stream("cloth")
    pitch = max(4, round(side / 28))
    full = _YARNS * pitch
    sway_x = 0.13 * pitch * clouds(full, rng, _YARNS // 3)
    sway_y = 0.13 * pitch * clouds(full, rng, _YARNS // 3)
    axis = np.arange(full, dtype=np.float32)
    u, v = (axis + sway_x) / pitch, (axis[:, None] + sway_y) / pitch
    cloth, cross, along = _twill(u.astype(np.float32), v.astype(np.float32))
    bulge = np.sqrt(np.clip(1 - 0.85 * cross**2, 0, 1)) * (1 - 0.4 * along**4)
    strands = smooth_noise(rng, full, full, 0.8, 4.0)
    fibre = np.where(cloth.over, strands, strands.T)
    twist = np.sin((cross * 0.8 + along * 3.0) * np.float32(np.pi))
    shades = 1 + 0.05 * rng.standard_normal((2, _YARNS + 8)).astype(np.float32)
    shade = np.where(cloth.over, shades[0][cloth.warp + 4], shades[1][cloth.weft + 4])
    tone = shade * (0.42 + 0.6 * bulge) * (1 + 0.05 * twist + 0.09 * fibre)
    for band, warp_level, weft_level in zip(
        cloth.surface.albedo, _WARP_RGB, _WEFT_RGB, strict=True
    ):
        band[:] = np.where(cloth.over, np.float32(warp_level), np.float32(weft_level)) * tone
    cloth.surface.height[:] = pitch * 0.24 * bulge + 0.3 * fibre + 0.3 * twist
    return cloth


def _cut(cloth: _Cloth, side: int, rng: np.random.Generator) -> _Cloth:
    """A random square cut that may be painted on."""
    y, x = (int(n) for n in rng.integers(0, cloth.surface.side - side, 2))
    box = (slice(y, y + side), slice(x, x + side))
    s = cloth.surface
    surface = Surface(s.albedo[:, *box], s.height[box], s.gloss[box]).copy()
    return _Cloth(surface, cloth.warp[box], cloth.weft[box], cloth.over[box])


def _yarn_fault(cut: _Cloth, x: float, y: float, fault: Fault) -> None:
    """A stretch of one yarn that is of another colour, or that is not there."""
    rng, surface = fault.rng, cut.surface
    upright = rng.random() < 0.5
    yarns, on_top = (cut.warp, cut.over) if upright else (cut.weft, ~cut.over)
    stretch = np.abs(np.arange(surface.side) - (y if upright else x)) < (
        pick(rng, 0.1, 0.4) * surface.side
    )
    whole = (yarns == yarns[int(y), int(x)]) & (stretch[:, None] if upright else stretch)
    top = (whole & on_top).astype(np.uint8) * 255
    if fault.name == "wrong_yarn":
        rgb = _WRONG_RGB[choice(rng, len(_WRONG_RGB))]
        level = surface.albedo.mean(axis=0) / np.float32(0.42)
        dyed = np.stack([level * np.float32(value) for value in rgb])
        opacity = np.uint8(255 * pick(rng, 0.55, 1.0))
        surface.paste(np.minimum(top, opacity), Surface(dyed, surface.height, surface.gloss))
    else:
        gain = pick(rng, 0.4, 0.7)
        surface.tint(top, (gain, gain, gain))
        surface.tint(whole.astype(np.uint8) * 255, (0.8, 0.8, 0.8))
        surface.lift(top, -4.0 * surface.side / 640)


_BLEMISHES = {
    "tear": blemishes.tear,
    "stain": blemishes.stain,
    "hair": blemishes.hair,
    "lint": blemishes.lint,
}


def _compose(scene: np.random.Generator, fault: Fault | None, side: int) -> Surface:
    wide = side * 5 // 4
    cut = _cut(_cloth(side), wide, scene)
    if fault is not None:
        x, y = (pick(fault.rng, 0.26, 0.74) * wide for _ in range(2))
        if fault.name in _BLEMISHES:
            _BLEMISHES[fault.name](cut.surface, x, y, fault.rng, side / 512)
        else:
            _yarn_fault(cut, x, y, fault)
    move = pose(wide, side, pick(scene, -3, 3), pick(scene, 0.95, 1.06), 0, 0)
    s = cut.surface
    return Surface(
        warp_bands(s.albedo, move, side) * (1 + 0.03 * clouds(side, scene, 5)),
        warp(s.height, move, side) + 2.0 * clouds(side, scene, 5),
        warp(s.gloss, move, side),
    )


WEAVE = Product(
    name="weave",
    defects=(
        DefectInfo("tear", "structural"),
        DefectInfo("missing_yarn", "structural"),
        DefectInfo("stain", "contamination"),
        DefectInfo("hair", "contamination"),
        DefectInfo("lint", "contamination"),
        DefectInfo("wrong_yarn", "logical"),
    ),
    studio=Studio(relief=0.4, glare=0.25, sharpness=3.0, evenness=0.84),
    compose=_compose,
)
