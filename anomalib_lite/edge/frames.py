"""Decoding: bytes or a file -> one frame in RGB order, or a clear `FrameError`.

A frame is `uint8` or `uint16`, `(H, W)` when grey, `(H, W, 3)` RGB or `(H, W, 4)` RGBA.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.errors import FrameError

Frame: TypeAlias = NDArray[Any]
Exif: TypeAlias = Literal["apply", "ignore"]

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".jpeg", ".jpg", ".png", ".pgm", ".ppm", ".tif", ".tiff", ".webp"}
)

_JPEG = b"\xff\xd8"
_PNG = b"\x89PNG\r\n\x1a\n"
_ORIENTATION_MARKS = (b"eXIf", b"EXIF", b"Exif")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

cv2.utils.logging.setLogLevel(
    cv2.utils.logging.LOG_LEVEL_SILENT
)  # a broken file is reported once, by us, as a FrameError


def read_frame(path: str | Path, *, exif: Exif = "apply") -> Frame:
    """Decode an image file.

    Args:
        path: image file.
        exif: `"apply"` turns the picture upright as its EXIF tag says, `"ignore"` leaves the
            pixels as stored.

    Raises:
        FrameError: the file is missing, empty, truncated, not an image, or of a kind (CMYK,
            floating point) that has no agreed meaning as a frame.
    """
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FrameError(f"{path}: cannot be read ({reason})") from error
    return decode_frame(data, exif=exif, name=str(path))


def decode_frame(data: bytes, *, exif: Exif = "apply", name: str = "frame") -> Frame:
    """Decode encoded image bytes; arguments and errors as for `read_frame`."""
    if not data:
        raise FrameError(f"{name}: the file is empty (0 bytes)")
    if data.startswith(_JPEG):
        _check_jpeg(data, name)
        flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
        if exif == "ignore":
            flags |= cv2.IMREAD_IGNORE_ORIENTATION
        return _as_rgb(_imdecode(data, flags, name), name)
    if data.startswith(_PNG):
        _check_png(data, name)
    frame = _as_rgb(_imdecode(data, cv2.IMREAD_UNCHANGED, name), name)
    if exif == "apply" and any(mark in data for mark in _ORIENTATION_MARKS):
        frame = _upright(data, frame, name)
    return frame


def _imdecode(data: bytes, flags: int, name: str) -> Frame:
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise FrameError(f"{name}: cannot be decoded ({error.err})") from error
    if decoded is None:
        raise FrameError(f"{name}: not a readable image (truncated, corrupt or not an image)")
    if decoded.dtype not in (np.uint8, np.uint16):
        raise FrameError(
            f"{name}: pixels are {decoded.dtype}, expected 8- or 16-bit integers; "
            "convert the image first"
        )
    return decoded


def _as_rgb(frame: Frame, name: str) -> Frame:
    if frame.ndim == 2:
        return frame
    channels = frame.shape[2]
    if channels == 1:
        return frame[:, :, 0]
    if channels == 3:
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    if channels == 4:
        return cv2.cvtColor(frame, cv2.COLOR_BGRA2RGBA)
    raise FrameError(f"{name}: has {channels} channels, expected 1 (grey), 3 (RGB) or 4 (RGBA)")


def _upright(data: bytes, frame: Frame, name: str) -> Frame:
    """Apply an EXIF orientation to a format whose plain decoding ignores it."""
    turned = _as_rgb(_imdecode(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH, name), name)
    if frame.ndim == 3 and frame.shape[2] == 4:
        if np.array_equal(turned, frame[:, :, : turned.shape[2] if turned.ndim == 3 else 1]):
            return frame
        if int(frame[:, :, 3].min()) < np.iinfo(frame.dtype).max:
            raise FrameError(
                f"{name}: has transparency and an EXIF rotation; save it upright and opaque"
            )
    return turned


def _check_jpeg(data: bytes, name: str) -> None:
    """Refuse CMYK and truncated JPEGs, which decoders may pass on with wrong or grey pixels."""
    position, scan = 2, None
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker in _START_OF_FRAME and position + 10 <= len(data) and data[position + 9] == 4:
            raise FrameError(f"{name}: is a CMYK JPEG; convert it to RGB first")
        if marker == 0xDA:
            scan = position
            break
        position += 2 + length
    if scan is None or data.rfind(b"\xff\xd9") < scan:
        raise FrameError(f"{name}: the JPEG is truncated ({len(data)} bytes, no end marker)")


def _check_png(data: bytes, name: str) -> None:
    """Refuse truncated and damaged PNGs before the decoder complains on stderr."""
    position = len(_PNG)
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        stored = int.from_bytes(data[end - 4 : end], "big")
        critical = kind[:1].isupper()
        if critical and end <= len(data) and zlib.crc32(data[position + 4 : end - 4]) != stored:
            raise FrameError(f"{name}: not a readable image (the PNG is damaged: wrong checksum)")
        if kind == b"IEND" and end <= len(data):
            return
        position = end
    raise FrameError(f"{name}: not a readable image (the PNG is truncated at {len(data)} bytes)")
