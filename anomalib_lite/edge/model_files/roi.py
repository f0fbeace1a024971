"""The region of interest as text inside a description: one bit a pixel, zipped."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.model_files.arrays_in_text import inflate


def pack_roi(roi: NDArray[np.bool_]) -> str:
    """A region `(height, width)` as text."""
    packed = zlib.compress(np.packbits(roi).tobytes(), 9)
    return base64.b64encode(packed).decode("ascii")


def check_mask_channels(mask: NDArray[Any]) -> None:
    """Raise `SettingsError` for a mask whose transparency says something: what, is not clear."""
    if mask.ndim == 3 and mask.shape[2] == 4 and mask[:, :, 3].min() != mask[:, :, 3].max():
        raise SettingsError(
            "the mask of the region of interest is partly transparent, so what it keeps is not "
            "clear; save it in black and white, without transparency"
        )


def faint_pixels(mask: NDArray[Any]) -> int:
    """Number of pixels that count as inside but are nearly black, as JPEG leaves them at edges."""
    inside = mask if mask.ndim == 2 else mask[:, :, :3].max(axis=2)
    return int(np.count_nonzero((inside > 0) & (inside < inside.max() / 8)))


def unpack_roi(text: str, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The region of a text of `pack_roi`; raises `ValueError` unless it is one of that size."""
    pixels = size_hw[0] * size_hw[1]
    size = -(-pixels // 8)
    try:
        packed = inflate(text, size)
    except ValueError as error:
        raise ValueError(f"region of interest: {error}") from error
    if len(packed) != size:
        raise ValueError(f"region of interest has {len(packed)} bytes, expected {size}")
    inside = np.unpackbits(np.frombuffer(packed, np.uint8))[:pixels].astype(bool)
    return inside.reshape(size_hw)
