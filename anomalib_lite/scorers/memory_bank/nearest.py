"""Nearest rows of a memory bank: search by one matrix product, distance by difference.

The product `|b|^2 / 2 - a.b` finds the neighbour; the distance itself is then taken from the
difference of the two rows, so that it keeps its digits where the product would cancel them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from anomalib_lite.system.threads import one_thread

_CHUNK_NUMBERS = 1 << 22
_GROUPS = 256
_FEWEST_GROUPED = 4096
_WORTHWHILE = 0.3
_SLACK = 1e-3  # of the bank's spread: far above the rounding of a distance
FLOOR = 5e-3
"""A distance is `sqrt(d^2 + floor^2)`, the floor being this share of the bank's spread: a
photograph that lies in the bank would otherwise score whatever the engine's rounding leaves."""


def centred_bank(rows: Tensor, mean: Tensor | None = None) -> dict[str, Tensor]:
    """What a search needs, by buffer name: rows around their mean, squared norms, floor.

    Args:
        rows: `(M, d)`.
        mean: `(d,)` to subtract; None takes that of the rows. Distances do not depend on it, but
            products of centred rows lose fewer digits.
    """
    if mean is None:
        mean = rows.mean(dim=0, dtype=torch.float64).float()
    bank = rows - mean
    squares = bank.square().sum(dim=1)
    spread = squares.double().mean().sqrt().float()
    floor = (FLOOR * spread).clamp(min=1e-12)
    return {"bank_": bank, "squares_": squares, "mean_": mean, "floor_": floor}


def nearest_rows(queries: Tensor, bank: Tensor, squares: Tensor, count: int = 1) -> Tensor:
    """Indices of the nearest bank rows, nearest first, int64 `(Q, count)`.

    One product and its smallest entries: what scores a frame, in torch and in the exported graph
    alike. It holds Q * M numbers at a time, so callers give it a few frames at once.

    Args:
        queries: `(Q, d)`, centred like the bank.
        bank: `(M, d)`.
        squares: squared norms of the bank's rows `(M,)`.
        count: neighbours, at most M.
    """
    away = torch.addmm(squares / 2, queries, bank.T, alpha=-1)
    if count == 1:
        return away.argmin(dim=1, keepdim=True)
    return away.topk(count, dim=1, largest=False).indices


def nearest_rows_in_fit(queries: Tensor, bank: Tensor, squares: Tensor, count: int = 1) -> Tensor:
    """What `nearest_rows` finds, quicker and in bounded memory. For fits only.

    The way it takes depends on the numbers (triangle inequality), so it can neither be traced nor
    score a frame: `forward` never calls it. Near-ties aside the result is the same.
    """
    if count == 1 and min(len(queries), len(bank)) >= _FEWEST_GROUPED:
        with one_thread():
            index = _GroupedSearch(bank, squares).nearest(queries)
        if index is not None:
            return index[:, None]
    parts = queries.split(max(1, _CHUNK_NUMBERS // len(bank)))
    return torch.cat([nearest_rows(part, bank, squares, count) for part in parts])


class _GroupedSearch:
    """Nearest bank row of many queries, skipping what the triangle inequality excludes.

    Bank rows are grouped around the first ones. A row of a group of radius R around c is at least
    `|q - c| - R` away from q. The result is that of the plain product, for a tenth of the work when
    most queries have a near neighbour, as good patches have.

    Args:
        bank: centred rows `(M, d)`; the first ones are the centres, so they should be far apart,
            as the first picks of a greedy coreset are.
        squares: squared norms `(M,)`.
    """

    def __init__(self, bank: Tensor, squares: Tensor) -> None:
        self.bank, self.squares = bank, squares
        away, label = self._to_centres(bank).min(dim=1)
        self.members = [torch.nonzero(label == group)[:, 0] for group in range(_GROUPS)]
        self.reach = away.new_zeros(_GROUPS).scatter_reduce(0, label, away, "amax")
        self.slack = _SLACK * float(squares.double().mean().sqrt())

    def nearest(self, queries: Tensor) -> Tensor | None:
        """Indices of the nearest rows, int64 `(Q,)`; None when too little can be skipped."""
        away = self._to_centres(queries)
        own = away.argmin(dim=1)
        best = queries.new_full((len(queries),), torch.inf)
        index = torch.zeros_like(own)
        norms = queries.square().sum(dim=1)
        self._visit(
            queries, norms, own[:, None] == torch.arange(_GROUPS, device=own.device), best, index
        )
        limit = best.clamp(min=0).sqrt() + self.slack
        near = away - self.reach <= limit[:, None]
        if float(near.float().mean()) > _WORTHWHILE:
            return None
        near.scatter_(1, own[:, None], False)
        self._visit(queries, norms, near, best, index)
        return index

    def _to_centres(self, rows: Tensor) -> Tensor:
        centres = self.bank[:_GROUPS]
        products = torch.addmm(self.squares[:_GROUPS], rows, centres.T, alpha=-2)
        return products.add_(rows.square().sum(dim=1)[:, None]).clamp_(min=0).sqrt_()

    def _visit(
        self, queries: Tensor, norms: Tensor, wanted: Tensor, best: Tensor, index: Tensor
    ) -> None:
        """Compare queries with the groups marked `(Q, groups)`; improves `best` and `index`."""
        by_group = wanted.T.contiguous()
        for group, members in enumerate(self.members):
            rows = torch.nonzero(by_group[group])[:, 0]
            if len(rows) == 0 or len(members) == 0:
                continue
            away, place = torch.addmm(
                self.squares[members], queries[rows], self.bank[members].T, alpha=-2
            ).min(dim=1)
            away += norms[rows]
            better = away < best[rows]
            best[rows[better]] = away[better]
            index[rows[better]] = members[place[better]]


def distances_to(queries: Tensor, rows: Tensor, floor: Tensor) -> Tensor:
    """Floored Euclidean distance between matching rows `(..., d)` -> `(...)`."""
    return ((queries - rows).square().sum(dim=-1) + floor * floor).sqrt()
