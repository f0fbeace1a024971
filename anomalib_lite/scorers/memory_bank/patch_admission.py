"""Which patches of a doubtful image a bank admits: its most ordinary ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anomalib_lite.scorers.memory_bank.nearest import nearest_rows_in_fit

REFERENCE_ROWS = 2000
"""Patches of trusted images that say what is ordinary."""


def most_ordinary(rows: Tensor, weight: float, reference: dict[str, Tensor]) -> Tensor:
    """The share `weight` of an image's patches, rounded down: those nearest to trusted patches.

    What makes an image doubtful are a few of its patches. A random share would let half of them in
    at half the weight, and half a defect teaches a bank the whole of it.

    Args:
        rows: patches of the image `(n, d)`.
        weight: in [0, 1].
        reference: patches of trusted images, as `centred_bank` gives them.

    Returns:
        ascending indices into `rows`, int64 `(floor(weight * n),)`.
    """
    queries = rows - reference["mean_"]
    nearest = nearest_rows_in_fit(queries, reference["bank_"], reference["squares_"])[:, 0]
    away = (queries - reference["bank_"][nearest]).square().sum(dim=1)
    count = math.floor(weight * len(rows) + 1e-9)
    return torch.sort(torch.argsort(away, stable=True)[:count]).values
