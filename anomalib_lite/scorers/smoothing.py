"""Enlarge and blur a map with two matrices.

Bilinear enlargement (pixel centres aligned, `align_corners=False`) followed by a Gaussian blur is
linear and separable, so both together are `A_h map A_w^T` with one constant matrix per axis:
exactly the textbook result, for the price of two small products.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn


def enlarge_and_blur_matrix(cells: int, pixels: int, sigma: float) -> Tensor:
    """Matrix float64 `(pixels, cells)` of enlargement then blur along one axis.

    Args:
        cells: length of the map.
        pixels: length of the result.
        sigma: standard deviation of the blur, result pixels; 0 = none. The kernel is cut at 4 sigma
            and the border is mirrored with the edge pixel repeated.
    """
    identity = torch.eye(cells, dtype=torch.float64)[None]
    enlarged = F.interpolate(identity, size=pixels, mode="linear", align_corners=False)[0].T
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
    ) -> None:
        super().__init__()
        rows = enlarge_and_blur_matrix(grid_hw[0], size_hw[0], sigma)
        columns = enlarge_and_blur_matrix(grid_hw[1], size_hw[1], sigma).T.contiguous()
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

    def forward(self, maps: Tensor) -> Tensor:
        if not self.limited:
            return self.rows @ maps @ self.columns
        return (self.rows @ (maps * self.cell_mask) @ self.columns) * self.gain
