"""From a map of distances to one score per image: the largest, or the mean of the largest.

The largest distance is the noisiest statistic of a map: one odd patch of a good part sets it. The
mean of the largest 1 % is what AnomalyDINO (Damm et al. 2025) and Dinomaly (Guo et al. 2025)
publish. Why it is the default here: docs/methods/image_score.md.
"""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from anomalib_lite.edge.errors import SettingsError

ImageScoreKind = Literal["top", "max"]
TOP_SHARE = 0.01
"""AnomalyDINO's and Dinomaly's share."""

BEFORE: dict[str, Any] = {"image_score": "max"}
"""Settings of detectors that were saved before there was a choice."""


class ImageScore(nn.Module):
    """Maps `(N, h, w)` -> image scores `(N,)`.

    Args:
        kind: `"max"`, or `"top"`: the mean of the largest values.
        share: for `"top"`: share of the cells inside the region of interest; at least one counts.
        cells: number of those cells; values outside must be the smallest (0 of a distance).
    """

    def __init__(self, kind: ImageScoreKind, share: float, cells: int) -> None:
        super().__init__()
        self.count = 1 if kind == "max" else max(1, round(share * cells))

    def forward(self, values: Tensor) -> Tensor:
        """`(N, h, w)` -> `(N,)`."""
        if self.count == 1:
            return values.amax(dim=(1, 2))
        largest = torch.topk(values.flatten(1), self.count, dim=1, sorted=False).values
        return largest.mean(dim=1)


def image_score_settings(kind: str, share: float) -> tuple[ImageScoreKind, float]:
    """The settings of an image score; raises `SettingsError` when they cannot be used."""
    if kind not in get_args(ImageScoreKind):
        raise SettingsError(f"image_score is {kind!r}; choose top or max")
    if not 0 < share <= 1:
        raise SettingsError(f"top_share is {share}; choose a share above 0, up to 1")
    return cast(ImageScoreKind, kind), share
