"""A seal inside detector and edge files: the file's own checksum, so that no damage goes unnoticed.

The checksum stands in the file's description. It is taken over the file with zeros in its
place, so one search finds and checks it in either container (`.safetensors`, `.onnx`).
"""

from __future__ import annotations

import mmap
import zlib
from pathlib import Path

from anomalib_lite.edge.errors import ModelFileError

SEAL_KEY = "seal"
_MARK = b"crc32-of-this-file:"
_DIGITS = 8
UNSEALED = _MARK.decode() + "0" * _DIGITS
"""What a description holds under `SEAL_KEY` when it is written; `seal` fills in the digest."""


def seal(path: str | Path) -> None:
    """Put the digest into a file that holds `UNSEALED` once."""
    with Path(path).open("r+b") as stream:
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            start = content.find(_MARK) + len(_MARK)
            digest = _digest(content, start)
        stream.seek(start)
        stream.write(digest)


def verify_seal(path: str | Path) -> bool:
    """Whether the file carries a seal; False for foreign files, and for none at all.

    Raises:
        ModelFileError: the content is not what was sealed.
    """
    try:
        with (
            Path(path).open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            start = content.find(_MARK) + len(_MARK)
            if start < len(_MARK):
                return False
            found, expected = content[start : start + _DIGITS], _digest(content, start)
    except (OSError, ValueError):
        return False
    if found != expected:
        raise damaged(path)
    return True


def damaged(path: str | Path) -> ModelFileError:
    """The error for a file whose content is not what was written."""
    return ModelFileError(
        f"{path}: is damaged (its content does not fit its own checksum); copy it again, or write "
        "it anew with fit or export"
    )


def _digest(content: mmap.mmap, start: int) -> bytes:
    with memoryview(content) as view:
        checksum = zlib.crc32(view[:start])
        checksum = zlib.crc32(b"0" * _DIGITS, checksum)
        checksum = zlib.crc32(view[start + _DIGITS :], checksum)
    return f"{checksum:0{_DIGITS}x}".encode()
