"""A coreset of a stream in bounded memory: rows gather in a buffer, reduced when it is full."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.scorers.coreset import Tell, greedy_coreset, whole_number_projection
from anomalib_lite.scorers.threads import one_thread


class CoresetBuffer:
    """Rows of a stream in bounded memory: when full, each group is reduced to a coreset of itself.

    Memory is `capacity` rows with their projections, however many images pass. A stream that
    fits is never reduced before `select`, which then is the greedy coreset of all its rows.

    Args:
        width: numbers per row.
        capacity: rows held at most.
        keep: rows that a reduction leaves, less than `capacity`.
        seed: of the random directions.

    Attributes:
        offered: rows added so far.
    """

    def __init__(self, width: int, capacity: int, keep: int, seed: int) -> None:
        self.capacity, self.keep, self.seed = capacity, keep, seed
        self.offered = self._filled = 0
        self._rows = torch.empty(capacity, width)
        self._origin = np.empty((capacity, 2), np.int64)
        self._group = np.empty(capacity, np.int64)

    def __len__(self) -> int:
        return self._filled

    def add(self, rows: Tensor, origin: NDArray[np.int64], group: NDArray[np.int64]) -> None:
        """Append rows.

        Args:
            rows: float32 `(n, width)`.
            origin: image and cell of each row `(n, 2)`.
            group: rows of one group are reduced together `(n,)`.
        """
        self.offered += len(rows)
        start = 0
        while start < len(rows):
            if self._filled == self.capacity:
                self._reduce()
            end = min(len(rows), start + self.capacity - self._filled)
            place = slice(self._filled, self._filled + end - start)
            self._rows[place] = rows[start:end]
            self._origin[place] = origin[start:end]
            self._group[place] = group[start:end]
            self._filled += end - start
            start = end

    def select(
        self, count: int, group: int | None = None, tell: Tell | None = None
    ) -> tuple[Tensor, NDArray[np.int64]]:
        """Coreset of what is held: rows `(<= count, width)` and their origin.

        Args:
            count: rows to pick.
            group: only rows of this group.
            tell: progress.
        """
        if group is None:
            rows, origin = self._rows[: self._filled], self._origin[: self._filled]
        else:
            inside = np.flatnonzero(self._group[: self._filled] == group)
            rows, origin = self._rows[torch.from_numpy(inside)], self._origin[inside]
        return select_rows(rows, origin, count, self.seed, tell)

    def size(self, group: int) -> int:
        """Rows held of a group."""
        return int((self._group[: self._filled] == group).sum())

    def _reduce(self) -> None:
        kept: list[NDArray[np.int64]] = []
        for group in np.unique(self._group):
            inside = np.flatnonzero(self._group == group)
            count = max(1, self.keep * len(inside) // self.capacity)
            with one_thread():
                points = whole_number_projection(self._rows[torch.from_numpy(inside)], self.seed)
                kept.append(inside[greedy_coreset(points, count)])
        order = np.sort(np.concatenate(kept))
        self._filled = len(order)
        self._rows[: self._filled] = self._rows[torch.from_numpy(order)]
        self._origin[: self._filled] = self._origin[order]
        self._group[: self._filled] = self._group[order]


def select_rows(
    rows: Tensor, origin: NDArray[np.int64], count: int, seed: int, tell: Tell | None = None
) -> tuple[Tensor, NDArray[np.int64]]:
    """Greedy coreset of rows `(n, d)` with their origin `(n, 2)`, in the order of picking."""
    with one_thread():
        chosen = greedy_coreset(whole_number_projection(rows, seed), count, tell)
    return rows[torch.from_numpy(chosen)], origin[chosen]
