"""Moments of the covariance that all places share, and its whitening factors.

Every place keeps its own mean; products are summed over the finest cells, a coarse vector standing
once for each finest cell below it, as in PaDiM's concatenation. That is the shared end of
regularised discriminant analysis (Friedman 1989, JASA 84, lambda = 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anomalib_lite.scorers.gaussian.moments import (
    NestedMoments,
    counted,
    inverse_cholesky,
    precise_and_weighted,
    require_channels,
    too_few,
    zeros,
)
from anomalib_lite.scorers.gaussian.nested_grids import NestedGrids
from anomalib_lite.system.devices import statistics_device


class PooledMoments(nn.Module):
    """Additive float64 statistics: sums per node, products once for all places.

    Level i keeps `sums{i}_ (P, c_i)` and `products{i}_ (c_i, c_i + c_(i+1) + ...)`, the products of
    its channels with its own and those of all finer levels.

    Args:
        grids: the tree.
        active: which finest cells count, bool `(h, w)`.

    Attributes:
        count_: number of images, int64 scalar; sum of their weights, float64, where they have any.
    """

    count_: Tensor

    def __init__(self, grids: NestedGrids, active: Tensor) -> None:
        super().__init__()
        self.grids = grids
        self.active = active
        self.register_buffer("count_", torch.zeros((), dtype=torch.int64))

    @classmethod
    def of(cls, moments: NestedMoments, active: Tensor) -> PooledMoments:
        """What moments of places say about the shared covariance."""
        grids, widths = moments.grids, moments.widths
        pooled = cls(grids, active)
        pooled.count_ = moments.count_
        cells = finest_cells(grids, active, moments.sums(0).device)
        for level, width in enumerate(widths):
            nodes = grids.nodes(level)
            parts = moments.products(level).split(grids.row_parts(level, widths), dim=2)
            rows = []
            for finer, part in enumerate(parts, start=level):
                split = part.reshape(nodes, width, -1, widths[finer])
                weights = cells[finer].reshape(nodes, -1)
                rows.append(torch.einsum("pk,pckd->cd", weights, split))
            pooled.register_buffer(f"sums{level}_", moments.sums(level))
            pooled.register_buffer(f"products{level}_", torch.cat(rows, dim=1))
        return pooled

    @property
    def widths(self) -> list[int]:
        """Channels per level."""
        return [self.sums(level).shape[1] for level in range(self.grids.levels)]

    def sums(self, level: int) -> Tensor:
        """Sums of a level, float64 `(P, c)`."""
        return self.get_buffer(f"sums{level}_")

    def products(self, level: int) -> Tensor:
        """Products of a level, float64 `(c, w)`."""
        return self.get_buffer(f"products{level}_")

    def numbers(self, widths: Sequence[int]) -> int:
        """How many numbers sums and products hold for given channels per level."""
        return sum(
            width * (self.grids.nodes(level) + sum(widths[level:]))
            for level, width in enumerate(widths)
        )

    def reset(self, widths: Sequence[int]) -> None:
        """Start from nothing with given channels per level."""
        require_channels(widths)
        device = statistics_device(self.count_.device)
        self.count_ = torch.zeros((), dtype=torch.int64, device=device)
        for level, width in enumerate(widths):
            shape = (width, sum(widths[level:]))
            self.register_buffer(f"sums{level}_", zeros((self.grids.nodes(level), width), device))
            self.register_buffer(f"products{level}_", zeros(shape, device))

    def add(self, nodes: Sequence[Tensor], sign: int, weights: Tensor | None = None) -> None:
        """Add (`sign=1`) or take out (`sign=-1`) images given as nodes `(P, N, c)` per level.

        Args:
            nodes: features.
            sign: 1 or -1.
            weights: how far each image counts, float64 `(N,)`; None counts all in full.
        """
        device = self.sums(0).device
        self.count_ = counted(self.count_, sign, nodes[0].shape[1], weights)
        precise, weighted = precise_and_weighted(nodes, weights, device)
        for level, part in enumerate(weighted):
            self.sums(level).add_(part.sum(dim=1), alpha=sign)
            self.products(level).add_(self._products(part, precise, level), alpha=sign)

    def copy(self) -> PooledMoments:
        """An independent copy."""
        twin = PooledMoments(self.grids, self.active)
        for name, value in self.named_buffers():
            twin.register_buffer(name, value.clone())
        return twin

    def means(self) -> list[Tensor]:
        """Means per level, float64 `(P, c)`."""
        return [self.sums(level) / float(self.count_) for level in range(self.grids.levels)]

    def covariance(self) -> Tensor:
        """Mean over the finest cells of their sample covariance (divisor n - 1), float64 `(d, d)`.

        Channels stand coarse to fine.

        Raises:
            FitError: fewer than 2 images.
        """
        count = float(self.count_)
        if count < 2:
            raise too_few(count)
        columns = [mean[:, None] for mean in self.means()]
        cells = finest_cells(self.grids, self.active, columns[0].device)[-1].sum().clamp(min=1)
        size, end = sum(self.widths), 0
        result = columns[0].new_zeros(size, size)
        for level, width in enumerate(self.widths):
            start, end = end, end + width
            between = self._products(columns[level], columns, level)
            row = (self.products(level) - count * between) / (cells * (count - 1))
            result[start:end, start:] = row
            result[start:, start:end] = row.T
        return result

    def factors(self, regularisation: float) -> list[tuple[Tensor, Tensor]]:
        """Means `(P, c)` and shared whitening factors `(c, w)` per level, float32.

        The rows of the inverse Cholesky factor of the shared covariance + regularisation * I,
        channels coarse to fine, are what every level needs of itself and of all coarser ones.

        Raises:
            FitError: fewer than 2 images, or features that are not finite.
        """
        covariance = self.covariance()
        covariance.diagonal().add_(regularisation)
        inverse = inverse_cholesky(covariance[None])[0]
        found, end = [], 0
        for mean, width in zip(self.means(), self.widths, strict=True):
            start, end = end, end + width
            found.append((mean.float(), inverse[start:, start:end].T.float().contiguous()))
        return found

    def _products(self, own: Tensor, nodes: Sequence[Tensor], level: int) -> Tensor:
        """Products `(c, w)` of `own (P, N, c)` with the nodes of its and all finer levels."""
        cells = finest_cells(self.grids, self.active, own.device)
        nodes_here, _, width = own.shape
        parts = []
        for finer in range(level, self.grids.levels):
            weighted = nodes[finer] * cells[finer][:, None, None]
            summed = weighted.reshape(nodes_here, -1, *weighted.shape[1:]).sum(dim=1)
            parts.append(own.reshape(-1, width).T @ summed.flatten(0, 1))
        return torch.cat(parts, dim=1)


def finest_cells(grids: NestedGrids, active: Tensor, device: torch.device) -> list[Tensor]:
    """Active finest cells below each node, float64 `(P,)` per level; padding counts as inactive."""
    finest = grids.to_nodes(active.double().cpu()[None, None], grids.levels - 1, 1)[:, 0, 0]
    return [
        finest.reshape(grids.nodes(level), -1).sum(dim=1).to(device)
        for level in range(grids.levels)
    ]
