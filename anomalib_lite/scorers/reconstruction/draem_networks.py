"""DRAEM's two networks: one redraws the picture, one compares both and marks the defect.

Zavrtanik, Kristan, Skočaj (ICCV 2021), section 3.1, and the authors' code. The only change is that
enlargements go to the size that was halved, so that sides need not be multiples of 32.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RECONSTRUCTIVE = (128, 256, 512, 1024, 1024)
DISCRIMINATIVE = (64, 128, 256, 512, 512, 512)
LEAST_SIDE = 1 << (len(DISCRIMINATIVE) - 1)
_WEIGHT_STD = 0.02


def scaled(channels: tuple[int, ...], width: float) -> tuple[int, ...]:
    """Channels of a network whose layers are all narrower by one factor."""
    return tuple(max(1, round(width * count)) for count in channels)


def halved(input_hw: tuple[int, int], levels: int) -> list[tuple[int, int]]:
    """Sizes `(height, width)` of an encoder's levels, the input first."""
    return [(input_hw[0] >> level, input_hw[1] >> level) for level in range(levels)]


class Unit(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(maps)), inplace=True)


def double(before: int, after: int, between: int | None = None) -> nn.Sequential:
    """Two units."""
    between = after if between is None else between
    return nn.Sequential(Unit(before, between), Unit(between, after))


class Encoder(nn.Module):
    """Doubles with a max-pool between them.

    Args:
        before: channels of the input.
        channels: of each level.
    """

    def __init__(self, before: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(double(*pair) for pair in pairwise((before, *channels)))

    def forward(self, maps: Tensor) -> list[Tensor]:
        """`(N, C, H, W)` -> the maps of all levels, the largest first."""
        found = [self.levels[0](maps)]
        for level in self.levels[1:]:
            found.append(level(F.max_pool2d(found[-1], 2)))
        return found


class Reconstructive(nn.Module):
    """An encoder and decoder without skips: what it has not learnt to draw is lost on the way.

    Args:
        input_hw: input `(height, width)`.
        width: factor of all channels; 1 is the paper's, 69.0 M parameters.
    """

    def __init__(self, input_hw: tuple[int, int], width: float) -> None:
        super().__init__()
        channels = scaled(RECONSTRUCTIVE, width)
        self.sizes = halved(input_hw, len(channels))
        self.encoder = Encoder(3, channels)
        # 1024 -> 512, 512 -> 256, 256 -> 128, 128 -> 128: each stage ends as the next begins.
        ends = (*channels[-3::-1], channels[0])
        begins = (channels[-1], *ends[:-1])
        self.ups = nn.ModuleList(Unit(begin, begin) for begin in begins)
        self.stages = nn.ModuleList(
            double(begin, end, between=begin) for begin, end in zip(begins, ends, strict=True)
        )
        self.head = nn.Conv2d(ends[-1], 3, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """`(N, 3, H, W)` -> the picture as it should be, `(N, 3, H, W)`."""
        maps = self.encoder(pixels)[-1]
        for up, stage, size in zip(self.ups, self.stages, self.sizes[-2::-1], strict=True):
            maps = stage(up(enlarged(maps, size)))
        drawn: Tensor = self.head(maps)
        return drawn


class Discriminative(nn.Module):
    """A U-Net over the redrawn and the given picture, with two channels: good and defective.

    Args:
        input_hw: input `(height, width)`.
        width: factor of all channels; 1 is the paper's, 28.4 M parameters.
    """

    def __init__(self, input_hw: tuple[int, int], width: float) -> None:
        super().__init__()
        channels = scaled(DISCRIMINATIVE, width)
        self.sizes = halved(input_hw, len(channels))
        self.encoder = Encoder(6, channels)
        # The first stage keeps 512 channels; the others come up with those they end with.
        ends = (channels[-2], *channels[-4::-1], channels[0])
        begins = (channels[-1], *ends[:-1])
        skips = channels[-2::-1]
        self.ups = nn.ModuleList(Unit(begin, end) for begin, end in zip(begins, ends, strict=True))
        self.stages = nn.ModuleList(
            double(end + skip, end) for end, skip in zip(ends, skips, strict=True)
        )
        self.head = nn.Conv2d(ends[-1], 2, 3, padding=1)

    def forward(self, both: Tensor) -> Tensor:
        """Redrawn and given picture `(N, 6, H, W)` -> logits `(N, 2, H, W)`."""
        *skips, maps = self.encoder(both)
        for up, stage, skip, size in zip(
            self.ups, self.stages, skips[::-1], self.sizes[-2::-1], strict=True
        ):
            maps = stage(torch.cat([up(enlarged(maps, size)), skip], dim=1))
        logits: Tensor = self.head(maps)
        return logits


class DraemNetworks(nn.Module):
    """Both, from a picture to a redrawn one and logits.

    Args:
        input_hw: input `(height, width)`.
        width: factor of all channels.
    """

    def __init__(self, input_hw: tuple[int, int], width: float) -> None:
        super().__init__()
        self.reconstructive = Reconstructive(input_hw, width)
        self.discriminative = Discriminative(input_hw, width)

    def numbers(self) -> int:
        """Numbers that the convolutions give for one picture."""
        found = 0
        for network in (self.reconstructive, self.discriminative):
            areas = [height * width for height, width in network.sizes]
            for area, level in zip(areas, network.encoder.levels, strict=True):
                found += area * outputs(level)
            back = zip(areas[-2::-1], network.ups, network.stages, strict=True)
            found += sum(area * (outputs(up) + outputs(stage)) for area, up, stage in back)
        return found

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """`(N, 3, H, W)` -> redrawn `(N, 3, H, W)`, logits `(N, 2, H, W)`; gradients reach both."""
        drawn = self.reconstructive(pixels)
        return drawn, self.discriminative(torch.cat([drawn, pixels], dim=1))


def outputs(block: nn.Module) -> int:
    """Channels that all convolutions of a block give together."""
    return sum(item.out_channels for item in block.modules() if isinstance(item, nn.Conv2d))


def enlarged(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Bilinear, corners aligned."""
    return F.interpolate(maps, size=size_hw, mode="bilinear", align_corners=True)


def initialise(network: nn.Module) -> None:
    """The authors' start: weights N(0, 0.02), batch norm N(1, 0.02) and 0; biases torch's own."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, _WEIGHT_STD)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, _WEIGHT_STD)
            nn.init.zeros_(module.bias)
