"""The few places where pixels must be read: labels that exist only in masks, and checks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from anomalib_lite.data.masks import read_mask_file
from anomalib_lite.edge.errors import FrameError, SourceError
from anomalib_lite.edge.frames import Frame, decode_frame


def mask_file_marks_defect(path: Path) -> bool:
    """Read a mask and say whether it marks anything.

    Raises:
        SourceError: the mask cannot be read, so the image has no label.
    """
    try:
        return bool(read_mask_file(path, exif="ignore").any())
    except FrameError as error:
        raise SourceError(f"no label without this mask: {error}") from error


def depth_size_hw(data: bytes, name: str) -> tuple[int, int]:
    """Height and width of an encoded depth or xyz image (float TIFF or 16-bit PNG).

    Raises:
        FrameError: the bytes are no image.
    """
    if not data:
        raise FrameError(f"{name}: the file is empty (0 bytes)")
    if not name.lower().endswith((".tif", ".tiff")):
        return size_hw(decode_frame(data, exif="ignore", name=name))
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise FrameError(f"{name}: cannot be decoded ({error.err})") from error
    if decoded is None:
        raise FrameError(f"{name}: not a readable image (truncated, corrupt or not an image)")
    return size_hw(decoded)


def size_hw(frame: Frame) -> tuple[int, int]:
    """Height and width of a decoded image."""
    return int(frame.shape[0]), int(frame.shape[1])
