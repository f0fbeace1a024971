"""First and second moments of nested patch features, and the whitening factors that follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.scorers.gaussian.nested_grids import NestedGrids
from anomalib_lite.system.devices import put, statistics_device


class SharedTarget(NamedTuple):
    """A covariance for all places, and how far those of places are drawn towards it.

    Attributes:
        amount: 0 to 1.
        covariance: float64 `(d, d)`, channels coarse to fine.
    """

    amount: float
    covariance: Tensor

    def row(self, grids: NestedGrids, widths: Sequence[int], level: int) -> Tensor:
        """Its part of a product row of `NestedMoments`, `(c, w)`: the same for every child."""
        blocks = self.covariance.split(list(widths), dim=0)[level].split(list(widths), dim=1)
        finer = range(level, grids.levels)
        return torch.cat([blocks[j].repeat(1, grids.children(level, j)) for j in finer], dim=1)


class NestedMoments(nn.Module):
    """Additive float64 statistics of one Gaussian per node of a tree of grids.

    Level i keeps `sums{i}_ (P, c)` and `products{i}_ (P, c, w)`: products of a node's channels with
    its own and with those of all nodes below it, `w = c_i + sum_j K_ij c_j`. These are all the
    second moments that the concatenated per-position Gaussians have.

    Args:
        grids: the tree.

    Attributes:
        count_: number of images, int64 scalar; sum of their weights, float64, where they have any.
    """

    count_: Tensor

    def __init__(self, grids: NestedGrids) -> None:
        super().__init__()
        self.grids = grids
        self.register_buffer("count_", torch.zeros((), dtype=torch.int64))

    @property
    def widths(self) -> list[int]:
        """Channels per level."""
        return [self.sums(level).shape[1] for level in range(self.grids.levels)]

    def sums(self, level: int) -> Tensor:
        """Sums of a level, float64 `(P, c)`."""
        return self.get_buffer(f"sums{level}_")

    def products(self, level: int) -> Tensor:
        """Products of a level, float64 `(P, c, w)`."""
        return self.get_buffer(f"products{level}_")

    def numbers(self, widths: Sequence[int]) -> int:
        """How many numbers the products hold for given channels per level."""
        return sum(
            self.grids.nodes(level) * width * self._row_width(level, widths)
            for level, width in enumerate(widths)
        )

    def reset(self, widths: Sequence[int]) -> None:
        """Start from nothing with given channels per level."""
        require_channels(widths)
        device = statistics_device(self.count_.device)
        self.count_ = torch.zeros((), dtype=torch.int64, device=device)
        for level, width in enumerate(widths):
            nodes = self.grids.nodes(level)
            shape = (nodes, width, self._row_width(level, widths))
            self.register_buffer(f"sums{level}_", zeros((nodes, width), device))
            self.register_buffer(f"products{level}_", zeros(shape, device))

    def add(self, nodes: Sequence[Tensor], sign: int, weights: Tensor | None = None) -> None:
        """Add (`sign=1`) or take out (`sign=-1`) images given as nodes `(P, N, c)` per level.

        Args:
            nodes: features.
            sign: 1 or -1.
            weights: how far each image counts, float64 `(N,)`; None counts all in full.
        """
        images = nodes[0].shape[1]
        device = self.sums(0).device
        self.count_ = counted(self.count_, sign, images, weights)
        precise, weighted = precise_and_weighted(nodes, weights, device)
        for level, part in enumerate(weighted):
            row = self._row(precise, level)
            self.sums(level).add_(part.sum(dim=1), alpha=sign)
            self.products(level).baddbmm_(part.transpose(1, 2), row, alpha=sign)

    def copy(self) -> NestedMoments:
        """An independent copy."""
        twin = NestedMoments(self.grids)
        twin.count_ = self.count_.clone()
        for level in range(self.grids.levels):
            twin.register_buffer(f"sums{level}_", self.sums(level).clone())
            twin.register_buffer(f"products{level}_", self.products(level).clone())
        return twin

    def factors(
        self, regularisation: float, target: SharedTarget | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Means `(P, c)` and whitening factors `(P, c, w)` per level, float32.

        Args:
            regularisation: added to the diagonal.
            target: what each covariance is drawn towards before that.

        With x a node's centred channels, `x @ factor` gives, side by side, its own whitened values
        and what it contributes to the whitened values of each node below it. The squared norm of
        all whitened values along a path from root to leaf is the squared Mahalanobis distance of
        the leaf's Gaussian with covariance (divisor n - 1) + regularisation * I.

        Raises:
            FitError: fewer than 2 images, or features that are not finite.
        """
        if float(self.count_) < 2:
            raise too_few(float(self.count_))
        blocks = _Blocks(self, regularisation, target)
        for level in range(self.grids.levels):
            blocks.condition(level)
        return blocks.factors()

    def _row_width(self, level: int, widths: Sequence[int]) -> int:
        return sum(self.grids.row_parts(level, widths))

    def _row(self, nodes: Sequence[Tensor], level: int) -> Tensor:
        """Channels of a node beside those of all nodes below it, `(P, N, w)`."""
        finer = range(level + 1, self.grids.levels)
        below = [self.grids.stack_children(nodes[j], level, j, nodes[j].shape[2]) for j in finer]
        return torch.cat([nodes[level], *below], dim=2)


def counted(count: Tensor, sign: int, images: int, weights: Tensor | None) -> Tensor:
    """A number of images after some came or went, on the same device; float64 with weights."""
    if weights is None:
        return count + sign * images
    return put(count.cpu() + sign * weights.sum().cpu(), count.device)


def precise_and_weighted(
    nodes: Sequence[Tensor], weights: Tensor | None, device: torch.device
) -> tuple[list[Tensor], list[Tensor]]:
    """Nodes `(P, N, c)` in float64 on a device, and the same with each image by its weight."""
    precise = [part.to(device).double() for part in nodes]
    if weights is None:
        return precise, precise
    return precise, [weights.to(device)[:, None] * part for part in precise]


def require_channels(widths: Sequence[int]) -> None:
    """Raise `SettingsError` unless the draw left every grid a channel."""
    if min(widths) < 1:
        raise SettingsError(
            f"num_features is too small: the draw left a grid without a channel {widths}"
        )


def zeros(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Statistics that are still empty, float64."""
    return torch.zeros(shape, dtype=torch.float64, device=device)


def too_few(images: float) -> FitError:
    """The error of a fit on fewer than two images."""
    return FitError(f"padim needs at least 2 good images, got {images:g}")


class _Blocks:
    """Covariance blocks of all levels, conditioned one level at a time, coarse to fine.

    With `x_j` the centred channels of level j, the whitened values of level m are
    `y_m = A_m x_m + sum_(j < m) B_mj x_j`, where `A_m` is the inverse Cholesky factor of what the
    coarser levels leave unexplained. `rows[m]` holds `[B_m0, B_m1, ..., A_m]`, each `(P_m, c_m,
    c_j)`.
    """

    def __init__(
        self, moments: NestedMoments, regularisation: float, target: SharedTarget | None
    ) -> None:
        self.grids = moments.grids
        self.widths = moments.widths
        self.rows: list[list[Tensor]] = []
        count = float(moments.count_)
        levels = range(self.grids.levels)
        self.means = [moments.sums(level) / count for level in levels]
        as_nodes = [mean[:, None] for mean in self.means]
        self.cross: list[list[Tensor]] = []
        for level in levels:
            covariance = torch.baddbmm(
                moments.products(level),
                self.means[level][:, :, None],
                moments._row(as_nodes, level),
                beta=1 / (count - 1),
                alpha=-count / (count - 1),
            )
            if target is not None:
                shared = target.row(self.grids, self.widths, level)
                covariance.mul_(1 - target.amount).add_(target.amount * shared)
            covariance.diagonal(dim1=1, dim2=2).add_(regularisation)
            self.cross.append(
                list(covariance.split(self.grids.row_parts(level, self.widths), dim=2))
            )

    def condition(self, level: int) -> None:
        """Find `rows[level]`, given those of all coarser levels."""
        remaining = self.cross[level][0].contiguous()
        explained = []
        for coarse in range(level):
            part = self._explained(coarse, level)
            explained.append(part)
            per_child = self._per_child(part, coarse, level)
            remaining = remaining - per_child.transpose(1, 2) @ per_child
        whitener = inverse_cholesky(remaining)
        row = []
        if level == self.grids.levels - 1:
            # Nothing is conditioned on the finest rows: single precision, as they are stored.
            explained = [part.float() for part in explained]
            self.rows = [[part.float() for part in parts] for parts in self.rows]
            whitener = whitener.float()
        for target in range(level):
            slope: Tensor | None = None
            for coarse in range(target, level):
                term = explained[coarse].transpose(1, 2) @ self.rows[coarse][target]
                at_nodes = term.reshape(-1, self.widths[level], self.widths[target])
                slope = at_nodes if slope is None else slope + at_nodes
            assert slope is not None
            row.append(-whitener @ slope)
        self.rows.append([*row, whitener])

    def factors(self) -> list[tuple[Tensor, Tensor]]:
        """Means and factors in the layout of `NestedMoments.factors`, float32."""
        result = []
        for level, mean in enumerate(self.means):
            parts = [self.rows[level][level].float().transpose(1, 2)]
            for finer in range(level + 1, self.grids.levels):
                part = self.rows[finer][level].float()
                nodes, width = self.grids.nodes(level), self.widths[level]
                split = part.reshape(nodes, -1, self.widths[finer], width)
                parts.append(split.permute(0, 3, 1, 2).reshape(nodes, width, -1))
            result.append((mean.float(), torch.cat(parts, dim=2)))
        return result

    def _explained(self, coarse: int, level: int) -> Tensor:
        """Covariance of a coarse level's whitened values with this level, `(P, c, K * c_level)`."""
        total: Tensor | None = None
        for source, matrix in enumerate(self.rows[coarse]):
            block = self._at(source, coarse, level)
            term = matrix @ block
            total = term if total is None else total + term
        assert total is not None
        return total

    def _at(self, source: int, coarse: int, level: int) -> Tensor:
        """Covariance of `source` channels with `level`, at the nodes of `coarse` in between."""
        block = self.cross[source][level - source]
        if source == coarse:
            return block
        count = self.grids.children(source, coarse)
        split = block.reshape(len(block), self.widths[source], count, -1)
        return split.permute(0, 2, 1, 3).reshape(self.grids.nodes(coarse), self.widths[source], -1)

    def _per_child(self, stacked: Tensor, coarse: int, level: int) -> Tensor:
        """`(P_coarse, c, K * c_level)` -> `(P_level, c, c_level)`."""
        width, count = self.widths[level], self.grids.children(coarse, level)
        split = stacked.reshape(len(stacked), self.widths[coarse], count, width)
        return split.permute(0, 2, 1, 3).reshape(-1, self.widths[coarse], width)


def inverse_cholesky(covariance: Tensor) -> Tensor:
    """Inverse Cholesky factors of covariances `(P, c, c)`; `FitError` when they have none."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if bool(failed.any()):
        raise FitError(
            "the covariance of some position is not positive definite: the features hold NaN or "
            "infinity; check the weights file and the images"
        )
    identity = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    identity = identity.expand_as(covariance)
    inverse: Tensor = torch.linalg.solve_triangular(factor, identity, upper=False)
    return inverse
