"""Atomic and durable writing: a file is the old one, the whole new one, or absent."""

from __future__ import annotations

import glob
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from anomalib_lite.edge.errors import AnomalibLiteError
from anomalib_lite.edge.runs.file_lock import is_same_file, try_lock

_DRAFT = ".part"
_NAME_CHARACTERS = 40


@contextmanager
def atomic_path(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it replaces `path`, else it is removed.

    Args:
        path: the file to write.
        durable: bring content and name to the disk itself before and after the replacement, and
            remove what killed runs have left of earlier tries. Not for pictures by the thousand.

    Raises:
        AnomalibLiteError: the folder is missing or read-only, or the disk is full.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if durable:
            remove_leftovers(target.parent, _prefix(target))
        handle, temporary = _draft(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        if durable:
            _sync(temporary)
        os.replace(temporary, target)
        if durable:
            _sync_folder(target.parent)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


def ensure_writable(path: str | Path) -> None:
    """Fail now, before long work, when a file could not be written; errors as `atomic_path`."""
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=_prefix(target), suffix=_DRAFT, dir=target.parent):
            pass
    except OSError as error:
        raise cannot_write(target, error) from error


def write_bytes_atomic(path: str | Path, data: bytes, *, durable: bool = True) -> None:
    """Write `data` to `path` atomically; arguments and errors as for `atomic_path`."""
    with atomic_path(path, durable=durable) as temporary, temporary.open("wb") as stream:
        stream.write(data)


def write_json(path: str | Path, content: dict[str, Any]) -> None:
    """Plain JSON types, UTF-8, atomically; NaN and infinity are refused."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes_atomic(path, (text + "\n").encode())


def replace_durably(draft: Path, target: Path) -> None:
    """Put a finished draft in the place of `target`; raises OSError."""
    _sync(draft)
    os.replace(draft, target)
    _sync_folder(target.parent)


def remove_leftovers(folder: Path, prefix: str = ".") -> None:
    """Remove drafts whose writers were killed; those that are being written are left alone."""
    for name in glob.glob(f"{glob.escape(prefix)}*{_DRAFT}", root_dir=folder, include_hidden=True):
        with suppress(OSError):
            handle = os.open(folder / name, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            try:
                abandoned = try_lock(handle)
            finally:
                os.close(handle)
            if abandoned:
                (folder / name).unlink()


def sha256_file(path: str | Path) -> str:
    """Hex sha256 of a file's content."""
    import hashlib  # brings OpenSSL along, which the edge process does not need

    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cannot_write(target: Path, error: OSError) -> AnomalibLiteError:
    """What to say of a file that could not be replaced."""
    reason = error.strerror or type(error).__name__
    kept = "; the earlier file is whole" if target.is_file() else ""
    return AnomalibLiteError(f"cannot write {target}: {reason}; nothing was written{kept}")


def _draft(target: Path) -> tuple[int, Path]:
    """A file of one's own, open and locked: the lock says that its writer lives."""
    while True:
        handle, name = tempfile.mkstemp(prefix=_prefix(target), suffix=_DRAFT, dir=target.parent)
        if try_lock(handle) and is_same_file(handle, name):
            return handle, Path(name)
        os.close(handle)  # taken for a leftover before it was locked


def _prefix(target: Path) -> str:
    """Of its drafts; short, since a long name with more behind it may be too long."""
    return f".{target.name[:_NAME_CHARACTERS]}."


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Bring a new name to the disk, where folders can be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
