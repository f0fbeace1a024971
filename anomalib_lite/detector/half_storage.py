"""Half storage: whether files hold weights in half precision, and what is rounded for it.

The decision and the rounding are here and nowhere else. A scorer only says whether its own fitted
state tolerates it (`Scorer.tolerates_half`); what is exact in half precision, an exported file
keeps in half of the room (`export.half`).
"""

from __future__ import annotations

import torch

from anomalib_lite.backbones import Backbone
from anomalib_lite.scorers import Scorer


def stores_half(scorer: Scorer) -> bool:
    """Whether files of a detector with this scorer hold weights in half precision."""
    return scorer.tolerates_half


def round_to_half(backbone: Backbone) -> None:
    """Round the weights of convolutions and products to what half precision can hold.

    Before anything is fitted or judged, so that all forms of a detector are one model.
    """
    with torch.no_grad():
        for weight in backbone.parameters():
            if weight.ndim > 1:
                weight.copy_(weight.half())
