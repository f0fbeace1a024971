"""The plain autoencoder: what passes through a few numbers is normal, the rest is not."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_lite.scorers.reconstruction.draem_networks import halved

CHANNELS = (16, 32, 32, 64, 64)
LEAST_SIDE = 1 << len(CHANNELS)
_SLOPE = 0.2


class PictureAutoencoder(nn.Module):
    """Five strided convolutions, a bottleneck that sees everything, the way back.

    After Bergmann et al. (2019), with bilinear enlargements where they have transposed
    convolutions, which leave a grid in the picture.

    Args:
        input_hw: input `(height, width)`, at least 32 pixels.
        bottleneck: numbers that a picture is made from.
    """

    def __init__(self, input_hw: tuple[int, int], bottleneck: int) -> None:
        super().__init__()
        self.sizes = halved(input_hw, len(CHANNELS) + 1)
        widths = (3, *CHANNELS)
        self.encoder = nn.ModuleList(
            nn.Conv2d(before, after, 4, stride=2, padding=1) for before, after in pairwise(widths)
        )
        self.squeeze = nn.Conv2d(widths[-1], bottleneck, self.sizes[-1])
        self.spread = nn.ConvTranspose2d(bottleneck, widths[-1], self.sizes[-1])
        back = (*CHANNELS[::-1], CHANNELS[0])
        self.decoder = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(back)
        )
        self.head = nn.Conv2d(CHANNELS[0], 3, 3, padding=1)

    def numbers(self) -> int:
        """Numbers that the convolutions give for one picture."""
        areas = [height * width for height, width in self.sizes]
        there = sum(count * area for count, area in zip(CHANNELS, areas[1:], strict=True))
        ends = (*CHANNELS[-2::-1], CHANNELS[0])
        back = sum(2 * count * area for count, area in zip(ends, areas[-2::-1], strict=True))
        return there + back + 3 * areas[0]

    def forward(self, pixels: Tensor) -> Tensor:
        """`(N, 3, H, W)` -> the same from what passed, `(N, 3, H, W)`."""
        maps = pixels
        for convolution in self.encoder:
            maps = F.leaky_relu(convolution(maps), _SLOPE)
        maps = F.leaky_relu(self.spread(self.squeeze(maps)), _SLOPE)
        for convolution, size in zip(self.decoder, self.sizes[-2::-1], strict=True):
            enlarged = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
            maps = F.leaky_relu(convolution(enlarged), _SLOPE)
        drawn: Tensor = self.head(maps)
        return drawn
