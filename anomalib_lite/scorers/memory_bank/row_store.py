"""Rows of numbers in a temporary file: what a fit needs only now and then stays out of memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.edge.errors import FitError

_BUDGET_BYTES = 8 << 30
_FREE_SHARE = 0.5


def fits_on_disk(rows: int, width: int) -> bool:
    """Whether a temporary file may hold so many rows: 8 GB at most, and half of what is free."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    return rows * width * 4 <= min(_BUDGET_BYTES, int(free * _FREE_SHARE))


class RowStore:
    """Slots for float32 rows, on disk where that fits and else in memory.

    The file has no name and is gone with the process. Reads and writes are explicit: mapped pages
    would count as memory of the process.

    Args:
        slots: number of rows.
        width: numbers per row.

    Attributes:
        on_disk: whether rows are in a file.
    """

    def __init__(self, slots: int, width: int) -> None:
        self.width = width
        self.on_disk = fits_on_disk(slots, width)
        if self.on_disk:
            self._file = tempfile.TemporaryFile(prefix="anomalib-lite-")  # noqa: SIM115 - kept open
        else:
            self._rows = torch.empty(slots, width)

    def close(self) -> None:
        """Give the space back."""
        if self.on_disk:
            self._file.close()

    def write(self, slots: NDArray[np.int64], rows: Tensor) -> None:
        """Put rows `(n, width)` into slots `(n,)`; raises FitError when the disk is full."""
        if not self.on_disk:
            self._rows[torch.from_numpy(slots)] = rows
            return
        numbers = np.ascontiguousarray(rows.numpy())
        try:
            for start, end in _runs(slots):
                data, offset = numbers[start:end].data.cast("B"), self._offset(slots[start])
                while len(data):
                    written = os.pwrite(self._file.fileno(), data, offset)
                    data, offset = data[written:], offset + written
        except OSError as error:
            raise FitError(
                f"the temporary folder {tempfile.gettempdir()} cannot take the patches "
                f"({error.strerror}); free space there or name another folder in TMPDIR"
            ) from error

    def read(self, slots: NDArray[np.int64]) -> Tensor:
        """Rows of slots `(n,)` in that order, float32 `(n, width)`."""
        if not self.on_disk:
            return self._rows[torch.from_numpy(slots)]
        numbers = np.empty((len(slots), self.width), np.float32)
        for start, end in _runs(slots):
            data, offset = numbers[start:end].data.cast("B"), self._offset(slots[start])
            if os.preadv(self._file.fileno(), [data], offset) != len(data):
                raise FitError("the temporary file of the patches was cut short; fit again")
        return torch.from_numpy(numbers)

    def _offset(self, slot: np.int64) -> int:
        return int(slot) * self.width * 4


def _runs(slots: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Start and end of each run of consecutive slots."""
    if len(slots) == 0:
        return []
    breaks = np.flatnonzero(np.diff(slots) != 1) + 1
    edges = [0, *breaks.tolist(), len(slots)]
    return list(pairwise(edges))
