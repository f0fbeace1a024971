"""One defect of a family put into one good frame, with its exact mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.simulate.draem import MOST_SEE_THROUGH
from anomalib_lite.data.simulate.effects import FloatImage, Window
from anomalib_lite.data.simulate.families import Family, family_named
from anomalib_lite.data.simulate.part_mask import Part, whole_picture
from anomalib_lite.data.simulate.perlin import perlin_masks
from anomalib_lite.data.simulate.texture_operations import change_texture
from anomalib_lite.data.simulate.textures import TextureBank
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.frames import Frame

_TRIES_TO_PLACE = 60
_TRIES_TO_CHANGE = 6
_LEVELS_OF_16_BITS = np.float32(257)


@dataclass(frozen=True, kw_only=True)
class DefectRequest:
    """What to make.

    Attributes:
        kind: name of a family.
        size: pixels of the frame; what it measures is said by the family.
        contrast: grey levels of 255; None is as strong as the picture itself makes it, which only
            families whose contrast is a limit can do.
        width: pixels, of scratches, cracks and scars; None takes the family's proportion.
        place: (row, column) of the middle; None draws one on the part.

    Raises:
        SettingsError: no such family; a number out of range.
    """

    kind: str
    size: float
    contrast: float | None = None
    width: float | None = None
    place: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        family = family_named(self.kind)
        if not (np.isfinite(self.size) and self.size >= 1):
            raise SettingsError(f"size {self.size:g}: choose at least 1 pixel")
        if self.contrast is not None and not 1 <= self.contrast <= 255:
            raise SettingsError(f"contrast {self.contrast:g}: choose 1 to 255 grey levels")
        if self.contrast is None and not family.limit:
            raise SettingsError(f"a {self.kind} needs a contrast, 1 to 255 grey levels")
        if self.width is None:
            return
        if not family.slenderness:
            raise SettingsError(f"a {self.kind} has no width of its own; give its size only")
        if not 1 <= self.width <= self.size:
            raise SettingsError(f"width {self.width:g}: choose 1 pixel to the size, {self.size:g}")

    @property
    def thickness(self) -> float:
        """The width asked for, or that of the family's proportion, at least 1 pixel."""
        if self.width is not None:
            return self.width
        return max(1.0, self.size / (family_named(self.kind).slenderness or 1.0))


@dataclass(frozen=True, eq=False)
class MadeDefect:
    """One defect.

    Attributes:
        frame: of the kind of the good frame, which is not changed.
        mask: pixels that the defect covers, bool `(H, W)`; all others are as they were.
        place: (row, column) of its middle.
        change: largest change of a channel, grey levels of 255.
    """

    frame: Frame
    mask: NDArray[np.bool_]
    place: tuple[int, int]
    change: float


def put_defect(
    frame: Frame,
    request: DefectRequest,
    rng: np.random.Generator,
    *,
    part: Part | None = None,
    textures: TextureBank | None = None,
) -> MadeDefect:
    """Put one defect into a good frame, wholly on the part.

    Args:
        frame: good frame as decoded: `uint8` or `uint16`, `(H, W)` or `(H, W, 1|3|4)`.
        request: what to make.
        rng: shape, and what else is left open; the same state gives the same bytes.
        part: where it may lie; None is the whole picture.
        textures: what foreign bodies are made of.

    Raises:
        SettingsError: it does not fit the part, or would change nothing anywhere.
    """
    family, part = family_named(request.kind), part or whole_picture(frame.shape[:2])
    if part.mask.shape != frame.shape[:2]:
        raise SettingsError(f"the part is {part.mask.shape}, the frame {frame.shape[:2]}")
    if family.on_rim and not len(part.rim):
        raise SettingsError(
            f"a {family.name} lies on the edge of the part, which fills the picture; give an "
            "object mask"
        )
    for _ in range(_TRIES_TO_CHANGE):
        cover, place = _placed(family, request, part, rng)
        made = _changed(frame, family, request, rng, part, textures, cover, place)
        if made is not None:
            return made
    raise SettingsError(f"a {family.name} changes nothing here: the picture is plain")


def _placed(
    family: Family, request: DefectRequest, part: Part, rng: np.random.Generator
) -> tuple[FloatImage, tuple[int, int]]:
    """A shape, and a place where it lies on the part."""
    wide = family.slenderness > 0
    reach = request.thickness if wide else request.size
    if request.size > np.hypot(*part.extent_hw):
        raise _too_large(request, part)
    places = part.rim if family.on_rim else part.places(reach / 2)
    width = part.mask.shape[1]
    for _ in range(_TRIES_TO_PLACE):
        cover = family.outline(rng, request.size, request.thickness)
        row, column = request.place or divmod(int(places[rng.integers(len(places))]), width)
        if not (0 <= row < part.mask.shape[0] and 0 <= column < width) or (
            not part.mask[row, column]
        ):
            raise SettingsError(f"place ({row}, {column}) is not on the part; choose another")
        if family.on_rim:
            return cover, (row, column)
        if part.holds(cover, row, column):
            return cover, (row, column)
    raise _too_large(request, part)


def _too_large(request: DefectRequest, part: Part) -> SettingsError:
    where = f" at {request.place}" if request.place else ""
    return SettingsError(
        f"a {request.kind} of {request.size:g} pixels finds no room{where} on the part, which is "
        f"{part.extent_hw[0]}x{part.extent_hw[1]}; choose a smaller size"
    )


def _changed(
    frame: Frame,
    family: Family,
    request: DefectRequest,
    rng: np.random.Generator,
    part: Part,
    textures: TextureBank | None,
    cover: FloatImage,
    place: tuple[int, int],
) -> MadeDefect | None:
    """The frame with that cover at that place; None where no pixel is another."""
    margin = int(np.ceil(family.margin * request.size)) + (2 if family.margin else 0)
    if margin:
        cover = np.pad(cover, margin)
    rows, columns, cover = _clipped(cover, place, frame.shape[:2])
    on_part = part.mask[rows, columns]
    cover = np.where(on_part, cover, np.float32(0))
    if not cover.any():
        return None
    before = _levels(frame[rows, columns])
    shape = cover.shape

    def elsewhere() -> FloatImage:
        top, left = _other_place(rng, frame.shape[:2], shape, part, (rows.start, columns.start))
        return _levels(frame[top : top + shape[0], left : left + shape[1]])

    window = Window(
        before, cover, on_part, request.size, request.contrast, elsewhere, textures, rng
    )
    after = np.clip(family.effect(window), 0, 255)
    changed = frame.copy()
    mask = np.zeros(frame.shape[:2], bool)
    mask[rows, columns] = cover > 0
    _write(changed[rows, columns], cover > 0, after[cover > 0])
    change = float(np.abs(_levels(changed[rows, columns]) - before).max())
    return MadeDefect(changed, mask, place, change) if change else None


def put_texture(
    frame: Frame,
    rng: np.random.Generator,
    textures: TextureBank,
    *,
    part: Part | None = None,
) -> MadeDefect:
    """A texture under one of DRAEM's Perlin masks, cut to the part; the picture is not turned.

    Args:
        frame: as for `put_defect`.
        rng: the same state gives the same bytes.
        textures: of the frame's size.
        part: where it may lie; None is the whole picture.

    Raises:
        SettingsError: no mask of many touches the part.
    """
    part = part or whole_picture(frame.shape[:2])
    before = _levels(frame)
    for _ in range(_TRIES_TO_PLACE):
        mask = perlin_masks(rng, 1, (frame.shape[0], frame.shape[1]))[0] & part.mask
        texture = change_texture(rng, textures.draw(rng)).astype(np.float32)
        if before.shape[2] == 1:
            texture = texture.mean(axis=2, keepdims=True)
        if not mask.any():
            continue
        changed = frame.copy()
        see_through = np.float32(rng.uniform(0, MOST_SEE_THROUGH))
        _write(changed, mask, texture[mask] * (1 - see_through) + before[mask] * see_through)
        change = float(np.abs(_levels(changed)[mask] - before[mask]).max())
        if change:
            rows, columns = np.nonzero(mask)
            middle = (int(rows.mean()), int(columns.mean()))
            return MadeDefect(changed, mask, middle, change)
    raise SettingsError("none of many Perlin masks lies on the part; give a larger object mask")


def _clipped(
    cover: FloatImage, place: tuple[int, int], size_hw: tuple[int, ...]
) -> tuple[slice, slice, FloatImage]:
    """The window of a cover in the frame, and what of the cover lies in it."""
    spans, cuts = [], []
    for middle, side, length in zip(place, cover.shape, size_hw, strict=True):
        first = middle - side // 2
        low, high = max(first, 0), min(first + side, length)
        spans.append(slice(low, high))
        cuts.append(slice(low - first, high - first))
    return spans[0], spans[1], cover[cuts[0], cuts[1]]


def _other_place(
    rng: np.random.Generator,
    size_hw: tuple[int, ...],
    shape: tuple[int, ...],
    part: Part,
    own: tuple[int, int],
) -> tuple[int, int]:
    """Top left of a window of that shape around another place of the part, far from the own."""
    best, farthest = own, -1.0
    inside = np.flatnonzero(part.mask)
    for _ in range(4):
        row, column = divmod(int(inside[rng.integers(len(inside))]), part.mask.shape[1])
        top = min(max(row - shape[0] // 2, 0), size_hw[0] - shape[0])
        left = min(max(column - shape[1] // 2, 0), size_hw[1] - shape[1])
        distance = float(np.hypot(top - own[0], left - own[1]))
        if distance > farthest:
            best, farthest = (top, left), distance
    return best


def _levels(pixels: Frame) -> FloatImage:
    """Grey levels of 255, `(h, w, C)` without alpha."""
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels[:, :, :3]
    levels = pixels.astype(np.float32)
    return levels / _LEVELS_OF_16_BITS if pixels.dtype == np.uint16 else levels


def _write(frame: Frame, mask: NDArray[np.bool_], levels: FloatImage) -> None:
    """Put levels `(n, C)` where the mask is; alpha stays."""
    scaled = levels * _LEVELS_OF_16_BITS if frame.dtype == np.uint16 else levels
    values = np.rint(scaled).astype(frame.dtype)
    if frame.ndim == 2:
        frame[mask] = values[:, 0]
    else:
        frame[mask, : values.shape[1]] = values
