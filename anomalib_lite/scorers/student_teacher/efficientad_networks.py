"""EfficientAD's networks beside the teacher: the doubled student and the autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from anomalib_lite.backbones.pdn import PatchNetwork, Size, patch_network

DROPOUT = 0.2


@dataclass(frozen=True)
class Proportions:
    """Widths of an autoencoder.

    Attributes:
        encoder: channels of the five strided convolutions.
        latent: numbers in the bottleneck.
        decoder: channels of the decoder.
        stages: enlarging convolutions; the targets below name their sizes.
        head_kernel: side of the last convolution.
    """

    encoder: tuple[int, int, int, int, int]
    latent: int
    decoder: int
    stages: int
    head_kernel: int


PAPER = Proportions((32, 32, 64, 64, 64), 64, 64, 6, 3)
SLIM = Proportions((16, 16, 32, 32, 32), 64, 32, 4, 1)
"""Half the widths; stops at the edge teacher's stride of 8 instead of 2; the same bottleneck."""


class Autoencoder(nn.Module):
    """Predicts the teacher's vectors through a bottleneck, so that only what is global can pass.

    Five strided convolutions, one over all that is left, then bilinear enlargements with a
    convolution after each. 1.10 M parameters in the paper's proportions.

    Args:
        input_hw: input `(height, width)`, at least 32 pixels.
        grid_hw: grid of the teacher's map.
        channels: length of the teacher's vector.
        proportions: widths.
    """

    def __init__(
        self,
        input_hw: tuple[int, int],
        grid_hw: tuple[int, int],
        channels: int,
        proportions: Proportions = PAPER,
    ) -> None:
        super().__init__()
        widths = (3, *proportions.encoder)
        self.encoder = nn.ModuleList(
            nn.Conv2d(before, after, 4, stride=2, padding=1) for before, after in pairwise(widths)
        )
        left = (input_hw[0] >> len(self.encoder), input_hw[1] >> len(self.encoder))
        self.bottleneck = nn.Conv2d(widths[-1], proportions.latent, left)
        width = proportions.decoder
        # 3, 8, 15, 32, 63, 127 for 256: the paper's sizes before each convolution of side 4.
        divisors = ((64, 1), (32, 0), (16, 1), (8, 0), (4, 1), (2, 1))
        self.sizes = [
            (max(1, input_hw[0] // by - less), max(1, input_hw[1] // by - less))
            for by, less in divisors[: proportions.stages]
        ]
        self.decoder = nn.ModuleList(
            nn.Conv2d(proportions.latent if index == 0 else width, width, 4, padding=2)
            for index in range(proportions.stages)
        )
        self.grid_hw = grid_hw
        kernel = proportions.head_kernel
        self.hidden = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Conv2d(width, channels, kernel, padding=kernel // 2)

    def forward(self, pixels: Tensor, dropout: torch.Generator | None = None) -> Tensor:
        """`(N, 3, H, W)` -> `(N, C, h, w)`; drops one number in five when given a generator."""
        prediction: Tensor = self.head(self.before_head(pixels, dropout))
        return prediction

    def before_head(self, pixels: Tensor, dropout: torch.Generator | None = None) -> Tensor:
        """What the last, linear convolution sees."""
        maps = pixels
        for conv in self.encoder:
            maps = F.relu(conv(maps))
        maps = self.bottleneck(maps)
        for conv, size in zip(self.decoder, self.sizes, strict=True):
            maps = F.relu(conv(_resized(maps, size)))
            if dropout is not None:
                maps = _dropped(maps, dropout)
        return F.relu(self.hidden(_resized(maps, self.grid_hw)))


def _resized(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size_hw, mode="bilinear", align_corners=False)


def _dropped(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Element-wise dropout from its own generator: the global one is nobody's business.

    It draws on the CPU, so that every device drops the same numbers.
    """
    kept = torch.empty_like(maps, device=generator.device).bernoulli_(
        1 - DROPOUT, generator=generator
    )
    return maps * kept.to(maps.device) / (1 - DROPOUT)


class Student(nn.Module):
    """A patch network with two outputs per teacher channel.

    The first half imitates the teacher, the second half imitates the autoencoder.

    Args:
        size: `"small"`, `"medium"` or `"edge"`.
        channels: length of the teacher's vector.
    """

    def __init__(self, size: Size, channels: int) -> None:
        super().__init__()
        self.network = patch_network(size, 2 * channels)
        self.channels = channels
        self._head = last_convolution_name(self.network)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """`(N, 3, H, W)` -> both halves, each `(N, C, h, w)`."""
        both = self.network(pixels)
        return both[:, : self.channels], both[:, self.channels :]

    def one_half(self, pixels: Tensor, *, second: bool) -> Tensor:
        """One half alone, without computing the other."""
        head = self.network.get_submodule(self._head)
        rows = slice(self.channels, None) if second else slice(0, self.channels)
        wanted: dict[str, Any] = {
            f"{self._head}.weight": head.weight[rows],  # type: ignore[index]
            f"{self._head}.bias": head.bias[rows],  # type: ignore[index]
        }
        result: Tensor = functional_call(self.network, wanted, (pixels,))
        return result


def last_convolution_name(network: nn.Module) -> str:
    """Name of the last, linear convolution of a patch network."""
    names: list[str] = [
        name for name, item in network.named_modules() if isinstance(item, nn.Conv2d)
    ]
    return names[-1]


def student_grid(size: Size, input_hw: tuple[int, int]) -> tuple[int, int]:
    """Cells of a student's output at an input size; not positive when the input is too small."""
    if size == "edge":
        stride = 8
        return -(-input_hw[0] // stride), -(-input_hw[1] // stride)
    return PatchNetwork.grid_hw(size, input_hw, padded=False)
