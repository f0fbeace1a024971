"""LNAMD: tokens that know their neighbourhood (Li et al. 2024, section 3.2 of MuSc).

Each image's map is normalised as a whole, averaged over r x r neighbourhoods, and every cell
becomes a unit vector, so that a product of two tokens is their cosine.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

_EPSILON = 1e-5  # that of the authors' layer normalisation


def normalise_maps(maps: Tensor) -> Tensor:
    """Zero mean and unit variance over all channels and cells of each image, `(N, C, h, w)`."""
    centred = maps - maps.mean(dim=(1, 2, 3), keepdim=True)
    variance = centred.square().mean(dim=(1, 2, 3), keepdim=True)
    return centred / (variance + _EPSILON).sqrt()


def unit_tokens(normalised: Tensor, degree: int, cells: Tensor | None = None) -> Tensor:
    """Mean over degree x degree cells (zeros beyond the border count), as unit vectors.

    Args:
        normalised: `(N, C, h, w)` of `normalise_maps`.
        degree: odd; 1 leaves the cells as they are.
        cells: which of the h * w cells to keep; None keeps all.

    Returns:
        float32 `(N, P, C)`, P cells in reading order.
    """
    if degree > 1:
        normalised = F.avg_pool2d(normalised, degree, stride=1, padding=degree // 2)
    rows = normalised.flatten(2).transpose(1, 2)
    if cells is not None:
        rows = rows[:, cells]
    return F.normalize(rows, dim=2)
