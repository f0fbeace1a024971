"""Banks for out-of-fold scores, and the choice of a window by held-out good images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.scorers.base import FeatureStream, FitContext
from anomalib_lite.scorers.memory_bank.bank import Bank
from anomalib_lite.scorers.memory_bank.budget import BankBudget
from anomalib_lite.scorers.memory_bank.good_patches import GoodPatches
from anomalib_lite.scorers.memory_bank.position_window import (
    WINDOWS,
    blocks_of_cells,
    choose_window,
    rows_needed,
)

_FEWEST_IMAGES = 10
_HELD_OUT = 40
_BANK_IMAGES = 100
_FEW_ROWS = 64  # of a block


class FoldBanks:
    """For each fold a bank of all other folds, as many rows as a refit keeps.

    Each fold's coreset is selected once; a bank is the union of the others'. A refit would select
    from their patches together and cover them a little better. Where blocks keep only a few rows
    each, a union would cover them clearly worse, and a refit costs little: it is made.

    Args:
        patches: of all images, grouped by fold.
        folds: number of folds.
        budget: rows to keep.
        blocks: block of each cell, for a search in a window.
        context: progress.
    """

    def __init__(
        self,
        patches: GoodPatches,
        folds: int,
        budget: BankBudget,
        blocks: NDArray[np.int64] | None,
        context: FitContext,
    ) -> None:
        self._buffer, self._blocks, self._folds = patches.buffer, blocks, folds
        groups = self._buffer.groups
        held = np.array([int((groups == fold).sum()) for fold in range(folds)])
        # A share keeps its share of each fold; a budget is the same for four folds as for five.
        full = 1.0 if budget.fixed is None else folds / (folds - 1)
        self._wanted = full * budget.target(self._buffer.offered) / held.sum() * held
        self._parts: list[Bank] = []
        if blocks is not None and self._wanted.sum() < _FEW_ROWS * len(np.unique(blocks)):
            return
        for fold, count in enumerate(self._wanted):
            bank = self._buffer.select(math.ceil(count), among=groups == fold, blocks=blocks)
            self._parts.append(bank)
            context.progress("selecting held-out banks", fold + 1, folds)

    def __len__(self) -> int:
        return self._folds

    def bank(self, fold: int) -> Bank:
        """The bank that judges a fold."""
        if not self._parts:
            count = round(self._wanted.sum() - self._wanted[fold])
            others = self._buffer.groups != fold
            return self._buffer.select(count, among=others, blocks=self._blocks)
        # By rank: the first picks of all folds lie far apart and come first.
        others_parts = self._parts[:fold] + self._parts[fold + 1 :]
        rank = torch.cat([torch.arange(len(rows)) for rows, _ in others_parts]).argsort(stable=True)
        rows = torch.cat([rows for rows, _ in others_parts])[rank]
        return rows, np.concatenate([origin for _, origin in others_parts])[rank.numpy()]


def window_by_held_out(
    patches: GoodPatches,
    stream: FeatureStream,
    budget: BankBudget,
    context: FitContext,
    score: Callable[[Bank, int | None, Tensor], Tensor],
) -> int | None:
    """The window that `window="auto"` takes: see `choose_window`.

    At most 40 good images are scored by banks of at most 100 others.

    Args:
        patches: of all images.
        stream: those images, for a second look.
        budget: rows to keep.
        context: seed and progress.
        score: image scores of patches `(n, h * w, d)` by a bank, within a window.
    """
    arrived = np.array(patches.arrived)
    if len(arrived) < _FEWEST_IMAGES:
        return None
    order = np.random.default_rng(context.seed).permutation(arrived)
    held_out = np.sort(order[: min(_HELD_OUT, len(order) // 5)])
    others = order[len(held_out) :][:_BANK_IMAGES] + patches.offset
    buffer = patches.buffer
    among = np.isin(buffer.images, others)
    count = budget.target(len(others) * len(patches.cells))
    whole = buffer.select(count, among=among)

    def scores(window: int | None, bank: Bank) -> NDArray[np.float32]:
        found = [score(bank, window, rows) for _, rows in patches.again(stream, held_out)]
        return torch.cat(found).numpy()

    def windowed() -> Iterator[tuple[int, NDArray[np.float32]]]:
        for place, window in enumerate(WINDOWS):
            blocks = blocks_of_cells(patches.embedding.grid_hw, window)
            if rows_needed(patches.cells, blocks) <= count:
                yield window, scores(window, buffer.select(count, among=among, blocks=blocks))
            context.progress("choosing a window", place + 1, len(WINDOWS))

    return choose_window(scores(None, whole), windowed())
