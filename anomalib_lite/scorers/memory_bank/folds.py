"""Banks for out-of-fold scores, and the choice of a window by held-out good images."""

from __future__ import annotations

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
from anomalib_lite.scorers.splits import cut, shuffled

_FEWEST_IMAGES = 10
_HELD_OUT = 40
_BANK_IMAGES = 100


def bank_without(
    patches: GoodPatches, fold: int, budget: BankBudget, blocks: NDArray[np.int64] | None
) -> Bank:
    """The bank that judges a fold: selected jointly from the patches of all other folds.

    As many rows as a refit on those images keeps. A union of coresets of single folds, selected
    once each, is quicker and covers worse: held-out scores, and the threshold with them, then lie
    above those of new good parts (docs/methods/patchcore.md).

    Args:
        patches: of all images, grouped by fold.
        fold: to leave out.
        budget: rows to keep.
        blocks: block of each cell, for a search in a window.
    """
    buffer = patches.buffer
    others = buffer.groups != fold
    wanted = budget.target(round(buffer.offered * float(others.mean())))
    return buffer.select(wanted, among=others, blocks=blocks)


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
    order = shuffled(arrived, context.origins, np.random.default_rng(context.seed))
    place = cut(order, context.origins, min(_HELD_OUT, len(order) // 5))
    held_out = np.sort(order[:place])
    others = order[place:][:_BANK_IMAGES] + patches.offset
    buffer = patches.buffer
    among = np.isin(buffer.images, others)
    count = budget.target(len(others) * len(patches.cells))
    whole = buffer.select(count, among=among)

    def scores(window: int | None, bank: Bank) -> NDArray[np.float32]:
        found = [score(bank, window, rows) for _, rows in patches.again(stream, held_out)]
        return torch.cat(found).cpu().numpy()

    def windowed() -> Iterator[tuple[int, NDArray[np.float32]]]:
        for place, window in enumerate(WINDOWS):
            blocks = blocks_of_cells(patches.embedding.grid_hw, window)
            if rows_needed(patches.cells, blocks) <= count:
                yield window, scores(window, buffer.select(count, among=among, blocks=blocks))
            context.progress("choosing a window", place + 1, len(WINDOWS))

    return choose_window(scores(None, whole), windowed())
