"""Simulated defects and harmless changes of prepared frames, to compare scorers without labels.

Nothing here imitates a particular product. A defect is a region of random shape, size and strength
in which the picture is replaced by something that a defect could leave there; a harmless change
moves the whole picture or its light a little. Defects made to measure, with the contrast and the
place that are asked for, are those of `made`; these here need no part and no texture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
FloatImage = NDArray[np.float32]
DefectKind = Literal["scratch", "spot", "doubled", "missing", "exchange", "colour", "blur", "warp"]
DEFECT_KINDS: tuple[DefectKind, ...] = get_args(DefectKind)
HarmlessKind = Literal["shift", "light"]
HARMLESS_KINDS: tuple[HarmlessKind, ...] = get_args(HarmlessKind)

_DIAMETER = (0.04, 0.4)  # of the shorter side
_STRENGTH = (0.25, 1.0)
_LARGEST_SHIFT = 3  # pixels
_LIGHT = 0.05
_ON_STRUCTURE = 0.8  # share of defects that are put where the picture has structure


@dataclass(frozen=True, eq=False)
class SimulatedDefect:
    """One simulated defect.

    Attributes:
        frame: the changed frame, uint8 `(h, w, 3)`.
        mask: share by which each pixel was replaced, float32 `(h, w)`.
    """

    frame: Frame
    mask: FloatImage


@dataclass(frozen=True, eq=False)
class _Region:
    """Where one defect lies, and all that its replacement may be made of."""

    picture: FloatImage
    donor: FloatImage
    mask: FloatImage
    diameter: float
    rng: np.random.Generator


def simulate_among(
    frames: Sequence[Frame] | Frame,
    place: int,
    turn: int,
    rng: np.random.Generator,
    inside: NDArray[np.bool_] | None = None,
    *,
    diameter_px: tuple[float, float] | None = None,
) -> SimulatedDefect:
    """A defect in one of some frames; kinds take turns, and the next frame is the donor.

    Args:
        frames: good frames of one shape, uint8 `(n, h, w, 3)`.
        place: which of them is changed.
        turn: counts the defects; eight of them are one of each kind.
        rng, inside, diameter_px: as for `simulate_defect`.
    """
    donor, kind = frames[(place + 1) % len(frames)], DEFECT_KINDS[turn % len(DEFECT_KINDS)]
    return simulate_defect(frames[place], donor, kind, rng, inside, diameter_px=diameter_px)


def simulate_defect(
    frame: Frame,
    donor: Frame,
    kind: DefectKind,
    rng: np.random.Generator,
    inside: NDArray[np.bool_] | None = None,
    *,
    diameter_px: tuple[float, float] | None = None,
) -> SimulatedDefect:
    """Put one defect into a good frame.

    Args:
        frame: prepared good frame, uint8 `(h, w, 3)`.
        donor: another good frame of the same shape.
        kind: what happens in the region, named as in `FAMILIES` where both know it: a thin or a
            compact mark of another tone, a piece of the same frame in the wrong place, the part
            painted over with its surroundings, a piece of the donor (exchange), another colour,
            blur, or a displacement (warp).
        rng: source of shape, size, strength and place.
        inside: region of interest, bool `(h, w)`; the defect starts inside and is cut at its edge.
        diameter_px: smallest and largest diameter, pixels of the frame; None takes 4 to 40 % of
            its shorter side. Each size between them is as likely on a logarithmic scale.
    """
    centre = _place(frame, inside, rng)
    shares = _DIAMETER if diameter_px is None else np.array(diameter_px) / min(frame.shape[:2])
    diameter = float(np.exp(rng.uniform(*np.log(shares)))) * min(frame.shape[:2])
    shape = _curve if kind == "scratch" else _blob
    mask = shape(frame.shape[:2], centre, diameter, rng)
    if inside is not None:
        mask *= inside
    picture = frame.astype(np.float32)
    region = _Region(picture, donor.astype(np.float32), mask, diameter, rng)
    replacement = _REPLACE[kind](region)
    mask = mask * np.float32(rng.uniform(*_STRENGTH))
    mixed = picture + mask[:, :, None] * (replacement - picture)
    return SimulatedDefect(_to_frame(mixed), mask)


def harmless_change(frame: Frame, kind: HarmlessKind, rng: np.random.Generator) -> Frame:
    """Move the picture by up to 3 pixels, or change light and contrast by up to 5 %."""
    if kind == "shift":
        rows, columns = rng.integers(-_LARGEST_SHIFT, _LARGEST_SHIFT + 1, 2).tolist()
        return _moved(frame, rows, columns).astype(np.uint8)
    gain, offset = rng.uniform(1 - _LIGHT, 1 + _LIGHT), rng.uniform(-_LIGHT, _LIGHT) * 255
    return _to_frame((frame.astype(np.float32) - 128) * gain + 128 + offset)


def _to_frame(picture: FloatImage) -> Frame:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _moved(picture: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """The picture displaced, its border mirrored."""
    height, width = picture.shape[:2]
    down = _mirrored(np.arange(height) - rows, height)
    right = _mirrored(np.arange(width) - columns, width)
    return picture[down][:, right]


def _mirrored(index: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    wrapped = index % (2 * length)
    return np.where(wrapped < length, wrapped, 2 * length - 1 - wrapped)


def _place(
    frame: Frame, inside: NDArray[np.bool_] | None, rng: np.random.Generator
) -> tuple[int, int]:
    """Centre of the defect: mostly where the picture is not plain, so that it hits the part."""
    height, width = frame.shape[:2]
    allowed = np.ones((height, width), np.float64) if inside is None else inside.astype(np.float64)
    weight = allowed
    if rng.random() < _ON_STRUCTURE:
        grey = frame.astype(np.float32).mean(axis=2)
        side = 2 * (min(height, width) // 32) + 1
        detail = cv2.blur(np.abs(grey - cv2.blur(grey, (side, side))), (side, side))
        weight = allowed * np.minimum(detail, np.quantile(detail, 0.9))
        if weight.sum() <= 0:
            weight = allowed
    flat = int(rng.choice(weight.size, p=(weight / weight.sum()).ravel()))
    return flat // width, flat % width


def _blob(
    size_hw: tuple[int, int],
    centre: tuple[int, int],
    diameter: float,
    rng: np.random.Generator,
) -> FloatImage:
    """A compact region of irregular outline, edges one or two pixels soft."""
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32)
    rows, columns = rows - centre[0], columns - centre[1]
    turn, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(-0.7, 0.7))
    along = (columns * np.cos(turn) + rows * np.sin(turn)) / np.sqrt(stretch)
    across = (rows * np.cos(turn) - columns * np.sin(turn)) * np.sqrt(stretch)
    angle = np.arctan2(across, along)
    outline = np.ones_like(angle)
    for wave in range(2, 6):
        outline += rng.uniform(0, 0.5) / wave * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    radius = np.hypot(along, across)
    softness = rng.uniform(1, 3)
    soft: FloatImage = np.clip(0.5 + (outline * diameter / 2 - radius) / softness, 0, 1)
    return soft.astype(np.float32)


def _curve(
    size_hw: tuple[int, int],
    centre: tuple[int, int],
    diameter: float,
    rng: np.random.Generator,
) -> FloatImage:
    """A thin bent line through the centre."""
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.15, 24))
    step = max(diameter, 6.0) / 24
    points = np.stack([np.cumsum(np.cos(angle)), np.cumsum(np.sin(angle))], axis=1) * step
    points += np.array(centre[::-1]) - points[12]
    mask: Frame = np.zeros(size_hw, np.uint8)
    width = int(rng.integers(1, 4))
    fixed = np.rint(points * 16).astype(np.int32)  # cv2 takes sixteenths of a pixel
    cv2.polylines(mask, [fixed], False, 255, width, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / np.float32(255)


def _tone(picture: FloatImage, mask: FloatImage, rng: np.random.Generator) -> FloatImage:
    """A tone that differs from what it covers; grey where the picture is grey."""
    covered = (picture * mask[:, :, None]).sum(axis=(0, 1)) / max(float(mask.sum()), 1e-6)
    change = rng.uniform(30, 120) * (1 if rng.random() < 0.5 else -1)
    tint = 0 if _is_grey(picture) else rng.uniform(-40, 40, 3)
    # Towards the side where there is room: white on white would be no defect.
    if not 0 <= float(covered.mean()) + change <= 255:
        change = -change
    tone: FloatImage = np.clip(covered + change + tint, 0, 255).astype(np.float32)
    return tone


def _is_grey(picture: FloatImage) -> bool:
    return bool((picture[:, :, 0] == picture[:, :, 2]).all())


def _marked(region: _Region) -> FloatImage:
    return np.broadcast_to(_tone(region.picture, region.mask, region.rng), region.picture.shape)


def _pasted(region: _Region) -> FloatImage:
    return _from_elsewhere(region.picture, region.diameter, region.rng)


def _exchanged(region: _Region) -> FloatImage:
    donor = region.donor
    turns = [donor, donor[:, ::-1], donor[::-1], donor[::-1, ::-1]]
    turned = turns[int(region.rng.integers(4))]
    return _from_elsewhere(turned, region.diameter, region.rng)


def _from_elsewhere(picture: FloatImage, diameter: float, rng: np.random.Generator) -> FloatImage:
    angle, reach = rng.uniform(0, 2 * np.pi), diameter * rng.uniform(0.5, 2)
    rows, columns = round(reach * np.sin(angle)), round(reach * np.cos(angle))
    moved: FloatImage = _moved(picture, rows, columns)
    return moved


def _erased(region: _Region) -> FloatImage:
    """The surroundings, smoothed into the region: the part is not there."""
    keep = (1 - region.mask)[:, :, None].repeat(3, axis=2)
    sigma = max(2.0, region.diameter / 3)
    share = cv2.GaussianBlur(keep, (0, 0), sigma)
    filled = cv2.GaussianBlur(region.picture * keep, (0, 0), sigma) / np.maximum(share, 1e-3)
    return filled.astype(np.float32)


def _recoloured(region: _Region) -> FloatImage:
    gain = np.exp(region.rng.uniform(-0.5, 0.5, 1 if _is_grey(region.picture) else 3))
    return (region.picture * gain + region.rng.uniform(-20, 20)).astype(np.float32)


def _blurred(region: _Region) -> FloatImage:
    sigma = float(region.rng.uniform(1.5, 5))
    return cv2.GaussianBlur(region.picture, (0, 0), sigma).astype(np.float32)


def _warped(region: _Region) -> FloatImage:
    """Bent: displaced by up to a fifth of the region, fading towards its edge."""
    smooth = cv2.GaussianBlur(region.mask, (0, 0), max(1.0, region.diameter / 6))
    angle = region.rng.uniform(0, 2 * np.pi)
    reach = max(2.0, region.diameter * region.rng.uniform(0.08, 0.2))
    height, width = region.mask.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    bent = cv2.remap(
        region.picture,
        (columns + reach * np.cos(angle) * smooth).astype(np.float32),
        (rows + reach * np.sin(angle) * smooth).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    return bent.astype(np.float32)


_REPLACE: dict[DefectKind, Callable[[_Region], FloatImage]] = {
    "scratch": _marked,
    "spot": _marked,
    "doubled": _pasted,
    "missing": _erased,
    "exchange": _exchanged,
    "colour": _recoloured,
    "blur": _blurred,
    "warp": _warped,
}
