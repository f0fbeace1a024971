"""First and second moments of nested patch features, and the whitening factors that follow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.scorers.nested import NestedGrids


class NestedMoments(nn.Module):
    """Additive float64 statistics of one Gaussian per node of a tree of grids.

    Level i keeps `sums{i}_ (P, c)` and `products{i}_ (P, c, w)`: products of a node's channels with
    its own and with those of all nodes below it, `w = c_i + sum_j K_ij c_j`. These are all the
    second moments that the concatenated per-position Gaussians have.

    Args:
        grids: the tree.

    Attributes:
        count_: number of images, int64 scalar.
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
        if min(widths) < 1:
            raise SettingsError(
                f"num_features is too small: the draw left a grid without a channel {widths}"
            )
        self.count_ = torch.zeros((), dtype=torch.int64)
        for level, width in enumerate(widths):
            nodes = self.grids.nodes(level)
            shape = (nodes, width, self._row_width(level, widths))
            self.register_buffer(f"sums{level}_", torch.zeros(nodes, width, dtype=torch.float64))
            self.register_buffer(f"products{level}_", torch.zeros(shape, dtype=torch.float64))

    def add(self, nodes: Sequence[Tensor], sign: int) -> None:
        """Add (`sign=1`) or take out (`sign=-1`) images given as nodes `(P, N, c)` per level."""
        self.count_ += sign * nodes[0].shape[1]
        precise = [part.double() for part in nodes]
        for level, part in enumerate(precise):
            row = self._row(precise, level)
            self.sums(level).add_(part.sum(dim=1), alpha=sign)
            self.products(level).baddbmm_(part.transpose(1, 2), row, alpha=sign)

    def minus(self, other: NestedMoments) -> NestedMoments:
        """Moments of the images that are in `self` but not in `other`."""
        rest = NestedMoments(self.grids)
        rest.count_ = self.count_ - other.count_
        for level in range(self.grids.levels):
            rest.register_buffer(f"sums{level}_", self.sums(level) - other.sums(level))
            rest.register_buffer(f"products{level}_", self.products(level) - other.products(level))
        return rest

    def factors(self, regularisation: float) -> list[tuple[Tensor, Tensor]]:
        """Means `(P, c)` and whitening factors `(P, c, w)` per level, float32.

        With x a node's centred channels, `x @ factor` gives, side by side, its own whitened values
        and what it contributes to the whitened values of each node below it. The squared norm of
        all whitened values along a path from root to leaf is the squared Mahalanobis distance of
        the leaf's Gaussian with covariance (divisor n - 1) + regularisation * I.

        Raises:
            FitError: fewer than 2 images, or features that are not finite.
        """
        if int(self.count_) < 2:
            raise FitError(f"padim needs at least 2 good images, got {int(self.count_)}")
        blocks = _Blocks(self, regularisation)
        joint: Tensor | None = None
        for level in range(self.grids.levels):
            joint = blocks.condition(level, joint)
        return [
            (mean.float(), torch.cat(parts, dim=2).float())
            for mean, parts in zip(blocks.means, blocks.factors, strict=True)
        ]

    def row_parts(self, level: int, widths: Sequence[int] | None = None) -> list[int]:
        """Parts of a product row: own channels, then those of all nodes below, level by level."""
        widths = self.widths if widths is None else widths
        finer = range(level + 1, self.grids.levels)
        return [widths[level], *(self.grids.children(level, j) * widths[j] for j in finer)]

    def _row_width(self, level: int, widths: Sequence[int]) -> int:
        return sum(self.row_parts(level, widths))

    def _row(self, nodes: Sequence[Tensor], level: int) -> Tensor:
        """Channels of a node beside those of all nodes below it, `(P, N, w)`."""
        finer = range(level + 1, self.grids.levels)
        below = [self.grids.stack_children(nodes[j], level, j, nodes[j].shape[2]) for j in finer]
        return torch.cat([nodes[level], *below], dim=2)


class _Blocks:
    """Covariance blocks of all levels, conditioned one level at a time, coarse to fine."""

    def __init__(self, moments: NestedMoments, regularisation: float) -> None:
        self.grids = moments.grids
        self.widths = moments.widths
        count = int(moments.count_)
        levels = range(self.grids.levels)
        self.means = [moments.sums(level) / count for level in levels]
        as_nodes = [mean[:, None] for mean in self.means]
        self.own: list[Tensor] = []
        self.cross: list[list[Tensor]] = []
        for level in levels:
            row_mean = moments._row(as_nodes, level)
            outer = self.means[level][:, :, None] * row_mean
            covariance = (moments.products(level) - count * outer) / (count - 1)
            own, *below = covariance.split(moments.row_parts(level), dim=2)
            own = own.contiguous()
            own.diagonal(dim1=1, dim2=2).add_(regularisation)
            self.own.append(own)
            self.cross.append(below)
        self.factors: list[list[Tensor]] = [[] for _ in levels]

    def condition(self, level: int, joint: Tensor | None) -> Tensor:
        """Whiten a level given all coarser ones.

        Args:
            level: the level.
            joint: inverse Cholesky factor of all coarser levels at the parents `(P_parent, D, D)`.

        Returns:
            the inverse factor that includes this level, `(P, D + c, D + c)`.
        """
        if joint is None:
            whitener = _inverse_cholesky(self.own[0])
            self.factors[0].append(whitener.transpose(1, 2))
            return whitener
        explained = joint @ self._cross_at_parents(level)
        slope = explained.transpose(1, 2) @ joint
        width, known = self.widths[level], joint.shape[1]
        explained = self._per_child(explained, level)
        remaining = self.own[level] - explained.transpose(1, 2) @ explained
        whitener = _inverse_cholesky(remaining)
        correction = -whitener @ slope.reshape(-1, width, known)
        self.factors[level].append(whitener.transpose(1, 2))
        self._hand_up(level, correction)
        if level == self.grids.levels - 1:
            return joint
        count = self.grids.children(level - 1, level)
        top = torch.cat(
            [
                joint.repeat_interleave(count, dim=0),
                joint.new_zeros(len(whitener), known, width),
            ],
            dim=2,
        )
        return torch.cat([top, torch.cat([correction, whitener], dim=2)], dim=1)

    def _cross_at_parents(self, level: int) -> Tensor:
        """Covariance of all coarser channels with this level's, `(P_parent, D, K * c)`."""
        parent = level - 1
        parts = []
        for coarse in range(level):
            block = self.cross[coarse][level - coarse - 1]
            count = self.grids.children(coarse, parent)
            split = block.reshape(len(block), self.widths[coarse], count, -1)
            parts.append(
                split.permute(0, 2, 1, 3).reshape(self.grids.nodes(parent), self.widths[coarse], -1)
            )
        return torch.cat(parts, dim=1)

    def _per_child(self, stacked: Tensor, level: int) -> Tensor:
        """`(P_parent, D, K * c)` -> `(P, D, c)`."""
        width = self.widths[level]
        split = stacked.reshape(len(stacked), stacked.shape[1], -1, width)
        return split.permute(0, 2, 1, 3).reshape(-1, stacked.shape[1], width)

    def _hand_up(self, level: int, correction: Tensor) -> None:
        """Store with each coarser level what its channels contribute to this one."""
        start = 0
        for coarse in range(level):
            width = self.widths[coarse]
            part = correction[:, :, start : start + width]
            count = self.grids.children(coarse, level)
            split = part.reshape(self.grids.nodes(coarse), count, self.widths[level], width)
            self.factors[coarse].append(
                split.permute(0, 3, 1, 2).reshape(self.grids.nodes(coarse), width, -1)
            )
            start += width


def _inverse_cholesky(covariance: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if bool(failed.any()):
        raise FitError(
            "the covariance of some position is not positive definite: the features hold NaN or "
            "infinity; check the weights file and the images"
        )
    identity = torch.eye(covariance.shape[-1], dtype=covariance.dtype).expand_as(covariance)
    inverse: Tensor = torch.linalg.solve_triangular(factor, identity, upper=False)
    return inverse
