"""The region of interest as text inside a description: one bit a pixel, zipped."""

from __future__ import annotations

import base64
import zlib

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.model_files.arrays_in_text import inflate


def pack_roi(roi: NDArray[np.bool_]) -> str:
    """A region `(height, width)` as text."""
    packed = zlib.compress(np.packbits(roi).tobytes(), 9)
    return base64.b64encode(packed).decode("ascii")


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
