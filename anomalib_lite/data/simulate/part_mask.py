"""Where a defect may lie: the part in the picture, given as a mask or found against its ground."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.frames import Frame

Mask = NDArray[np.bool_]

_LONGEST = 160  # pixels; a part is found in a small copy
_SHARE = (0.03, 0.92)  # of the picture, for something to be a part on a ground
_MOST_BORDER = 0.35  # share of the picture's border that a part may touch
_LEAST_CONTRAST = 24.0  # grey levels between part and ground
_LARGEST_SHARE, _LEAST_SOLID = 0.8, 0.4


class Part:
    """The pixels that a defect may change.

    Args:
        mask: bool `(H, W)`; at least one pixel.

    Attributes:
        mask: as given.
        bounded: whether something of the picture is not the part.

    Raises:
        SettingsError: the mask is empty.
    """

    def __init__(self, mask: Mask) -> None:
        if not mask.any():
            raise SettingsError("the object mask is empty; give one that covers the part")
        self.mask = mask
        self.bounded = not bool(mask.all())

    @cached_property
    def depth(self) -> NDArray[np.float32]:
        """About how far each pixel is from what is not the part, the picture's border included."""
        framed = cv2.copyMakeBorder(self.mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
        return np.asarray(cv2.distanceTransform(framed, cv2.DIST_L2, 3)[1:-1, 1:-1], np.float32)

    @cached_property
    def extent_hw(self) -> tuple[int, int]:
        """Height and width of the part's bounding box."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)

    @cached_property
    def side(self) -> float:
        """Side of a square of the part's area, pixels."""
        return float(np.sqrt(np.count_nonzero(self.mask)))

    @cached_property
    def rim(self) -> NDArray[np.int64]:
        """Flat indices of pixels of the part that touch what is not the part."""
        inner = cv2.erode(
            self.mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1
        ).astype(bool)
        return np.flatnonzero(self.mask & ~inner)

    def places(self, radius: float) -> NDArray[np.int64]:
        """Flat indices of pixels at least `radius` inside; all of the part where none is."""
        deep = np.flatnonzero(self.depth >= radius)
        return deep if len(deep) else np.flatnonzero(self.mask)

    def holds(self, cover: NDArray[np.float32], row: int, column: int) -> bool:
        """Whether a shape around a pixel lies wholly on the part."""
        top, left = row - cover.shape[0] // 2, column - cover.shape[1] // 2
        rows, columns = np.nonzero(cover)
        rows, columns = rows + top, columns + left
        height, width = self.mask.shape
        if rows.min() < 0 or columns.min() < 0 or rows.max() >= height or columns.max() >= width:
            return False
        return bool(self.mask[rows, columns].all())


def given_part(mask: Frame, size_hw: tuple[int, int], name: str = "object mask") -> Part:
    """A part from a picture that is not black where it lies.

    Raises:
        SettingsError: of another size than the frames, or empty.
    """
    flat = mask.max(axis=2) if mask.ndim == 3 else mask
    if flat.shape != size_hw:
        raise SettingsError(
            f"{name}: is {flat.shape[0]}x{flat.shape[1]}, the images are "
            f"{size_hw[0]}x{size_hw[1]}; give a mask of their size"
        )
    return Part(flat > 0)


def find_part(frame: Frame) -> Part | None:
    """The part on a plain ground; None where the part fills the picture, or nothing stands out.

    The ground is what the border of the picture shows; the part is what differs from it by more
    than Otsu's threshold, holes filled.
    """
    grey = _small(frame)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ground = np.rint(np.median(border, axis=0)).astype(np.uint8)
    levels = np.zeros(grey.shape[:2], np.uint8)
    for channel, level in enumerate(ground.tolist()):
        levels = np.maximum(levels, cv2.absdiff(grey[:, :, channel], np.full_like(levels, level)))
    threshold, found = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    found = cv2.morphologyEx(cv2.morphologyEx(found, cv2.MORPH_OPEN, disc), cv2.MORPH_CLOSE, disc)
    outlines, _ = cv2.findContours(found, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(found)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    edge = np.concatenate([filled[0], filled[-1], filled[:, 0], filled[:, -1]])
    if not _SHARE[0] < filled.mean() < _SHARE[1] or edge.mean() > _MOST_BORDER:
        return None
    apart = cv2.mean(levels, filled)[0] - cv2.mean(levels, 1 - filled)[0]
    if threshold < _LEAST_CONTRAST / 2 or apart < _LEAST_CONTRAST:
        return None
    if not _is_one_thing([np.asarray(outline) for outline in outlines]):
        return None
    whole = cv2.resize(filled, frame.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return Part(whole > 0)


def _is_one_thing(outlines: Sequence[NDArray[Any]]) -> bool:
    """Whether the largest outline holds most of what was found, and is no mere thread."""
    areas = [cv2.contourArea(outline) for outline in outlines]
    largest = outlines[int(np.argmax(areas))]
    hull = cv2.contourArea(cv2.convexHull(largest))
    return max(areas) >= _LARGEST_SHARE * sum(areas) and max(areas) >= _LEAST_SOLID * hull


def whole_picture(size_hw: tuple[int, int]) -> Part:
    """Every pixel."""
    return Part(np.ones(size_hw, bool))


def _small(frame: Frame) -> NDArray[np.uint8]:
    """A small 8-bit copy `(h, w, C)`, blurred a little against grain."""
    picture = (frame >> 8).astype(np.uint8) if frame.dtype == np.uint16 else frame
    picture = picture[:, :, :3] if picture.ndim == 3 else picture
    shrink = -(-max(picture.shape[:2]) // _LONGEST)  # whole pixels are averaged: four times faster
    size = tuple(max(1, side // shrink) for side in picture.shape[1::-1])
    small = cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (3, 3), 0)
    return np.asarray(small.reshape(*small.shape[:2], -1), np.uint8)
