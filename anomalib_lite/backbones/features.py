"""What backbones give and scorers get: features, and their layout as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.backbones.cells import CellAxis


@dataclass(frozen=True)
class LayerInfo:
    """One layer of a backbone as data.

    Attributes:
        name: module name, e.g. `layer2` or `blocks.5`.
        channels: number of channels C.
        stride: input pixels per cell along each axis; the whole input for a 1x1 map.
        grid_hw: cells `(h, w)` at the layout's input size.
        offset: pixels before the first cell along each axis, the margin of an unpadded network:
            cell `(i, j)` stands for pixels from `(offset + i * stride, offset + j * stride)` on.
    """

    name: str
    channels: int
    stride: int
    grid_hw: tuple[int, int]
    offset: int = 0

    def axes(self, input_hw: tuple[int, int], border: int = 0) -> tuple[CellAxis, CellAxis]:
        """Where its cells lie on the rows and columns of the input.

        Args:
            input_hw: prepared size, pixels.
            border: cells that are put around the map on each side.

        Raises:
            SettingsError: see `CellAxis`.
        """
        start = self.offset - border * self.stride
        rows, columns = (
            CellAxis(cells + 2 * border, pixels, self.stride, start)
            for cells, pixels in zip(self.grid_hw, input_hw, strict=True)
        )
        return rows, columns


@dataclass(frozen=True, eq=False)
class FeatureLayout:
    """Everything a scorer may rely on before it sees the first image.

    Attributes:
        input_hw: prepared size `(height, width)`, pixels.
        layers: the layers in `Features.maps`, shallow to deep.
        roi: region of interest, bool `(height, width)`, or None for the whole frame.
        backbone: name of the backbone that gives them; empty for made-up features.
    """

    input_hw: tuple[int, int]
    layers: tuple[LayerInfo, ...]
    roi: NDArray[np.bool_] | None = None
    backbone: str = ""

    @property
    def pixels_inside(self) -> int:
        """Number of prepared pixels inside the region of interest."""
        height, width = self.input_hw
        return height * width if self.roi is None else int(self.roi.sum())

    def layer_of(self, grid_hw: tuple[int, int]) -> LayerInfo | None:
        """The first layer with such a grid, if there is one."""
        return next((layer for layer in self.layers if layer.grid_hw == tuple(grid_hw)), None)

    def cell_share(self, grid_hw: tuple[int, int], border: int = 0) -> Tensor:
        """Share of each cell's pixels inside the region of interest, float32 `(h, w)`.

        Args:
            grid_hw: the grid of a layer; any other divides the input evenly.
            border: cells that are put around it on each side; the result has them, too.
        """
        size_hw = (grid_hw[0] + 2 * border, grid_hw[1] + 2 * border)
        if self.roi is None:
            return torch.ones(size_hw)
        inside = torch.from_numpy(self.roi.astype(np.float32))
        layer = self.layer_of(grid_hw)
        if layer is None:
            return F.adaptive_avg_pool2d(inside[None, None], size_hw)[0, 0]
        rows, columns = layer.axes(self.input_hw, border)
        if rows.tiles and columns.tiles:
            return F.adaptive_avg_pool2d(inside[None, None], size_hw)[0, 0]
        return (rows.averaging() @ inside.double() @ columns.averaging().T).float()


@dataclass(frozen=True, eq=False)
class Features:
    """One batch through a backbone.

    Attributes:
        pixels: normalised input, float32 `(N, 3, H, W)`.
        maps: layer name -> float32 `(N, C, h, w)`; a global vector is a 1x1 map.
    """

    pixels: Tensor
    maps: dict[str, Tensor]

    def __len__(self) -> int:
        return self.pixels.shape[0]

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("Features is not iterable; read .pixels and .maps")
