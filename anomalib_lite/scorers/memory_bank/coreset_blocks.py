"""A coreset in which rows stand only for rows from their own block of the picture.

Greedy k-centre with distances between blocks counted as infinite: every block is covered by its own
rows, all to about the same radius, so that plain blocks keep few rows and busy ones many.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.scorers.memory_bank.coreset import Tell, greedy_with_radii
from anomalib_lite.system.threads import one_thread


def greedy_by_block(
    points: Tensor, block: NDArray[np.int64], count: int, tell: Tell | None = None
) -> NDArray[np.int64]:
    """The picks of greedy k-centre over all blocks, farthest first.

    The first picks are one of each block (its farthest from its own mean), so that a budget below
    the number of blocks still gives one for each. What follows is the next pick of whichever
    block has the farthest uncovered row.

    Args:
        points: whole numbers `(n, p)`.
        block: of each point `(n,)`.
        count: points to pick.
        tell: progress.

    Returns:
        indices in the order of picking.
    """
    names = np.unique(block)
    count = max(count, len(names))
    members = [np.flatnonzero(block == name) for name in names]
    wanted = np.minimum([len(inside) for inside in members], 2 * (-(-count // len(names))))
    picks: list[NDArray[np.int64]] = [np.zeros(0, np.int64)] * len(names)
    radii: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(names)
    todo = np.arange(len(names))
    while len(todo):
        for place in todo:
            inside = members[place]
            with one_thread():
                chosen, radii[place] = greedy_with_radii(
                    points[torch.from_numpy(inside)], int(wanted[place])
                )
            picks[place] = inside[chosen]
            if tell is not None:
                tell(min(count, sum(map(len, picks))), count)
        order, owner, rank = _farthest_first(radii, count)
        # A block whose last pick is among the chosen may have more that belong there.
        last = np.zeros(len(names), np.int64)
        np.maximum.at(last, owner[order], rank[order] + 1)
        short = (last == wanted) & (wanted < [len(inside) for inside in members])
        short &= [len(part) == amount for part, amount in zip(picks, wanted, strict=True)]
        todo = np.flatnonzero(short)
        wanted[todo] = np.minimum(2 * wanted[todo], [len(members[place]) for place in todo])
    return np.concatenate(picks)[order]


def _farthest_first(
    radii: list[NDArray[np.float32]], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Order of all picks by radius, at most `count`; owner and rank of each before sorting."""
    owner = np.repeat(np.arange(len(radii)), [len(part) for part in radii])
    rank = np.concatenate([np.arange(len(part)) for part in radii])
    return np.lexsort((owner, rank, -np.concatenate(radii)))[:count], owner, rank
