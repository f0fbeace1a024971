"""Compact PaDiM: positions keep their own mean and share covariances with their neighbours.

The paper estimates the covariance of a position from as many vectors as there are images, and
stores it for every position; neighbours see nearly the same one. With layers coarse to fine and
`u = x - mean`, the chain rule of Gaussians splits the distance into one term a layer,

    d2 = |A0 u0|^2 + |A1 (u1 - C10 u0)|^2 + |A2 (u2 - C20 u0 - C21 u1)|^2,

and cells share `A` and `C`: those of the coarsest layer in squares called *blocks*, those of finer
layers in *groups* (a quarter of a block, but at least one cell of the second layer). It is still
one full-rank Gaussian per position. `C` is rounded to 8 bits and `A` found for the rounded `C`; the
rest is rounded to half precision. That is part of the fit, so that every copy of a model holds the
same numbers (docs/methods/padim.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from anomalib_lite.edge.errors import FitError
from anomalib_lite.scorers.gaussian.moments import (
    counted,
    inverse_cholesky,
    precise_and_weighted,
    require_channels,
    too_few,
    zeros,
)
from anomalib_lite.scorers.gaussian.nested_grids import SharedGrids


class SharedMoments(nn.Module):
    """Additive float64 statistics of the compact form.

    `sums{i}_ (P, c_i)` are per node of layer i. `products{i}_ (squares, c_i, c_0 + ... + c_i)` are
    those of layer i with all coarser ones and itself, summed over images and over the finest cells
    of a square, a coarse vector standing once for each finest cell below it, as in PaDiM's
    concatenation.

    Args:
        grids: the tree.
        active: which finest cells count, bool `(h, w)`.

    Attributes:
        count_: number of images, int64 scalar; sum of their weights, float64, where they have any.
    """

    count_: Tensor
    finest: Tensor

    def __init__(self, grids: SharedGrids, active: Tensor) -> None:
        super().__init__()
        self.grids = grids
        self.active = active
        tree = grids.tree
        finest = tree.to_nodes(active.double()[None, None], tree.levels - 1, 1)[:, 0, 0]
        self.register_buffer("finest", finest, persistent=False)
        self.register_buffer("count_", torch.zeros((), dtype=torch.int64))

    @property
    def widths(self) -> list[int]:
        """Channels per layer."""
        return [self.sums(layer).shape[1] for layer in range(len(self.grids.layers))]

    def sums(self, layer: int) -> Tensor:
        """Sums of a layer, float64 `(P, c)`."""
        return self.get_buffer(f"sums{layer}_")

    def products(self, layer: int) -> Tensor:
        """Products of a layer, float64 `(squares, c, w)`."""
        return self.get_buffer(f"products{layer}_")

    def numbers(self, widths: Sequence[int]) -> int:
        """How many numbers sums and products hold for given channels per layer."""
        tree, grids, total = self.grids.tree, self.grids, 0
        for layer, width in enumerate(widths):
            row = sum(widths[: layer + 1])
            total += width * tree.nodes(grids.layers[layer])
            total += width * row * tree.nodes(grids.stored[layer])
        return total

    def reset(self, widths: Sequence[int]) -> None:
        """Start from nothing with given channels per layer."""
        require_channels(widths)
        tree, device = self.grids.tree, self.finest.device
        self.count_ = torch.zeros((), dtype=torch.int64, device=device)
        for layer, width in enumerate(widths):
            nodes, squares = tree.nodes(self.grids.layers[layer]), self.grids.stored[layer]
            row = sum(widths[: layer + 1])
            shape = (tree.nodes(squares), width, row)
            self.register_buffer(f"sums{layer}_", zeros((nodes, width), device))
            self.register_buffer(f"products{layer}_", zeros(shape, device))

    def add(self, nodes: Sequence[Tensor], sign: int, weights: Tensor | None = None) -> None:
        """Add (`sign=1`) or take out (`sign=-1`) images given as nodes `(P, N, c)` per layer.

        Args:
            nodes: features.
            sign: 1 or -1.
            weights: how far each image counts, float64 `(N,)`; None counts all in full.
        """
        images = nodes[0].shape[1]
        device = self.finest.device
        self.count_ = counted(self.count_, sign, images, weights)
        precise, weighted = precise_and_weighted(nodes, weights, device)
        for layer, part in enumerate(weighted):
            self.sums(layer).add_(part.sum(dim=1), alpha=sign)
            self.products(layer).add_(self._products(precise, part, layer), alpha=sign)

    def copy(self) -> SharedMoments:
        """An independent copy."""
        twin = SharedMoments(self.grids, self.active)
        twin.count_ = self.count_.clone()
        twin.finest = self.finest
        for name, value in self.named_buffers():
            if name.endswith("_"):
                twin.register_buffer(name, value.clone())
        return twin

    def factors(self, regularisation: float) -> dict[str, Tensor]:
        """What `shared_distances` needs, by name.

        `centre{i}_ (c,)` float32 and `offset{i}_ (P, c)` half: a node's mean is their sum.
        `slope{i}_ (squares, c_0 + ... + c_(i-1), c_i)` int8 times `scale{i}_ (squares, 1, c_i)`
        half: `-C_i^T` of all but the coarsest layer. `whitening{i}_` half: `A_i` as
        `pack_triangles` writes it.

        Raises:
            FitError: fewer than 2 images, features that are not finite, or factors beyond half
                precision.
        """
        count = float(self.count_)
        if count < 2:
            raise too_few(count)
        means = [self.sums(layer) / count for layer in range(len(self.widths))]
        found = {}
        for layer, (mean, width) in enumerate(zip(means, self.widths, strict=True)):
            centre = mean.mean(dim=0).float()
            found[f"centre{layer}_"] = centre
            found[f"offset{layer}_"] = (mean - centre).half()
            joint = self._covariance(means, regularisation, layer)
            own = joint[:, -width:, -width:]
            if layer:
                above, cross = joint[:, :-width, :-width], joint[:, :-width, -width:]
                rounded, scale = _to_bytes(-torch.linalg.solve(above, cross))
                slope = rounded.double() * scale.double()
                found[f"slope{layer}_"], found[f"scale{layer}_"] = rounded, scale
                mixed = cross.transpose(1, 2) @ slope
                own = own + mixed + mixed.transpose(1, 2) + slope.transpose(1, 2) @ above @ slope
            found[f"whitening{layer}_"] = pack_triangles(inverse_cholesky(own)).half()
        # In the order that a file keeps: products of other layouts round otherwise.
        return {name: _finite(value).contiguous() for name, value in found.items()}

    def _products(self, nodes: Sequence[Tensor], own: Tensor, layer: int) -> Tensor:
        """Products of a layer, given as `own (P, N, c)`, with `nodes[:layer + 1]`."""
        grids, tree = self.grids, self.grids.tree
        squares = tree.nodes(grids.stored[layer])
        parts = []
        for coarse in range(layer + 1):
            level = max(grids.layers[coarse], grids.stored[layer])
            other = self._copied(nodes[coarse], grids.layers[coarse], level)
            finest = max(grids.layers[layer], level)
            cells = self.finest.reshape(tree.nodes(finest), -1).sum(dim=1)
            mine = self._copied(own, grids.layers[layer], finest) * cells[:, None, None]
            mine = mine.reshape(tree.nodes(level), -1, *mine.shape[1:]).sum(dim=1)
            left = mine.reshape(squares, -1, mine.shape[2]).transpose(1, 2)
            parts.append(left @ other.reshape(squares, -1, other.shape[2]))
        return torch.cat(parts, dim=2)

    def _copied(self, nodes: Tensor, level: int, finer: int) -> Tensor:
        count = self.grids.tree.children(level, finer)
        return nodes if count == 1 else nodes.repeat_interleave(count, dim=0)

    def _covariance(self, means: Sequence[Tensor], regularisation: float, last: int) -> Tensor:
        """Covariance `(squares, d, d)` of layers up to `last`, in the squares that layer shares."""
        tree, count = self.grids.tree, float(self.count_)
        size, widths = tree.nodes(self.grids.shared[last]), self.widths[: last + 1]
        cells = self.finest.reshape(size, -1).sum(dim=1).clamp(min=1)
        result = means[0].new_zeros(size, sum(widths), sum(widths))
        columns = [mean[:, None] for mean in means]
        end = 0
        for layer, width in enumerate(widths):
            start, end = end, end + width
            spread = self.products(layer) - count * self._products(columns, columns[layer], layer)
            pooled = spread.reshape(size, -1, *spread.shape[1:]).sum(dim=1)
            pooled = pooled / (cells * (count - 1))[:, None, None]
            result[:, start:end, :end] = pooled
            result[:, :end, start:end] = pooled.transpose(1, 2)
        result.diagonal(dim1=1, dim2=2).add_(regularisation)
        return result


def shared_distances(
    grids: SharedGrids,
    widths: Sequence[int],
    nodes: Sequence[Tensor],
    take: Callable[[str], Tensor],
) -> Tensor:
    """Mahalanobis distance per finest cell, `(N, h, w)`.

    Args:
        grids: the tree.
        widths: channels per layer.
        nodes: features `(P, N, c)` per layer, coarse to fine.
        take: gives a factor of `SharedMoments.factors` by name.
    """
    tree = grids.tree
    centred: list[Tensor] = []
    squared: Tensor | None = None
    for layer, values in enumerate(nodes):
        width, squares = widths[layer], tree.nodes(grids.shared[layer])
        mean = take(f"centre{layer}_") + take(f"offset{layer}_").float()
        left = values - mean[:, None]
        centred.append(left)
        for coarse in reversed(range(layer)):
            start = sum(widths[:coarse])
            slopes = take(f"slope{layer}_").float() * take(f"scale{layer}_").float()
            slope = slopes[:, start : start + widths[coarse]]
            level = max(grids.layers[coarse], grids.shared[layer])
            count = tree.children(grids.layers[coarse], level)
            part = centred[coarse]
            if count > 1:
                stacked = torch.stack([part] * count, dim=1)
                part = stacked.reshape(tree.nodes(level), -1, widths[coarse])
            explained = torch.matmul(part.reshape(squares, -1, widths[coarse]), slope)
            left = _add_copies(left, explained.reshape(tree.nodes(level), -1, width))
        whitening = unpack_triangles(take(f"whitening{layer}_").float(), squares)
        whitened = torch.matmul(left.reshape(squares, -1, width), whitening)
        term = whitened.square().sum(dim=2).reshape(tree.nodes(grids.layers[layer]), -1)
        squared = term if squared is None else _add_copies(term, squared)
    assert squared is not None
    return tree.from_nodes(squared.sqrt(), tree.levels - 1)


def _to_bytes(slopes: Tensor) -> tuple[Tensor, Tensor]:
    """`(P, a, c)` as int8 and the half scale `(P, 1, c)` that it is to be multiplied by."""
    # The smallest normal half: a layer without variation has slopes of zero.
    scale = (slopes.abs().amax(dim=1, keepdim=True) / 127).clamp(min=2.0**-14).half()
    rounded = (slopes / scale.double()).round().clamp(-127, 127)
    if not bool(torch.isfinite(scale).all() and torch.isfinite(rounded).all()):
        raise _beyond_half()
    return rounded.to(torch.int8), scale


def pack_triangles(lower: Tensor) -> Tensor:
    """Lower triangles `(P, c, c)` two by two: `(ceil(P / 2), c, c + 1)` without a zero."""
    if lower.shape[0] % 2:
        lower = torch.cat([lower, lower[-1:]])
    even, odd = lower[::2], lower[1::2]
    beside = torch.zeros_like(even[:, :, :1])
    return torch.cat([even, beside], dim=2) + torch.cat([beside, odd.transpose(1, 2)], dim=2)


def unpack_triangles(packed: Tensor, count: int) -> Tensor:
    """The first `count` packed triangles, transposed: upper `(P, c, c)`."""
    size = packed.shape[1]
    lower = torch.ones(size, size, device=packed.device).tril()
    even = (packed[:, :, :size] * lower).transpose(1, 2)
    odd = packed[:, :, 1:] * lower.T
    return torch.stack([even, odd], dim=1).reshape(-1, size, size)[:count]


def _add_copies(values: Tensor, coarse: Tensor) -> Tensor:
    """`(P, N, ...)` plus the value of each node's ancestor in `(P', N, ...)`."""
    count, rest = values.shape[0], values.shape[2:]
    split = values.reshape(coarse.shape[0], count // coarse.shape[0], -1, *rest)
    return (split + coarse[:, None]).reshape(count, -1, *rest)


def _finite(value: Tensor) -> Tensor:
    if not bool(torch.isfinite(value).all()):
        raise _beyond_half()
    return value


def _beyond_half() -> FitError:
    return FitError(
        "a factor of the compact form is beyond half precision; raise regularisation, or leave "
        "compact out"
    )
