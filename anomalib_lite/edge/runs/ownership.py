"""One owner at a time for what a run writes into: a folder, or a file among others."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.files import cannot_write, remove_leftovers
from anomalib_lite.edge.runs.file_lock import is_same_file, try_lock

LOCK = ".anomalib-lite.lock"
_MOST = 200
_NAME_CHARACTERS = 100


@contextmanager
def owned(folder: str | Path) -> Iterator[Path]:
    """Own a folder, made if needed: a second run is refused while this one lives.

    The lock of a process that was killed is taken over, and the drafts it left are removed.

    Raises:
        SettingsError: another process owns it; it is a file.
        AnomalibLiteError: it cannot be made, or nothing can be written there.
    """
    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise SettingsError(f"{place}: is a file, expected a folder to write into; name another")
    with _held(place / LOCK, place):
        remove_leftovers(place)
        yield place


@contextmanager
def owned_file(path: str | Path) -> Iterator[Path]:
    """Own one file among others that is written again and again; errors as for `owned`."""
    place = Path(path)
    with _held(place.with_name(f".{place.name[:_NAME_CHARACTERS]}.lock"), place):
        yield place


@contextmanager
def _held(lock: Path, shown: Path) -> Iterator[None]:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = _locked(lock)
    except OSError as error:
        raise cannot_write(lock, error) from error
    if handle is None:
        raise SettingsError(
            f"{shown}: another run is writing there{_owner(lock)}; wait for it, stop it, or write "
            "elsewhere"
        )
    try:
        # A full disk may refuse these few bytes; the lock holds without them.
        with suppress(OSError):
            os.truncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(handle)


def _locked(path: Path) -> int | None:
    """The lock file, open and locked; None while another process has it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not try_lock(handle):
            os.close(handle)
            return None
        if is_same_file(handle, path):
            return handle
        os.close(handle)  # its owner removed it in between


def _owner(path: Path) -> str:
    try:
        words = path.read_text(errors="replace")[:_MOST].strip()
    except OSError:
        words = ""
    return f" ({words})" if words else ""
