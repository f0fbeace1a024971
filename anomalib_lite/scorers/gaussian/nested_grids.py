"""Nested grids: layers of different stride as one tree of nodes.

A coarse cell covers `r x r` cells of the next finer grid. Nodes are numbered so that the children
of a node stand together; then going from parents to children, or stacking children beside their
parent, is a reshape. Grids whose side is no multiple of r are padded at the right and bottom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalib_lite.edge.errors import SettingsError


@dataclass(frozen=True)
class NestedGrids:
    """Grids from coarse to fine.

    Attributes:
        grids: true cells `(h, w)` per level, coarse first.
        ratios: children per axis from level i to level i + 1, length `levels - 1`.
    """

    grids: tuple[tuple[int, int], ...]
    ratios: tuple[int, ...]

    @classmethod
    def from_strides(cls, strides: Sequence[int], grids: Sequence[tuple[int, int]]) -> NestedGrids:
        """Build from levels ordered coarse to fine; `SettingsError` when they do not nest."""
        ratios = []
        for level in range(len(strides) - 1):
            ratio, rest = divmod(strides[level], strides[level + 1])
            expected = tuple(-(-side // ratio) for side in grids[level + 1]) if ratio else ()
            if rest or expected != tuple(grids[level]):
                raise SettingsError(
                    f"layer grids {grids[level + 1]} and {grids[level]} do not nest; choose an "
                    "image size that is a multiple of 32, or other layers"
                )
            ratios.append(ratio)
        return cls(tuple(grids), tuple(ratios))

    @property
    def levels(self) -> int:
        """Number of levels."""
        return len(self.grids)

    def children(self, level: int, finer: int) -> int:
        """Nodes of level `finer` under one node of `level`."""
        count = 1
        for ratio in self.ratios[level:finer]:
            count *= ratio * ratio
        return count

    def nodes(self, level: int) -> int:
        """Number of nodes at a level, padding included."""
        return self.grids[0][0] * self.grids[0][1] * self.children(0, level)

    def row_parts(self, level: int, widths: Sequence[int]) -> list[int]:
        """Parts of a row: own channels, then those of all nodes below, level by level."""
        finer = range(level + 1, self.levels)
        return [widths[level], *(self.children(level, j) * widths[j] for j in finer)]

    def to_nodes(self, maps: Tensor, level: int, channels: int) -> Tensor:
        """Map `(N, C, h, w)` of a level -> nodes `(P, N, C)`.

        Sizes other than N are given as numbers here and below, so that an exported graph holds
        constant shapes.
        """
        rows, columns = self._padded(level)
        height, width = self.grids[level]
        if (rows, columns) != (height, width):
            maps = F.pad(maps, (0, columns - width, 0, rows - height))
        ratios = self.ratios[:level]
        split = maps.reshape(-1, channels, self.grids[0][0], *ratios, self.grids[0][1], *ratios)
        order = [*self._interleaved(level, 2), 0, 1]
        return split.permute(*order).reshape(self.nodes(level), -1, channels)

    def from_nodes(self, nodes: Tensor, level: int) -> Tensor:
        """Nodes `(P, N)` of a level -> map `(N, h, w)`, padding cut off."""
        shape = [*self.grids[0]]
        for ratio in self.ratios[:level]:
            shape += [ratio, ratio]
        split = nodes.reshape(*shape, -1)
        axes = len(shape)
        order = [axes, *range(0, axes, 2), *range(1, axes, 2)]
        rows, columns = self._padded(level)
        full = split.permute(*order).reshape(-1, rows, columns)
        if (rows, columns) == self.grids[level]:
            return full
        return full[:, : self.grids[level][0], : self.grids[level][1]]

    def stack_children(self, nodes: Tensor, level: int, finer: int, channels: int) -> Tensor:
        """Nodes `(P_finer, N, C)` -> per parent `(P_level, N, K * C)`."""
        count = self.children(level, finer)
        stacked = nodes.reshape(self.nodes(level), count, -1, channels)
        return stacked.permute(0, 2, 1, 3).reshape(self.nodes(level), -1, count * channels)

    def unstack_children(self, stacked: Tensor, level: int, finer: int, channels: int) -> Tensor:
        """Inverse of `stack_children`: `(P_level, N, K * C)` -> `(P_finer, N, C)`."""
        count = self.children(level, finer)
        split = stacked.reshape(self.nodes(level), -1, count, channels)
        return split.permute(0, 2, 1, 3).reshape(self.nodes(finer), -1, channels)

    def copy_to_children(self, values: Tensor, level: int) -> Tensor:
        """Per-node values `(P_level, N)` -> the same for each child `(P_(level + 1), N)`."""
        count = self.children(level, level + 1)
        if count == 1:
            return values
        copied = torch.stack([values] * count, dim=1)
        return copied.reshape(self.nodes(level + 1), -1)

    def _padded(self, level: int) -> tuple[int, int]:
        rows, columns = self.grids[0]
        for ratio in self.ratios[:level]:
            rows, columns = rows * ratio, columns * ratio
        return rows, columns

    def _interleaved(self, level: int, first: int) -> list[int]:
        """Axis order (row, column, row, column, ...) of a split whose rows stand before columns."""
        per_axis = level + 1
        order = []
        for step in range(per_axis):
            order += [first + step, first + per_axis + step]
        return order


class SharedGrids:
    """The tree of layers and of the squares that share statistics.

    Args:
        strides: of the layers, pixels per cell, coarse to fine.
        grids: cells `(h, w)` of the layers, coarse to fine.
        cells: coarsest cells per side of a block, a power of two.

    Attributes:
        tree: all grids, coarse to fine.
        layers: tree level of each layer.
        shared: tree level of the squares that share each layer's covariance.
        stored: tree level at which products of each layer are summed: the finest that its own
            covariance or a finer layer's needs.
    """

    def __init__(
        self, strides: Sequence[int], grids: Sequence[tuple[int, int]], cells: int
    ) -> None:
        NestedGrids.from_strides(strides, grids)
        block = cells * strides[0]
        group = block // 2 if cells > 1 else strides[min(1, len(strides) - 1)]
        squares = [block, *(group for _ in strides[1:])]
        levels = sorted({*squares, *strides}, reverse=True)
        fine, (height, width) = strides[-1], grids[-1]
        self.tree = NestedGrids.from_strides(
            levels, [(-(-height * fine // s), -(-width * fine // s)) for s in levels]
        )
        self.layers = [levels.index(stride) for stride in strides]
        self.shared = [levels.index(stride) for stride in squares]
        self.stored = [max(self.shared[layer:]) for layer in range(len(strides))]
