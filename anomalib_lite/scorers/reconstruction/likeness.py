"""How alike a redrawn and a given picture are: structural similarity, and the focal loss.

SSIM: Wang, Bovik, Sheikh, Simoncelli (2004); focal loss: Lin et al. (2017). Both with the constants
of DRAEM's authors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03
_SMOOTH = 1e-5


class StructuralSimilarity(nn.Module):
    """SSIM of each pixel and channel under a Gaussian window of 11, sigma 1.5.

    Outside the picture lie zeros. The window is separable, so that all means are two matrix
    products: on a processor several times quicker than narrow convolutions.

    Args:
        size_hw: of the pictures, pixels.
        data_range: largest difference that two pixels can have.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, size_hw: tuple[int, int], data_range: float = 1.0) -> None:
        super().__init__()
        self.data_range = data_range
        rows, columns = (_window_matrix(side) for side in size_hw)
        self.register_buffer("rows", rows.float(), persistent=False)
        self.register_buffer("columns", columns.T.float().contiguous(), persistent=False)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Two batches `(N, C, H, W)` -> `(N, C, H, W)` in [-1, 1], 1 where they are the same."""
        c1, c2 = (_K1 * self.data_range) ** 2, (_K2 * self.data_range) ** 2
        mean, mean_other = self._local(one), self._local(other)
        product, squares = mean * mean_other, mean.square() + mean_other.square()
        spread = self._local(one.square() + other.square()) - squares
        common = self._local(one * other) - product
        above = (2 * product + c1) * (2 * common + c2)
        return above / ((squares + c1) * (spread + c2))

    def _local(self, values: Tensor) -> Tensor:
        return self.rows @ values @ self.columns


def _window_matrix(side: int) -> Tensor:
    """Weighted mean along one axis, float64 `(side, side)`; the window is cut at the border."""
    offsets = torch.arange(side, dtype=torch.float64)
    distance = offsets[:, None] - offsets[None, :]
    taps = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    total = torch.exp(-0.5 * (taps / _SIGMA) ** 2).sum()
    weights = torch.exp(-0.5 * (distance / _SIGMA) ** 2) / total
    return weights * (distance.abs() <= _WINDOW // 2)


def focal_loss(probabilities: Tensor, mask: Tensor) -> Tensor:
    """Loss of each pixel, gamma 2: those that are sure and right count next to nothing.

    Args:
        probabilities: of good and defective, `(N, 2, H, W)`.
        mask: 1 where the picture is defective, `(N, H, W)`.

    Returns:
        `(N, H, W)`.
    """
    good, defective = probabilities.unbind(dim=1)
    sure = mask * (1 - 2 * _SMOOTH) + _SMOOTH  # labels smoothed by 1e-5, as the authors do
    truth = sure * defective + (1 - sure) * good + _SMOOTH
    return -((1 - truth).square()) * truth.log()


def mean_inside(values: Tensor, inside: Tensor | None) -> Tensor:
    """Mean of `(..., H, W)` over the pixels of a bool mask `(H, W)`; None takes all."""
    return values.mean() if inside is None else values[..., inside].mean()
