"""Distances to the nearest bank row at a fraction of the whole product, for maps.

A bank is turned once into its principal directions, which keeps all distances. A patch and a row
are compared in the leading ones; of all that is left out only the two lengths are compared. By the
reverse triangle inequality that is never more than the distance:

    bound^2 = |q_d - b_d|^2 + (|q_rest| - |b_rest|)^2  <=  |q - b|^2

What it misses grows with the patch's own left-out length where no row is near, and vanishes where
one is. That is put back by a smooth term, whose only number comes from the bank (`quick_bank`):

    distance^2 = bound^2 + stretch * bound^2 * |q_rest|^2 / (bound^2 + |q_rest|^2)

No index is looked for: the least bound is smooth in the patch, so engines that round differently
agree, and a minimum costs a fifth of an argmin in ONNX Runtime.
"""

from __future__ import annotations

import torch
from torch import Tensor

QUICK_FLOOR = 16.0
"""Floors of `nearest.FLOOR`. A product loses the digits that a difference of two rows keeps, so
small distances end more softly, in `(d^4 + floor^4)^(1/4)`: flat at 0, where nothing but rounding
is left, and 0.3 % above d at three floors. Every engine then says the same of a photograph that
lies in the bank."""

FEWEST_ROWS = 512
"""Banks below are searched as a whole: little is saved, and too few rows tell the stretch."""

_CHUNK_ROWS = 256  # so that a chunk's product stays in the cache of a core until its minimum
_MOST_CHUNKS = 32
_TRIED_ROWS = 1000
_TINY = 1e-20


def quick_bank(bank: Tensor, squares: Tensor, directions: int) -> dict[str, Tensor]:
    """What the quick search needs, by buffer name.

    Args:
        bank: centred rows float32 `(M, d)`.
        squares: their squared norms `(M,)`.
        directions: k, below d.

    Returns:
        `turn_` `(k, d)`: leading principal directions; `coordinates_` `(k + 2, M)`: rows in them,
        negative, their left-out lengths, negative, and half their squared norms; `stretch_` `()`,
        by least squares over bank rows and their nearest other rows.
    """
    wide = bank.double()
    turn = torch.linalg.eigh(wide.T @ wide).eigenvectors.flip(1)[:, :directions].T.float()
    along = bank @ turn.T
    rest = left_out(squares, along)
    coordinates = torch.cat([-along, -rest[:, None], squares[:, None] / 2], dim=1)
    found = {"turn_": turn.contiguous(), "coordinates_": coordinates.T.contiguous()}
    return {**found, "stretch_": _stretch(bank, squares, along, rest)}


def left_out(squares: Tensor, along: Tensor) -> Tensor:
    """Length of what the leading directions leave out: `(...)` and `(..., k)` -> `(...)`."""
    return (squares - along.square().sum(dim=-1)).clamp(min=0).sqrt()


def quick_distances(
    queries: Tensor, turn: Tensor, coordinates: Tensor, stretch: Tensor, floor: Tensor
) -> Tensor:
    """Approximate distances to the nearest row `(N, cells)`; needs no index.

    Args:
        queries: centred patches `(N, cells, d)`.
        turn, coordinates, stretch: of `quick_bank`.
        floor: distances are `(d^4 + (16 floor)^4)^(1/4)`.
    """
    squares = torch.linalg.vector_norm(queries, dim=2).square()
    along = queries @ turn.T
    rest = left_out(squares, along)
    lengths = torch.stack([rest, torch.ones_like(rest)], dim=2)
    compared = torch.cat([along, lengths], dim=2)
    step = max(_CHUNK_ROWS, -(-coordinates.shape[1] // _MOST_CHUNKS))
    nearest = [
        (compared @ coordinates[:, start : start + step]).amin(dim=2, keepdim=True)
        for start in range(0, coordinates.shape[1], step)
    ]
    bound = (squares + 2 * torch.cat(nearest, dim=2).amin(dim=2)).clamp(min=0)
    distance: Tensor = bound + stretch * _missed(bound, rest.square())
    return (distance.square() + (QUICK_FLOOR * floor) ** 4).sqrt().sqrt()


def _missed(bound: Tensor, rest: Tensor) -> Tensor:
    missed: Tensor = bound * rest / (bound + rest + _TINY)
    return missed


def _stretch(bank: Tensor, squares: Tensor, along: Tensor, rest: Tensor) -> Tensor:
    """How much of what is left out to put back, from rows and their nearest other rows."""
    every = -(-len(bank) // _TRIED_ROWS)
    tried = torch.arange(0, len(bank), every)
    near = torch.cat([along, rest[:, None]], dim=1)
    exact = _to_others(bank, squares, tried)
    bound = _to_others(near, squares, tried)
    missed = _missed(bound, rest[tried].square().double())
    share = (missed * (exact - bound)).sum() / missed.square().sum().clamp(min=_TINY)
    return share.clamp(min=0).float()


def _to_others(rows: Tensor, squares: Tensor, tried: Tensor) -> Tensor:
    """Squared distance of some rows to the nearest other, float64 `(T,)`."""
    away = torch.addmm(squares, rows[tried], rows.T, alpha=-2)
    away[torch.arange(len(tried)), tried] = torch.inf
    return (away.amin(dim=1) + squares[tried]).clamp(min=0).double()
