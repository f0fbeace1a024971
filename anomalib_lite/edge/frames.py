"""Decoding: bytes or a file -> one frame in RGB order, or a clear `FrameError`.

A frame is `uint8` or `uint16`, `(H, W)` when grey, `(H, W, 3)` RGB or `(H, W, 4)` RGBA.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.pictures import damage as picture_damage
from anomalib_lite.edge.pictures import tiff
from anomalib_lite.edge.pictures.file import (
    check_pixels,
    read_picture,
)
from anomalib_lite.edge.pictures.header import (
    Header,
    jpeg_components,
    may_be_turned,
    peek_bytes,
    read_header,
)

Frame: TypeAlias = NDArray[Any]
Exif: TypeAlias = Literal["apply", "ignore"]


def read_frame(
    path: str | Path,
    *,
    exif: Exif = "apply",
    page: int | None = None,
    max_megapixels: float | None = None,
) -> Frame:
    """Decode an image file.

    Args:
        path: image file; `stack.tif#2` is the second page of `stack.tif`.
        exif: `"apply"` turns the picture upright as its EXIF or TIFF tag says, `"ignore"` leaves
            the pixels as stored.
        page: which picture of a multi-page TIFF, from 0.
        max_megapixels: larger pictures are refused before they are decoded; None takes the
            process's limit, 100 unless it was changed.

    Raises:
        FrameError: the file is missing, empty, truncated, damaged, too large, not a regular file,
            not an image, or of a kind (CMYK, floating point, several pictures in one file) that
            has no agreed meaning as a frame.
    """
    name, paged = str(path), re.fullmatch(r"(.+)#([1-9]\d{0,5})", str(path))
    if paged and page is None and not os.path.lexists(name):
        path, page = paged[1], int(paged[2]) - 1
    data = read_picture(path, max_megapixels=max_megapixels, name=name)
    return decode_frame(data, exif=exif, name=name, page=page, max_megapixels=max_megapixels)


def decode_frame(
    data: bytes,
    *,
    exif: Exif = "apply",
    name: str = "frame",
    page: int | None = None,
    max_megapixels: float | None = None,
) -> Frame:
    """Decode encoded image bytes; arguments and errors as for `read_frame`."""
    if not data:
        raise FrameError(f"{name}: the file is empty (0 bytes)")
    header = read_header(peek_bytes(data), name)
    check_pixels(header, max_megapixels, name)
    if header.kind == "tiff":
        return _decode_tiff(data, exif, name, page, max_megapixels)
    if page:
        raise FrameError(f"{name}: has no page {page + 1}")
    picture_damage.check_file(header, data, name)
    if header.kind == "jpeg":
        # In the frame's order from the start: turning it costs a tenth of decoding.
        grey = jpeg_components(peek_bytes(data)) == 1
        flags = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR_RGB
        if exif == "ignore":
            flags |= cv2.IMREAD_IGNORE_ORIENTATION
        frame = _imdecode(data, flags, name)
    else:
        frame = _as_rgb(_imdecode(data, cv2.IMREAD_UNCHANGED, name), name)
        if exif == "apply" and may_be_turned(header.kind, data):
            frame = _upright(data, frame, name)
    picture_damage.check_pixels(header, data, frame, name)
    return frame


def _decode_tiff(
    data: bytes, exif: Exif, name: str, page: int | None, max_megapixels: float | None
) -> Frame:
    pages = tiff.read_pages(peek_bytes(data), name)
    if page is None and len(pages) > 1:
        raise FrameError(
            f"{name}: holds {len(pages)} pictures, expected one; name one ({name}#1), or read it "
            "as a folder's or a source's file, which gives a frame for each"
        )
    if (page or 0) >= len(pages):
        raise FrameError(f"{name}: has {len(pages)} pages, no page {(page or 0) + 1}")
    chosen = pages[page or 0]
    check_pixels(Header("tiff", chosen.height, chosen.width), max_megapixels, name)
    picture_damage.check_tiff(chosen, data, name)
    # The decoder turns by itself, whatever it is told, so it is shown a picture stored upright.
    plain = data if len(pages) == 1 and chosen.orientation == 1 else tiff.single_page(data, chosen)
    frame = _as_rgb(_imdecode(plain, cv2.IMREAD_UNCHANGED, name), name)
    picture_damage.check_raw_tail(chosen, frame, name)
    return turn_upright(frame, chosen.orientation) if exif == "apply" else frame


def turn_upright(frame: Frame, orientation: int) -> Frame:
    """Turn stored pixels upright: EXIF 2.32 and TIFF 6.0, tag 0x0112."""
    if orientation in (5, 6, 7, 8):
        frame = frame.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        frame = frame[::-1]
    if orientation in (2, 3, 6, 7):
        frame = frame[:, ::-1]
    return np.ascontiguousarray(frame)


def _imdecode(data: bytes | bytearray, flags: int, name: str) -> Frame:
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
