"""What the first bytes of a picture say: its format and its size, before anything is decoded."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.pictures import tiff

HEAD_BYTES = 64
Peek: TypeAlias = Callable[[int, int], bytes]
"""`peek(offset, length)` -> so many bytes of the file, fewer at its end."""

_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_RESTARTS = 0xDD
_META_BYTES = 1 << 20
_NO_DECODER = {
    "heif": "HEIF/HEIC",
    "jxl": "JPEG XL",
    "psd": "Photoshop",
}


class Header(NamedTuple):
    """Format and size of a picture file.

    Attributes:
        kind: `jpeg`, `png`, `bmp`, `gif`, `webp`, `tiff`, `jp2`, `j2k`, `avif`, `pnm`, `sun`.
        height, width: pixels, as stored.
        pages: pictures in the file, as far as the header tells; only TIFF has several here.
    """

    kind: str
    height: int
    width: int
    pages: int = 1


def sniff(head: bytes) -> str:
    """The format that the first `HEAD_BYTES` bytes speak of, or an empty string."""
    for start, kind in (
        (b"\xff\xd8", "jpeg"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"GIF87a", "gif"),
        (b"GIF89a", "gif"),
        (b"\xff\x4f\xff\x51", "j2k"),
        (b"\x00\x00\x00\x0cjP  ", "jp2"),
        (b"\x59\xa6\x6a\x95", "sun"),
        (b"\x00\x00\x00\x0cJXL ", "jxl"),
        (b"\xff\x0a", "jxl"),
        (b"8BPS\x00\x01", "psd"),
    ):
        if head.startswith(start):
            return kind
    if head[:4] in tiff.MAGIC:
        return "tiff"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM" and len(head) >= 18 and _u32(head, 14) in _BMP_HEADERS:
        return "bmp"
    if head[4:8] == b"ftyp":
        return _iso_kind(head)
    return "pnm" if re.match(rb"P[1-6]\s+(#[^\n]*\n\s*)*\d|P7\s", head) else ""


def read_header(peek: Peek, name: str) -> Header:
    """Format and size of a picture, reading only what tells it.

    Raises:
        FrameError: it is no picture, its header is damaged, or nobody here can decode it.
    """
    kind = sniff(peek(0, HEAD_BYTES))
    if not kind:
        raise FrameError(f"{name}: not a readable image (truncated, corrupt or not an image)")
    if kind in _NO_DECODER:
        raise FrameError(
            f"{name}: is a {_NO_DECODER[kind]} file, which cannot be decoded here; save it as PNG"
        )
    if kind == "tiff":
        pages = tiff.read_pages(peek, name)
        return Header(kind, pages[0].height, pages[0].width, len(pages))
    try:
        height, width = _SIZES[kind](peek)
    except (struct.error, ValueError, IndexError, StopIteration):
        height = width = 0
    if height <= 0 or width <= 0:
        shown = {"jpeg": "JPEG", "png": "PNG"}.get(kind, kind)
        raise FrameError(
            f"{name}: not a readable image (the {shown} is truncated or damaged: no size)"
        )
    return Header(kind, height, width)


def peek_bytes(data: bytes) -> Peek:
    """`Peek` of a file that is in memory."""
    return lambda offset, length: bytes(data[offset : offset + length])


def may_be_turned(kind: str, data: bytes) -> bool:
    """Whether a picture (no JPEG, no TIFF) carries EXIF data, and so perhaps an orientation."""
    if kind == "png":
        return any(name == b"eXIf" for name, _, _ in png_chunks(data))
    if kind == "webp":
        return any(name == b"EXIF" for name, _, _ in riff_chunks(data))
    return kind in ("avif", "jp2") and (b"Exif" in data or b"EXIF" in data)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end (checksum included) of each chunk of a PNG; the last may be cut."""
    position = 8
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        yield data[position + 4 : position + 8], position, end
        position = end


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the payload of each chunk of a WebP; the last may be cut."""
    position = 12
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        yield data[position : position + 4], position + 8, position + 8 + length
        position += 8 + length + length % 2


def _iso_kind(head: bytes) -> str:
    """AVIF or HEIF by the brands of an ISO media file, or an empty string."""
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(len(head), 64), 4))}
    if brands & {b"avif", b"avis"}:
        return "avif"
    return "heif" if brands & {b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"} else ""


def jpeg_segments(peek: Peek) -> Iterator[tuple[int, int, int]]:
    """Marker, offset of its payload, and payload length, up to the first scan's header."""
    position = 2
    while True:
        mark = peek(position, 4)
        if len(mark) < 4 or mark[0] != 0xFF:
            return
        if mark[1] == 0xFF:
            position += 1
            continue
        if mark[1] == 0x01 or 0xD0 <= mark[1] <= 0xD9:
            return
        length = int.from_bytes(mark[2:4], "big")
        yield mark[1], position + 4, length - 2
        if mark[1] == 0xDA:
            return
        position += 2 + length


def jpeg_components(peek: Peek) -> int:
    """1 of a grey JPEG, 3 of one in colour; 0 where its frame header is not there."""
    start = next((at for marker, at, _ in jpeg_segments(peek) if marker in _START_OF_FRAME), None)
    return 0 if start is None else int.from_bytes(peek(start + 5, 1), "big")


def jpeg_restarts(peek: Peek) -> bool:
    """Whether a JPEG announces restart markers before its first scan."""
    return any(marker == _RESTARTS for marker, _, _ in jpeg_segments(peek))


def _jpeg(peek: Peek) -> tuple[int, int]:
    start = next(at for marker, at, _ in jpeg_segments(peek) if marker in _START_OF_FRAME)
    height, width = struct.unpack(">HH", peek(start + 1, 4))
    return height, width


def _png(peek: Peek) -> tuple[int, int]:
    width, height = struct.unpack(">II", peek(16, 8))
    return height, width


def _bmp(peek: Peek) -> tuple[int, int]:
    form = "<HH" if _u32(peek(14, 4), 0) == 12 else "<ii"
    width, height = struct.unpack(form, peek(18, struct.calcsize(form)))
    return abs(height), width


def _gif(peek: Peek) -> tuple[int, int]:
    width, height = struct.unpack("<HH", peek(6, 4))
    return height, width


def _webp(peek: Peek) -> tuple[int, int]:
    head = peek(12, 18)
    if head[:4] == b"VP8X":
        return _u24(head, 15) + 1, _u24(head, 12) + 1
    if head[:4] == b"VP8L":
        bits = _u32(head, 9)
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    width, height = struct.unpack("<HH", head[14:18])
    return height & 0x3FFF, width & 0x3FFF


def _j2k(peek: Peek, start: int = 0) -> tuple[int, int]:
    if peek(start, 4) != b"\xff\x4f\xff\x51":
        raise ValueError("no codestream")
    right, bottom, left, top = struct.unpack(">IIII", peek(start + 8, 16))
    return bottom - top, right - left


def _jp2(peek: Peek) -> tuple[int, int]:
    position = 0
    while True:
        length, kind = struct.unpack(">I4s", peek(position, 8))
        header = 8
        if length == 1:
            length, header = struct.unpack(">Q", peek(position + 8, 8))[0], 16
        if kind == b"jp2c":
            return _j2k(peek, position + header)
        if length < header:
            raise ValueError("no codestream")
        position += length


def _avif(peek: Peek) -> tuple[int, int]:
    """The largest picture described: tiles and thumbnails are smaller."""
    meta = peek(0, _META_BYTES)
    sizes = [struct.unpack(">II", found) for found in re.findall(rb"ispe.{4}(.{8})", meta, re.S)]
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return height, width


def _pnm(peek: Peek) -> tuple[int, int]:
    head = peek(0, 4096)
    if head.startswith(b"P7"):
        fields = dict(re.findall(rb"^(WIDTH|HEIGHT)\s+(\d+)", head, re.MULTILINE))
        return int(fields.get(b"HEIGHT", 0)), int(fields.get(b"WIDTH", 0))
    width, height = re.findall(rb"\s(\d+)", re.sub(rb"#[^\n]*", b"", head))[:2]
    return int(height), int(width)


def _sun(peek: Peek) -> tuple[int, int]:
    width, height = struct.unpack(">II", peek(4, 8))
    return height, width


def _u24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


_SIZES: dict[str, Callable[[Peek], tuple[int, int]]] = {
    "jpeg": _jpeg,
    "png": _png,
    "bmp": _bmp,
    "gif": _gif,
    "webp": _webp,
    "j2k": _j2k,
    "jp2": _jp2,
    "avif": _avif,
    "pnm": _pnm,
    "sun": _sun,
}
