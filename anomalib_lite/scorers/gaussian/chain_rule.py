"""Mahalanobis distances and log-densities of nested Gaussians, level by level.

With `y_m = A_m x_m + sum_(j < m) B_mj x_j` the whitened values of level m, the squared distance of
a finest cell is the sum of `|y_m|^2` along its path from the root (docs/methods/padim.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from anomalib_lite.scorers.gaussian.nested_grids import NestedGrids

Factors = Sequence[tuple[Tensor, Tensor]]
"""Mean `(P, c)` and whitening factor of each level, coarse to fine.

A factor of places `(P, c, w)` holds `A^T`, then `B^T` for every node below, child by child. One
that all places share `(c, w)` holds `A^T`, then one `B^T` for each finer level.
"""


def squared_distances(
    grids: NestedGrids, widths: Sequence[int], nodes: Sequence[Tensor], factors: Factors
) -> Tensor:
    """Squared Mahalanobis distance per finest node, `(P, N)`.

    Args:
        grids: the tree.
        widths: channels per level.
        nodes: features `(P, N, c)` per level, coarse to fine.
        factors: all of places, or all shared.
    """
    if factors[0][1].dim() == 2:
        return _by_shared_factors(grids, widths, nodes, factors)
    inherited: list[Tensor | None] = [None] * grids.levels
    squared: Tensor | None = None
    for level, (values, (mean, whitening)) in enumerate(zip(nodes, factors, strict=True)):
        product = torch.matmul(values - mean[:, None], whitening)
        own, *below = product.split(grids.row_parts(level, widths), dim=2)
        for finer, stacked in enumerate(below, start=level + 1):
            part = grids.unstack_children(stacked, level, finer, widths[finer])
            earlier = inherited[finer]
            inherited[finer] = part if earlier is None else earlier + part
        from_above = inherited[level]
        whitened = own if from_above is None else own + from_above
        squared = _down(grids, squared, whitened.square().sum(dim=2), level)
    assert squared is not None
    return squared


def log_density(
    grids: NestedGrids, widths: Sequence[int], nodes: Sequence[Tensor], factors: Factors
) -> Tensor:
    """Natural logarithm of the Gaussian density at each finest node, `(P, N)`, as above."""
    volume: Tensor | None = None
    for level, (_, whitening) in enumerate(factors):
        own = whitening[..., : widths[level]].diagonal(dim1=-2, dim2=-1)
        term = own.log().sum(dim=-1).expand(grids.nodes(level))[:, None]
        volume = _down(grids, volume, term, level)
    assert volume is not None
    squared = squared_distances(grids, widths, nodes, factors)
    return volume - squared / 2 - sum(widths) * math.log(2 * math.pi) / 2


def _by_shared_factors(
    grids: NestedGrids, widths: Sequence[int], nodes: Sequence[Tensor], factors: Factors
) -> Tensor:
    """One product a level; what it says about finer levels is added to theirs on the way down."""
    squared: Tensor | None = None
    below: Tensor | None = None
    for level, (values, (mean, whitening)) in enumerate(zip(nodes, factors, strict=True)):
        product = torch.matmul(values - mean[:, None], whitening)
        if below is not None:
            count, width = grids.children(level - 1, level), sum(widths[level:])
            split = product.reshape(grids.nodes(level - 1), count, -1, width) + below[:, None]
            product = split.reshape(grids.nodes(level), -1, width)
        own, below = product[:, :, : widths[level]], product[:, :, widths[level] :]
        squared = _down(grids, squared, own.square().sum(dim=2), level)
    assert squared is not None
    return squared


def _down(grids: NestedGrids, above: Tensor | None, term: Tensor, level: int) -> Tensor:
    """A sum along the path from the root, one level further down."""
    return term if above is None else grids.copy_to_children(above, level - 1) + term
