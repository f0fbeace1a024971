"""Enlarge and blur a map with two matrices; bring a map to the cells of another grid.

Bilinear enlargement (pixel centres aligned, `align_corners=False`) followed by a Gaussian blur is
linear and separable, so both together are `A_h map A_w^T` with one constant matrix per axis:
exactly the textbook result, for the price of two small products. Values stand where the network's
cells lie (`backbones.cells`), also where they reach over the picture or leave a margin.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from anomalib_lite.backbones.cells import CellAxis, resampling
from anomalib_lite.backbones.features import FeatureLayout, LayerInfo


def enlarge_and_blur_matrix(cells: int, pixels: int, sigma: float) -> Tensor:
    """Matrix float64 `(pixels, cells)` of enlargement then blur along one axis.

    The cells divide the pixels evenly.

    Args:
        cells: length of the map.
        pixels: length of the result.
        sigma: standard deviation of the blur, result pixels; 0 = none. The kernel is cut at 4 sigma
            and the border is mirrored with the edge pixel repeated.
    """
    identity = torch.eye(cells, dtype=torch.float64)[None]
    enlarged = F.interpolate(identity, size=pixels, mode="linear", align_corners=False)[0].T
    return _blurred(enlarged, sigma)


def _blurred(enlarged: Tensor, sigma: float) -> Tensor:
    """An enlargement `(pixels, cells)`, then the blur."""
    pixels = enlarged.shape[0]
    if sigma <= 0:
        return enlarged.contiguous()
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    blur = torch.zeros(pixels, pixels, dtype=torch.float64)
    for row in range(pixels):
        source = _mirror(row + offsets.long(), pixels)
        blur[row].index_add_(0, source, kernel)
    return blur @ enlarged


def _mirror(index: Tensor, length: int) -> Tensor:
    """Half-sample symmetric border: ... 1 0 | 0 1 2 ... n-1 | n-1 n-2 ..."""
    wrapped = index % (2 * length)
    return torch.where(wrapped < length, wrapped, 2 * length - 1 - wrapped)


class EnlargeAndBlur(nn.Module):
    """Map `(N, h, w)` -> `(N, H, W)`, enlarged, blurred, zero outside the region of interest.

    With a region of interest the blur is normalised (weights of outside cells are left out, the
    rest re-scaled), so that nothing outside leaks in and values at its border are not dimmed.

    Args:
        grid_hw: cells of the map.
        size_hw: size of the result, pixels.
        sigma: blur, result pixels.
        cell_share: share of each cell inside the region of interest, `(h, w)`.
        roi: bool `(H, W)` or None.
        axes: where the cells lie on rows and columns; None divides the pixels evenly.
    """

    rows: Tensor
    columns: Tensor
    cell_mask: Tensor
    gain: Tensor

    def __init__(
        self,
        grid_hw: tuple[int, int],
        size_hw: tuple[int, int],
        sigma: float,
        cell_share: Tensor | None = None,
        roi: NDArray[np.bool_] | None = None,
        axes: tuple[CellAxis, CellAxis] | None = None,
    ) -> None:
        super().__init__()
        if axes is None:
            rows, columns = (
                enlarge_and_blur_matrix(cells, pixels, sigma)
                for cells, pixels in zip(grid_hw, size_hw, strict=True)
            )
        else:
            rows, columns = (_blurred(axis.enlarging(), sigma) for axis in axes)
        columns = columns.T.contiguous()
        self.register_buffer("rows", rows.float(), persistent=False)
        self.register_buffer("columns", columns.float(), persistent=False)
        self.limited = roi is not None and cell_share is not None
        if roi is not None and cell_share is not None:
            mask = (cell_share > 0).double()
            weight = rows @ mask @ columns
            inside = torch.from_numpy(roi)
            gain = torch.where(inside, 1 / weight.clamp(min=1e-12), torch.zeros(()).double())
            self.register_buffer("cell_mask", mask.float(), persistent=False)
            self.register_buffer("gain", gain.float(), persistent=False)

    @classmethod
    def of_grid(
        cls, layout: FeatureLayout, grid_hw: tuple[int, int], sigma: float, border: int = 0
    ) -> EnlargeAndBlur:
        """From the grid of one of the layout's layers to its input.

        Args:
            layout: input size, layers and region of interest.
            grid_hw: cells of the layer.
            sigma: blur, input pixels.
            border: cells that were put around the map on each side.

        Raises:
            SettingsError: it is not known where the cells look.
        """
        layer = layout.layer_of(grid_hw)
        axes = None if layer is None else layer.axes(layout.input_hw, border)
        size_hw = (grid_hw[0] + 2 * border, grid_hw[1] + 2 * border)
        share = layout.cell_share(grid_hw, border)
        return cls(size_hw, layout.input_hw, sigma, share, layout.roi, axes)

    def forward(self, maps: Tensor) -> Tensor:
        if not self.limited:
            return self.rows @ maps @ self.columns
        return (self.rows @ (maps * self.cell_mask) @ self.columns) * self.gain


class OntoGrid(nn.Module):
    """Maps of a layer `(N, C, h, w)` -> bilinear values at the cells of a finer layer.

    Args:
        source: the layer.
        target: the finer one.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, source: LayerInfo, target: LayerInfo) -> None:
        super().__init__()
        self.grid_hw = target.grid_hw
        self.same = source.grid_hw == target.grid_hw and source.offset == target.offset
        if not self.same:
            # Two products: in ONNX Runtime a third of the time of its resize.
            rows, columns = (
                resampling(
                    coarse, source.stride, fine, target.stride, source.offset - target.offset
                )
                for coarse, fine in zip(source.grid_hw, target.grid_hw, strict=True)
            )
            self.register_buffer("rows", rows.float(), persistent=False)
            self.register_buffer("columns", columns.T.float().contiguous(), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        return maps if self.same else self.rows @ maps @ self.columns
