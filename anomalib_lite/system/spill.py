"""Numbered rows that may outgrow memory: kept in memory while they are few, else in a file."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from anomalib_lite.edge.errors import FitError

TEMPORARY_BYTES = 8 << 30
"""The most that a temporary file takes for what can be done without it."""
_FREE_SHARE = 0.5
_ADVICE = "free space there or name another folder in TMPDIR"


def temporary_room(size: int, *, needed: bool = False, folder: Path | None = None) -> bool:
    """Whether a temporary file may take `size` bytes: half of what is free, and 8 GB.

    Args:
        size: bytes.
        needed: nothing else will do, so 8 GB are no limit.
        folder: where; None takes the system's.
    """
    if size > TEMPORARY_BYTES and not needed:
        return False
    return size <= _FREE_SHARE * shutil.disk_usage(folder or tempfile.gettempdir()).free


def require_room(size: int, folder: Path, what: str, advice: str) -> None:
    """Refuse to begin what the disk of `folder` cannot take.

    Args:
        size: bytes.
        folder: exists.
        what: takes them, in words.
        advice: what to do then.

    Raises:
        FitError: less is free.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise FitError(
            f"{what} take {size / 1e9:.1f} GB and the disk of {folder} has {free / 1e9:.1f} GB "
            f"free; {advice}"
        )


class SpillStore:
    """Slots for rows of one shape; each may be written and read in any order, again and again.

    A temporary file has no name and is gone with the process; a named one outlives it. Reads and
    writes are explicit: mapped pages would count as memory of the process, and a full disk under
    them would end it.

    Args:
        slots: number of rows; None: nobody knows, so they go to a file without asking for room.
        shape: of a row.
        dtype: of its numbers.
        what: the rows, for messages.
        advice: what to do when they find no room.
        memory: keep them in memory where they take at most so many bytes.
        needed: a temporary file may then take more than 8 GB.
        or_memory: where the disk has no room keep them in memory, whatever they take.
        path: a file to keep them in whatever they take, as it is when it exists.
        folder: of the temporary file; None takes the system's.

    Attributes:
        on_disk: whether rows are in a file.

    Raises:
        FitError: there is no room for them.
    """

    def __init__(
        self,
        slots: int | None,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        *,
        what: str,
        advice: str = _ADVICE,
        memory: int = 0,
        needed: bool = False,
        or_memory: bool = False,
        path: Path | None = None,
        folder: Path | None = None,
    ) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._row_bytes = prod(shape) * self.dtype.itemsize
        self._what, self._advice, self._path = what, advice, path
        self._folder = folder or Path(tempfile.gettempdir())
        self.on_disk = path is not None or slots is None
        if not self.on_disk:
            self.on_disk = self._goes_to_disk(slots or 0, memory, needed, or_memory)
        self._file: BinaryIO | None = None
        self._rows: NDArray[Any] = np.empty((0 if self.on_disk else slots or 0, *shape), self.dtype)
        if self.on_disk:
            self._file = self._opened(path)

    def __enter__(self) -> SpillStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give memory, and the space of a temporary file, back."""
        if self._file is not None:
            self._file.close()
        self._rows = np.empty((0, *self.shape), self.dtype)

    def sync(self) -> None:
        """Bring what was written to a named file to the disk itself; raises FitError."""
        if self._file is not None and self._path is not None:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                raise self._full(error) from error

    def write(self, slots: NDArray[np.int64], rows: NDArray[Any]) -> None:
        """Put rows `(n, *shape)` into slots `(n,)`; raises FitError when the disk is full."""
        if self._file is None:
            self._rows[slots] = rows
            return
        numbers = np.ascontiguousarray(rows, self.dtype).reshape(len(slots), *self.shape)
        try:
            for start, end in _runs(slots):
                self._file.seek(int(slots[start]) * self._row_bytes)
                _write_all(self._file, numbers[start:end].data.cast("B"))
        except OSError as error:
            raise self._full(error) from error

    def read(self, slots: NDArray[np.int64]) -> NDArray[Any]:
        """Rows of slots `(n,)` in that order, a copy `(n, *shape)`.

        Raises:
            FitError: the file ends before them.
        """
        if self._file is None:
            return self._rows[slots]
        numbers = np.empty((len(slots), prod(self.shape)), self.dtype)
        for start, end in _runs(slots):
            self._file.seek(int(slots[start]) * self._row_bytes)
            if not _read_all(self._file, numbers[start:end].data.cast("B")):
                raise FitError(f"{self._place} ends before all of {self._what}; begin anew")
        return numbers.reshape(-1, *self.shape)

    def _goes_to_disk(self, slots: int, memory: int, needed: bool, or_memory: bool) -> bool:
        size = slots * self._row_bytes
        if size <= memory:
            return False
        if temporary_room(size, needed=needed, folder=self._folder):
            return True
        if or_memory:
            return False
        free = shutil.disk_usage(self._folder).free
        raise FitError(
            f"{self._what} take {size / 1e9:.1f} GB and the disk of {self._folder} has "
            f"{free / 1e9:.1f} GB free, half of which may be taken; {self._advice}"
        )

    @property
    def _place(self) -> str:
        return str(self._path or f"a temporary file in {self._folder}")

    def _opened(self, path: Path | None) -> BinaryIO:
        try:
            if path is None:
                return tempfile.TemporaryFile(
                    prefix="anomalib-lite-", buffering=0, dir=self._folder
                )
            return path.open("r+b" if path.exists() else "w+b", buffering=0)
        except OSError as error:
            raise self._full(error) from error

    def _full(self, error: OSError) -> FitError:
        reason = error.strerror or type(error).__name__
        return FitError(f"{self._place} cannot take {self._what} ({reason}); {self._advice}")


def _write_all(file: BinaryIO, data: memoryview) -> None:
    while len(data):
        data = data[file.write(data) :]


def _read_all(file: BinaryIO, data: memoryview) -> bool:
    """Fill `data`; whether the file had so much."""
    while len(data):
        count = file.readinto(data)  # type: ignore[attr-defined]
        if not count:
            return False
        data = data[count:]
    return True


def _runs(slots: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Start and end of each run of consecutive slots."""
    if len(slots):
        breaks = np.flatnonzero(np.diff(slots) != 1) + 1
        yield from pairwise([0, *breaks.tolist(), len(slots)])
