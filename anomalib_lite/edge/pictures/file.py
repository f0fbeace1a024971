"""Opening a picture file safely: only regular files, and only sizes that were agreed to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.pictures.header import Header, read_header
from anomalib_lite.edge.source_kinds.source_names import spelling_of

MAX_MEGAPIXELS = 100.0
"""Largest picture read unless another limit is given: 10,000 x 10,000 pixels."""

_limit = [MAX_MEGAPIXELS]

_BYTES_PER_PIXEL = 8  # four channels of 16 bits; what is stored is rarely larger than that
_SPARE_BYTES = 64 << 20
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


def special_kind(path: str | Path) -> str:
    """What a path is when it is neither file nor folder (`a named pipe`); else an empty string."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return ""
    return next((name for test, name in _KINDS if test(mode)), "")


def limit_megapixels(most: float) -> None:
    """The limit of every picture that this process reads without naming one.

    For programs, as the command line is: frames, masks and regions of interest alike.
    """
    _limit[0] = most


def megapixels_limit() -> float:
    """The limit that is in force."""
    return _limit[0]


@contextmanager
def limited_megapixels(most: float | None) -> Iterator[None]:
    """Within it that limit is in force; None leaves the present one."""
    before = _limit[0]
    limit_megapixels(before if most is None else most)
    try:
        yield
    finally:
        limit_megapixels(before)


def read_picture(path: str | Path, *, max_megapixels: float | None, name: str) -> bytes:
    """The bytes of a picture file, after its kind and header were found harmless.

    Args:
        path: the file.
        max_megapixels: larger pictures are refused before they are read; None takes the
            process's limit.
        name: for messages.

    Raises:
        FrameError: it is missing, not a regular file, no picture, or too large.
    """
    try:
        with _open_regular(path, name) as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise FrameError(f"{name}: the file is empty (0 bytes)")

            def peek(offset: int, length: int) -> bytes:
                file.seek(offset)
                return file.read(min(length, size))

            header = read_header(peek, name)
            check_pixels(header, max_megapixels, name)
            _check_file_size(header, size, max_megapixels, name)
            file.seek(0)
            return file.read()
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        spelling = spelling_of(str(path)) if isinstance(error, FileNotFoundError) else ""
        hint = f"; {spelling}" if spelling else ""
        raise FrameError(f"{name}: cannot be read ({reason}){hint}") from error


def count_pages(path: Path) -> int:
    """How many pictures a file holds that are read one by one; 1 where it cannot be told."""
    try:
        with _open_regular(path, str(path)) as file:

            def peek(offset: int, length: int) -> bytes:
                file.seek(offset)
                return file.read(length)

            return read_header(peek, str(path)).pages
    except (OSError, ValueError, OverflowError, FrameError):
        return 1  # reading it will say what is wrong


def check_pixels(header: Header, max_megapixels: float | None, name: str) -> None:
    """Raise `FrameError` for a picture larger than agreed; None takes the process's limit."""
    most = _limit[0] if max_megapixels is None else max_megapixels
    found = header.height * header.width / 1e6
    if found > most:
        raise FrameError(
            f"{name}: is {header.height}x{header.width} pixels, {found:.0f} megapixels; more than "
            f"{most:g} are not read: raise --max-megapixels (max_megapixels) if it is "
            "meant to be so large"
        )


def _check_file_size(header: Header, size: int, max_megapixels: float | None, name: str) -> None:
    most = _limit[0] if max_megapixels is None else max_megapixels
    pixels = min(header.height * header.width * header.pages, int(most * 1e6) * 4)
    limit = pixels * _BYTES_PER_PIXEL + _SPARE_BYTES
    if size > limit:
        raise FrameError(
            f"{name}: the file has {size / 1e6:.0f} MB for {header.height}x{header.width} pixels; "
            f"more than {limit / 1e6:.0f} MB are not read, it is damaged or no plain picture"
        )


def _open_regular(path: str | Path, name: str) -> BinaryIO:
    kind = special_kind(path)
    if not kind:
        # Should it become a pipe meanwhile, opening does not wait for a writer.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return os.fdopen(handle, "rb")
        os.close(handle)
        kind = special_kind(path) or "a folder"
    if kind == "a folder":
        raise IsADirectoryError(21, "Is a directory")
    raise FrameError(f"{name}: is {kind}, not a regular file; it is not opened")
