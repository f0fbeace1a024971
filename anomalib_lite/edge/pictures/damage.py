"""Damage that decoders pass over: lost, unwritten or flipped data, and second pictures.

Decoders fill what is missing with grey or black and go on. Each format is asked here for what it
can tell: structure, checksums, and the marks that lost data leave in the pixels. What a format
cannot tell is said in `docs/sources.md`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.pictures import jpeg_damage, tiff
from anomalib_lite.edge.pictures.header import Header, png_chunks, riff_chunks

_ZERO_TAIL_BYTES = 64
_ELSEWHERE = 0.01
_RAW_TIFF = 1
_DEFLATED_TIFF = frozenset({8, 32946})
_INFLATED_AT_ONCE = 1 << 20
_BYTES_PER_PIXEL = 8
_FILLS = ((0, "zero", 1 / 8), (0xFF, "0xFF", 1 / 4))


def check_file(header: Header, data: bytes, name: str) -> None:
    """Refuse a damaged file, or one of several pictures, before it is decoded.

    Raises:
        FrameError: with what is wrong.
    """
    check = _CHECKS.get(header.kind)
    if check is not None:
        check(data, name)


def check_pixels(header: Header, data: bytes, frame: NDArray[Any], name: str) -> None:
    """Refuse a picture whose decoded pixels carry the marks of lost data.

    Raises:
        FrameError: with what is wrong.
    """
    if header.kind == "jpeg":
        jpeg_damage.check_pixels(data, frame, name)
    elif header.kind == "bmp":
        # The last bytes of a BMP are its first row, unless its height is negative.
        upside_down = int.from_bytes(data[22:26], "little", signed=True) > 0
        _check_unwritten_tail(frame[::-1] if upside_down else frame, name)
    elif header.kind == "pnm":
        _check_unwritten_tail(frame, name)


def check_tiff(page: tiff.Page, data: bytes, name: str) -> None:
    """Refuse a TIFF page whose strips or tiles are not all there.

    Raises:
        FrameError: with what is wrong.
    """
    if not page.pieces:
        raise FrameError(f"{name}: not a readable image (the TIFF names no pixels)")
    for offset, length in page.pieces:
        if offset <= 0 or length <= 0 or offset + length > len(data):
            raise FrameError(
                f"{name}: the TIFF is truncated or still being written "
                f"(pixels at {offset} + {length} of {len(data)} bytes)"
            )
        if page.compression != _RAW_TIFF and _ends_in_zeros(data[offset : offset + length]):
            raise FrameError(
                f"{name}: the TIFF is damaged or still being written (compressed pixels at "
                f"{offset} end in zero bytes)"
            )
    if page.compression in _DEFLATED_TIFF:
        _check_inflated(page, data, name)


def _check_inflated(page: tiff.Page, data: bytes, name: str) -> None:
    """Each deflated strip or tile ends in a checksum, which the decoder does not read."""
    left = page.height * page.width * _BYTES_PER_PIXEL + len(page.pieces) * _INFLATED_AT_ONCE
    for offset, length in page.pieces:
        inflating = zlib.decompressobj()
        rest = data[offset : offset + length]
        try:
            while rest and not inflating.eof and left > 0:
                found = inflating.decompress(rest, _INFLATED_AT_ONCE)
                rest, left = inflating.unconsumed_tail, left - len(found)
                if not found:
                    break
        except zlib.error as error:
            raise FrameError(
                f"{name}: the TIFF is damaged (compressed pixels at {offset}: "
                f"{str(error).rpartition(': ')[2]})"
            ) from error


def check_raw_tail(page: tiff.Page, frame: NDArray[Any], name: str) -> None:
    """Refuse an uncompressed TIFF whose last rows were never written.

    Raises:
        FrameError: with how much is missing.
    """
    if page.compression == _RAW_TIFF:
        _check_unwritten_tail(frame, name)


def _check_unwritten_tail(frame: NDArray[Any], name: str) -> None:
    """Rows of one fill byte at the end of the file, where it hardly occurs in the rows before."""
    for fill, said, least in _FILLS:
        value = fill * (np.iinfo(frame.dtype).max // 0xFF)
        if (frame[-1] != value).any():
            continue
        rows = frame.reshape(len(frame), -1)
        written = int(np.flatnonzero((rows != value).any(axis=1)).max(initial=-1)) + 1
        empty = len(rows) - written
        if not written or empty < least * len(rows):
            continue
        # A picture on a black or white ground is so above as well.
        if float((rows[:written] == value).mean()) < _ELSEWHERE:
            raise FrameError(
                f"{name}: the last {empty / len(rows):.0%} of the pixels are {said} bytes; the "
                "file is damaged or still being written (write it under another name, then rename "
                "it; PNG proves itself whole)"
            )


def _ends_in_zeros(data: bytes, least: int = _ZERO_TAIL_BYTES) -> bool:
    return len(data) > least and not data[-least:].strip(b"\0")


def check_png(data: bytes, name: str) -> None:
    """Refuse truncated, damaged and animated PNGs, before the decoder complains on stderr."""
    for kind, start, end in png_chunks(data):
        stored = int.from_bytes(data[end - 4 : end], "big")
        critical = kind[:1].isupper()
        # A view: a copy of each chunk would cost as much as its checksum.
        body = memoryview(data)[start + 4 : end - 4]
        if critical and end <= len(data) and zlib.crc32(body) != stored:
            raise FrameError(f"{name}: not a readable image (the PNG is damaged: wrong checksum)")
        pictures = int.from_bytes(data[start + 8 : start + 12], "big") if kind == b"acTL" else 1
        if pictures > 1:
            raise _several(name, pictures, "PNG")
        if kind == b"IEND" and end <= len(data):
            return
    raise FrameError(f"{name}: not a readable image (the PNG is truncated at {len(data)} bytes)")


def _check_webp(data: bytes, name: str) -> None:
    announced = int.from_bytes(data[4:8], "little") + 8
    if len(data) < announced:
        raise FrameError(
            f"{name}: not a readable image (the WebP is truncated: {len(data)} of {announced} "
            "bytes)"
        )
    pictures = 0
    for kind, start, end in riff_chunks(data):
        pictures += kind in (b"ANMF", b"VP8 ", b"VP8L")
        if kind in (b"VP8 ", b"VP8L", b"ALPH") and _ends_in_zeros(data[start:end]):
            raise FrameError(
                f"{name}: the WebP is damaged or still being written (its pixels end in zero bytes)"
            )
    if pictures > 1:
        raise _several(name, pictures, "WebP")


def _check_gif(data: bytes, name: str) -> None:
    pictures = _gif_pictures(data)
    if pictures > 1:
        raise _several(name, pictures, "GIF")


def _gif_pictures(data: bytes) -> int:
    """Image blocks of a GIF, as far as its blocks can be followed."""

    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    def after_blocks(at: int) -> int:
        while at < len(data) and data[at]:
            at += data[at] + 1
        return at + 1

    pictures, at = 0, 13 + table(data[10] if len(data) > 10 else 0)
    while at + 10 <= len(data):
        if data[at] == 0x21:
            at = after_blocks(at + 2)
        elif data[at] == 0x2C:
            pictures += 1
            at = after_blocks(at + 11 + table(data[at + 9]))
        else:
            break
    return pictures


def _check_avif(data: bytes, name: str) -> None:
    if b"avis" in data[8:64]:
        raise _several(name, 0, "AVIF")


def _check_codestream(data: bytes, name: str) -> None:
    if not data.rstrip(b"\0").endswith(b"\xff\xd9") or _ends_in_zeros(data):
        raise FrameError(
            f"{name}: the JPEG 2000 file is truncated or still being written (no end marker)"
        )


def _check_pnm(data: bytes, name: str) -> None:
    """A second picture may follow the first (PNM allows it)."""
    head = re.match(rb"P([56])\s+(?:#[^\n]*\n\s*)*(\d+)\s+(\d+)\s+(\d+)\s", data[:4096])
    if head is None:
        return
    colour, width, height, most = (int(group) for group in head.groups())
    size = width * height * (3 if colour == 6 else 1) * (2 if most > 255 else 1)
    rest = data[head.end() + size :].lstrip()
    if re.match(rb"P[1-7]\s", rest[:4]):
        raise _several(name, 0, "PNM")


def _several(name: str, pictures: int, kind: str) -> FrameError:
    count = f"{pictures} pictures" if pictures > 1 else "several pictures"
    return FrameError(
        f"{name}: the {kind} holds {count}, expected one; save each as a file of its own"
    )


_CHECKS: dict[str, Callable[[bytes, str], None]] = {
    "jpeg": jpeg_damage.check_file,
    "png": check_png,
    "webp": _check_webp,
    "gif": _check_gif,
    "avif": _check_avif,
    "jp2": _check_codestream,
    "j2k": _check_codestream,
    "pnm": _check_pnm,
}
