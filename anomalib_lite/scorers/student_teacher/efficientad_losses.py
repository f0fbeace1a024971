"""EfficientAD's losses and its one augmentation, as pure functions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_GREY = (0.299, 0.587, 0.114)
STRENGTH = 0.2


def hard_feature_loss(squares: Tensor, quantile: float) -> Tensor:
    """Mean of the squared differences that reach their own quantile (equation 2 and text).

    Args:
        squares: squared differences of one image, any shape: the quantile is over channels and
            places alike.
        quantile: p_hard; 0 takes the plain mean.
    """
    if quantile <= 0:
        return squares.mean()
    values = squares.detach().flatten()
    at_least = values >= linear_quantile(values, quantile)
    return (squares.flatten() * at_least).sum() / at_least.sum()


def linear_quantile(values: Tensor, quantile: float) -> Tensor:
    """As `torch.quantile`, without its limit of 2^24 values and without sorting what lies below."""
    position = quantile * (values.numel() - 1)
    below = int(position)
    top = torch.topk(values, values.numel() - below).values
    low, high = top[-1], top[-2] if len(top) > 1 else top[-1]
    return low + (position - below) * (high - low)


def augmented(frames_nhwc: Tensor, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast or saturation of one picture times a factor within 0.8 to 1.2.

    Args:
        frames_nhwc: prepared, uint8 `(1, H, W, 3)`.
        rng: draws which of the three, and the factor.

    Returns:
        float32 on the scale 0 to 255, `(1, H, W, 3)`, not rounded.
    """
    kind = int(rng.integers(3))
    factor = float(rng.uniform(1 - STRENGTH, 1 + STRENGTH))
    levels = frames_nhwc.to(torch.float32)
    grey = (levels * torch.tensor(_GREY).to(levels.device)).sum(dim=3, keepdim=True)
    if kind == 0:
        towards = torch.zeros_like(grey)
    elif kind == 1:
        towards = grey.mean().expand_as(grey)
    else:
        towards = grey
    changed = factor * levels + (1 - factor) * towards
    return changed.clamp(0, 255)
