"""A coreset of a stream in bounded memory: rows gather in a buffer, reduced when it is full.

In memory a row is its whole-number projection, which selection works on; the row itself lies in a
`SpillStore` and is fetched when it was selected.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.scorers.memory_bank.coreset import Tell, greedy_coreset
from anomalib_lite.scorers.memory_bank.coreset_blocks import greedy_by_block
from anomalib_lite.scorers.memory_bank.projection import (
    HEADROOM,
    PROJECTION,
    RandomDirections,
    WholeNumbers,
)
from anomalib_lite.system.spill import SpillStore, temporary_room

_REDUCED_TOGETHER = 1 << 16
"""A reduction cuts its work into pieces of so many rows: the union of their coresets covers nearly
as well, for a fraction of the work."""


def fits_on_disk(rows: int, width: int) -> bool:
    """Whether a temporary file may hold so many rows."""
    return temporary_room(4 * rows * width)


_SETTLED_TOGETHER = 1 << 14


def held_row_bytes(width: int, *, on_disk: bool) -> int:
    """Memory of a row while it is held and selected from: projection, indices, bounds."""
    return 2 * min(width, PROJECTION) + 48 + (0 if on_disk else 4 * width)


class CoresetBuffer:
    """Rows of a stream in bounded memory: when full, each group is reduced to a coreset of itself.

    Memory is that of `capacity` rows, however many images pass. A stream that fits is never
    reduced before `select`, which then is the greedy coreset of all its rows.

    Args:
        width: numbers per row.
        capacity: rows held at most.
        keep: rows that a reduction leaves, less than `capacity`.
        seed: of the random directions.
        expected: rows that will be added; all stay readable (`rows_at`) where the disk has room.

    Attributes:
        offered: rows added so far.
        complete: whether every row that was added can be read back.
    """

    def __init__(self, width: int, capacity: int, keep: int, seed: int, expected: int = 0) -> None:
        self.capacity, self.keep, self.seed = capacity, keep, seed
        self.offered = self._filled = 0
        directions = min(width, PROJECTION)
        self._slots = max(capacity, expected) if fits_on_disk(expected, width) else capacity
        self.complete = self._slots >= expected
        self._store = SpillStore(
            self._slots, (width,), np.float32, what="the patches", or_memory=True
        )
        self._used = 0
        self._freed = np.zeros(0, np.int64)
        self._project: RandomDirections | None = None
        self._whole: WholeNumbers | None = None
        # Bits of float16 until the scale is set, whole numbers from then on.
        self._points = torch.empty(capacity, directions, dtype=torch.int16)
        self._origin = np.empty((capacity, 2), np.int32)
        self._group = np.empty(capacity, np.int16)
        self._slot = np.empty(capacity, np.int64)

    def __len__(self) -> int:
        return self._filled

    def close(self) -> None:
        """Give the temporary file back."""
        self._store.close()

    def add(self, rows: Tensor, origin: NDArray[np.int64], group: NDArray[np.int64]) -> None:
        """Append rows.

        Args:
            rows: float32 `(n, width)`.
            origin: image and cell of each row `(n, 2)`.
            group: rows of one group are reduced together `(n,)`.
        """
        if self._project is None and len(rows):
            self._project = RandomDirections(rows, self.seed)
        self.offered += len(rows)
        start = 0
        while start < len(rows):
            if self._filled == self.capacity:
                self._reduce()
            end = min(len(rows), start + self.capacity - self._filled)
            self._append(rows[start:end], origin[start:end], group[start:end])
            start = end

    def rows_at(self, first: int, count: int) -> Tensor:
        """Rows number `first` to `first + count` of all that were added; needs `complete`."""
        return torch.from_numpy(self._store.read(np.arange(first, first + count)))

    @property
    def groups(self) -> NDArray[np.int16]:
        """Group of each row held."""
        return self._group[: self._filled]

    @property
    def images(self) -> NDArray[np.int32]:
        """Image of each row held."""
        return self._origin[: self._filled, 0]

    def select(
        self,
        count: int,
        *,
        among: NDArray[np.bool_] | None = None,
        blocks: NDArray[np.int64] | None = None,
        tell: Tell | None = None,
    ) -> tuple[Tensor, NDArray[np.int64]]:
        """Coreset of what is held: rows `(<= count, width)` and their origin, as they were picked.

        Args:
            count: rows to pick.
            among: which of the rows held; None takes all.
            blocks: block of each cell; rows then cover only rows of their own block, and each
                block keeps at least one.
            tell: progress.
        """
        held = np.arange(self._filled) if among is None else np.flatnonzero(among)
        chosen = held[self._pick(held, count, tell, blocks)]
        rows = torch.from_numpy(self._store.read(self._slot[chosen]))
        return rows, self._origin[chosen].astype(np.int64)

    def _append(self, rows: Tensor, origin: NDArray[np.int64], group: NDArray[np.int64]) -> None:
        assert self._project is not None
        place = slice(self._filled, self._filled + len(rows))
        slots = self._take_slots(len(rows))
        self._store.write(slots, rows.numpy())
        projected = self._project(rows)
        self._points[place] = (
            projected.view(torch.int16) if self._whole is None else self._whole(projected)
        )
        self._origin[place] = origin
        self._group[place] = group
        self._slot[place] = slots
        self._filled = place.stop

    def _take_slots(self, count: int) -> NDArray[np.int64]:
        """Slots that were never used, then those of rows that were dropped."""
        fresh = min(count, self._slots - self._used)
        new = np.arange(self._used, self._used + fresh)
        self._used += fresh
        again, self._freed = self._freed[: count - fresh], self._freed[count - fresh :]
        return np.concatenate([new, again])

    def _pick(
        self,
        held: NDArray[np.int64],
        count: int,
        tell: Tell | None = None,
        blocks: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """Positions within `held`."""
        self._settle(headroom=1.0)
        points = self._points[: self._filled]
        if len(held) < self._filled:
            points = points[torch.from_numpy(held)]
        if blocks is None:
            return greedy_coreset(points, count, tell)
        return greedy_by_block(points, blocks[self._origin[held, 1]], count, tell)

    def _settle(self, headroom: float) -> None:
        """Set the scale by all rows held, once."""
        if self._whole is not None:
            return
        projected = self._points[: self._filled].view(torch.float16)
        self._whole = WholeNumbers(projected, headroom)
        for start in range(0, self._filled, _SETTLED_TOGETHER):
            part = slice(start, min(start + _SETTLED_TOGETHER, self._filled))
            self._points[part] = self._whole(projected[part])

    def _reduce(self) -> None:
        self._settle(HEADROOM)
        kept: list[NDArray[np.int64]] = []
        for group in np.unique(self._group):
            inside = np.flatnonzero(self._group == group)
            for piece in np.array_split(inside, -(-len(inside) // _REDUCED_TOGETHER)):
                count = max(1, self.keep * len(piece) // self.capacity)
                kept.append(piece[self._pick(piece, count)])
        order = np.sort(np.concatenate(kept))
        if self._slots == self.capacity:
            self.complete = False
            self._freed = np.sort(np.delete(self._slot, order))
        self._filled = len(order)
        self._points[: self._filled] = self._points[torch.from_numpy(order)]
        for held in (self._origin, self._group, self._slot):
            held[: self._filled] = held[order]
