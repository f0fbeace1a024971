"""Ground-truth masks: how they are found beside their images, read, and doubted.

A pixel that is not zero is part of a defect, whatever its value: 1, 255 or a class number.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from anomalib_lite.edge.frames import Frame, read_frame

# After the plain stem: MVTec AD (`_mask`), then habits of annotation tools; in any case.
MASK_SUFFIXES = ("", "_mask", "_gt", "_label", "_seg", "_segmentation", "-mask", "-gt", "-label")
MASK_FOLDERS = ("ground_truth", "masks", "mask", "gt", "labels", "label")

_MOST_MARKED = 0.8
_HALF_MARKED = 0.5
_BORDER_MARKED = 0.95
_LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
_HALF_VALUE = 128


def masks_of(stem: str, index: Mapping[str, tuple[Path, ...]]) -> tuple[Path, ...]:
    """Masks of the image `stem`: `<stem>.png`, `<stem>_mask.png`, or the folder `<stem>/`.

    Args:
        stem: the image's name without suffix, or its path below the defect folder.
        index: masks by stem, as `index_masks` gives them.
    """
    for suffix in MASK_SUFFIXES:
        if stem + suffix in index:
            return index[stem + suffix]
    folded = {name.lower(): found for name, found in reversed(list(index.items()))}
    for suffix in MASK_SUFFIXES:
        if stem.lower() + suffix in folded:
            return folded[stem.lower() + suffix]
    return ()


def read_mask_file(path: Path, *, exif: str = "apply") -> Frame:
    """A mask `(H, W)` as stored; of several colour channels the largest value, alpha dropped.

    A JPEG leaves small values around every mark, so only its upper half counts.

    Raises:
        FrameError: it cannot be read.
    """
    return flat_mask(read_frame(path, exif="ignore" if exif == "ignore" else "apply"), path)


def flat_mask(mask: Frame, path: Path) -> Frame:
    """The decoded mask `(H, W)` or `(H, W, C)` as one channel; see `read_mask_file`."""
    if mask.ndim == 3:
        mask = mask[:, :, :3].max(axis=2)
    if path.suffix.lower() in _LOSSY_SUFFIXES:
        return np.where(mask >= _HALF_VALUE, mask, 0)
    return mask


def looks_inverted(mask: Frame) -> str:
    """Why a mask `(H, W)` seems to mark what is good, or an empty string.

    A defect that covers most of the picture, or half of it and the whole border, is rarer than a
    mask in which black and white changed places.
    """
    marked = mask > 0
    share = float(marked.mean())
    border = np.concatenate([marked[0], marked[-1], marked[:, 0], marked[:, -1]])
    if share > _MOST_MARKED or (share > _HALF_MARKED and border.mean() >= _BORDER_MARKED):
        return f"marks {share:.0%} of the picture as defect; black and white may be swapped"
    return ""
