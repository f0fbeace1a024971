"""The directories of a TIFF file: its pages, their size, orientation and where their data lie.

TIFF 6.0, and BigTIFF. Nothing is decoded here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from anomalib_lite.edge.errors import FrameError

MAGIC = frozenset({b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"})
_MOST_PAGES = 100_000
_MOST_ENTRIES = 4096
_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 18: "Q"}
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType: previews and transparency are no pages
_SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION = 254, 256, 257, 259
_OFFSETS, _ORIENTATION, _COUNTS = (273, 324), 274, (279, 325)


class Page(NamedTuple):
    """One picture of a TIFF file.

    Attributes:
        offset: where its directory lies, bytes.
        next_at: where the offset of the next directory is stored.
        height, width: pixels, as stored.
        orientation: 1 to 8, as in EXIF.
        orientation_at: where that number is stored (16 bit); 0 when it is not.
        compression: TIFF's number; 1 is none.
        pieces: (offset, length) of its strips or tiles, in order.
    """

    offset: int
    next_at: int
    height: int
    width: int
    orientation: int
    orientation_at: int
    compression: int
    pieces: tuple[tuple[int, int], ...]


class _Reader:
    def __init__(self, peek: Callable[[int, int], bytes]) -> None:
        head = peek(0, 16)
        self.order = "<" if head[:1] == b"I" else ">"
        self.big = head[2:3] == b"+" or head[3:4] == b"+"
        self.peek = peek
        self.first_at = 8 if self.big else 4

    def unpack(self, form: str, at: int) -> tuple[int, ...]:
        form = self.order + form
        return struct.unpack(form, self.peek(at, struct.calcsize(form)))

    def pointer(self, at: int) -> int:
        return self.unpack("Q" if self.big else "I", at)[0]

    def values(self, entry: int) -> tuple[int, ...]:
        """All values of the directory entry that lies at `entry`."""
        kind = self.unpack("H", entry + 2)[0]
        count, at = self.pointer(entry + 4), entry + (12 if self.big else 8)
        letter = _TYPES.get(kind, "")
        if not letter or count > 1 << 24:
            return ()
        if count * struct.calcsize(letter) > (8 if self.big else 4):
            at = self.pointer(at)
        return self.unpack(f"{count}{letter}", at)


def read_pages(peek: Callable[[int, int], bytes], name: str) -> list[Page]:
    """The pictures of a TIFF file, without previews and masks.

    Args:
        peek: `peek(offset, length)` -> bytes of the file.
        name: for messages.

    Raises:
        FrameError: a directory is damaged, or the first picture is only a preview.
    """
    reader = _Reader(peek)
    pages: list[Page] = []
    seen: set[int] = set()
    try:
        offset = reader.pointer(reader.first_at)
        while offset and len(seen) < _MOST_PAGES:
            if offset in seen:
                raise FrameError(f"{name}: the TIFF is damaged (its pages lead in a circle)")
            seen.add(offset)
            page, subfile = _read_page(reader, offset)
            if not pages and subfile & _REDUCED:
                raise FrameError(
                    f"{name}: begins with a preview, as camera raw files do; develop it to PNG or "
                    "plain TIFF first"
                )
            if not subfile & (_REDUCED | _MASK):
                pages.append(page)
            offset = reader.pointer(page.next_at)
    except (struct.error, OverflowError) as error:
        raise FrameError(
            f"{name}: not a readable image (the TIFF is truncated or damaged: a page's directory "
            "is not there)"
        ) from error
    if not pages:
        raise FrameError(f"{name}: not a readable image (the TIFF holds no page)")
    return pages


def _read_page(reader: _Reader, offset: int) -> tuple[Page, int]:
    width = 8 if reader.big else 2
    count = reader.unpack("Q" if reader.big else "H", offset)[0]
    if count > _MOST_ENTRIES:
        raise struct.error("too many entries")
    size = 20 if reader.big else 12
    entries = [offset + width + size * index for index in range(count)]
    tags = {reader.unpack("H", entry)[0]: entry for entry in reversed(entries)}

    def first(tag: int, default: int) -> int:
        values = reader.values(tags[tag]) if tag in tags else ()
        return values[0] if values else default

    def every(names: tuple[int, int]) -> tuple[int, ...]:
        return next((reader.values(tags[tag]) for tag in names if tag in tags), ())

    # Previews inside a directory (SubIFDs) are not followed: they are no pages.
    page = Page(
        offset=offset,
        next_at=offset + width + size * count,
        height=first(_HEIGHT, 0),
        width=first(_WIDTH, 0),
        orientation=first(_ORIENTATION, 1),
        orientation_at=tags[_ORIENTATION] + (12 if reader.big else 8)
        if _ORIENTATION in tags
        else 0,
        compression=first(_COMPRESSION, 1),
        pieces=tuple(zip(every(_OFFSETS), every(_COUNTS), strict=False)),
    )
    if page.height <= 0 or page.width <= 0:
        raise struct.error("no size")
    return page, first(_SUBFILE, 0)


def single_page(data: bytes, page: Page) -> bytes:
    """The file as if that page were its only one, stored upright: what a decoder then reads."""
    plain = bytearray(data)
    order, big = ("<" if data[:1] == b"I" else ">"), b"+" in data[2:4]
    form, first_at = (order + "Q", 8) if big else (order + "I", 4)
    struct.pack_into(form, plain, first_at, page.offset)
    struct.pack_into(form, plain, page.next_at, 0)
    if page.orientation_at:
        struct.pack_into(order + "H", plain, page.orientation_at, 1)
    return bytes(plain)
