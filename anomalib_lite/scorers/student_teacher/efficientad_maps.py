"""From two difference maps to one anomaly map: normalise by quantiles, combine, enlarge."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_lite.backbones.features import FeatureLayout
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.image_score import ImageScore
from anomalib_lite.scorers.smoothing import EnlargeAndBlur
from anomalib_lite.scorers.student_teacher.efficientad_losses import linear_quantile

LOW, HIGH = 0.9, 0.995
_AT_HIGH = 0.1
_LEAST_SPREAD = 1e-3


class MapHead(nn.Module):
    """Two maps of squared differences -> image score and map at the input size.

    `0.1 (m - q_a) / (q_b - q_a)` for each (q_a, q_b: 0.9 and 0.995 quantile over held-out good
    images), their mean, a border of zeros where the teacher does not look, bilinear enlargement.
    At the end the mean of `0.1 q_a / (q_b - q_a)` is added everywhere, so that raw scores are the
    squared differences in another unit: no ranking, threshold or p-value notices, and two engines
    can be compared by relative differences, which a score near zero would not allow.

    Args:
        layout: input size and region of interest.
        grid_hw: grid of the difference maps.
        border: cells of zeros to add on each side.
        maps: number of maps, 1 or 2.
        blind: cells of the grid on each side that count for nothing, because a padded teacher
            sees most of its padding there; they repeat their inner neighbours.
        summary: from the enlarged map to the image score; None takes the maximum.

    Attributes:
        inside: cells that are neither blind nor outside the region of interest.
        gain_: factor of each map, its share of the mean included `(maps,)`.
        offset_: what normalisation adds to their weighted sum, a scalar.
    """

    gain_: Tensor
    offset_: Tensor
    inside: Tensor

    def __init__(
        self,
        layout: FeatureLayout,
        grid_hw: tuple[int, int],
        border: int,
        maps: int,
        blind: int = 0,
        summary: ImageScore | None = None,
    ) -> None:
        super().__init__()
        self.summary = summary or ImageScore("max", 1.0, 1)
        self.border = border
        self.blind = blind
        self.limited = layout.roi is not None
        share = layout.cell_share(grid_hw, border)
        out = border + blind
        inner = share[out : -out or None, out : -out or None]
        if not bool((inner > 0).any()):
            raise SettingsError(
                f"nothing of the picture is left to judge: the outer {blind} of {grid_hw} cells "
                "do not count; take a larger image size or region of interest"
            )
        self.register_buffer("inside", inner > 0, persistent=False)
        self.register_buffer("gain_", torch.full((maps,), 1.0 / maps))
        self.register_buffer("offset_", torch.zeros(()))
        self.enlarge = EnlargeAndBlur.of_grid(layout, grid_hw, 0.0, border)

    def seen(self, values: Tensor) -> Tensor:
        """Values `(..., h, w)` where the teacher sees the picture alone, `(..., h', w')`."""
        if not self.blind:
            return values
        return values[..., self.blind : -self.blind, self.blind : -self.blind]

    def counted(self, values: Tensor) -> Tensor:
        """Of `seen` what lies in the region of interest, `(..., places)`."""
        seen = self.seen(values)
        return seen[..., self.inside.to(seen.device)] if self.limited else seen.flatten(-2)

    def calibrate(self, held_out: Tensor) -> None:
        """Learn the normalisation from maps of good images, `(n, maps, h, w)`.

        A category so uniform that the quantiles coincide would divide by zero: the spread counts as
        at least a thousandth of the level.
        """
        count = held_out.shape[1]
        gains, offset = [], torch.zeros((), dtype=torch.float64)
        for values in self.counted(held_out).cpu().double().unbind(1):
            low = linear_quantile(values.flatten(), LOW)
            high = linear_quantile(values.flatten(), HIGH)
            spread = (high - low).clamp(min=max(_LEAST_SPREAD * float(low), 1e-12))
            gains.append(_AT_HIGH / spread / count)
            offset -= low * gains[-1]
        self.register_buffer("gain_", torch.stack(gains).float().to(held_out.device))
        self.register_buffer("offset_", offset.float().to(held_out.device))

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps of mean squared differences, each `(N, h, w)` -> scores `(N,)`, map `(N, H, W)`."""
        combined = maps[0] * self.gain_[0]
        for index, item in enumerate(maps[1:], start=1):
            combined = combined + item * self.gain_[index]
        combined = self.seen(combined + self.offset_)
        if self.limited:
            combined = combined * self.inside
        if self.blind:
            combined = F.pad(combined[:, None], (self.blind,) * 4, mode="replicate")[:, 0]
        if self.border:
            combined = F.pad(combined, (self.border,) * 4)
        enlarged = self.enlarge(combined) - self.offset_
        return self.summary(enlarged), enlarged
