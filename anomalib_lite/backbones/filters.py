"""`filters`: a fixed bank of colour and Gabor filters. No weights, no training, no download.

Three octaves, each a layer. An octave looks at its picture in opponent colours (luminance,
red-green, yellow-blue) and gives, averaged over cells of 4 pixels: the colours, their local
contrast, and the energy of Gabor quadrature pairs (Daugman 1985; energy model of Adelson & Bergen
1985) in several orientations and two wavelengths. It is the embedded default where no pretrained
weights can be had; real networks are better (docs/results.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalib_lite.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone, register_backbone
from anomalib_lite.backbones.features import LayerInfo
from anomalib_lite.edge.errors import SettingsError, did_you_mean

_OCTAVES = 3
_CELL = 4
_ORIENTATIONS = 6
_WAVELENGTHS = (3.0, 6.0)
_SIZE = 9
# Luminance, red-green and yellow-blue of normalised RGB (Krauskopf-style opponent axes).
_OPPONENT = ((1 / 3, 1 / 3, 1 / 3), (0.5, -0.5, 0.0), (-0.25, -0.25, 0.5))


def gabor_bank(size: int = _SIZE) -> Tensor:
    """Quadrature pairs, float32 `(2 * orientations * wavelengths, 1, size, size)`.

    Each filter has zero mean and unit L2 norm; even ones come first.
    """
    half = size // 2
    axis = torch.arange(-half, half + 1, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    even, odd = [], []
    for wavelength in _WAVELENGTHS:
        envelope = torch.exp(-(x**2 + y**2) / (2 * (0.45 * wavelength) ** 2))
        for index in range(_ORIENTATIONS):
            angle = math.pi * index / _ORIENTATIONS
            phase = 2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / wavelength
            cosine = torch.cos(phase) - (envelope * torch.cos(phase)).sum() / envelope.sum()
            even.append(envelope * cosine)
            odd.append(envelope * torch.sin(phase))
    bank = torch.stack(even + odd)
    bank = bank / bank.flatten(1).norm(dim=1)[:, None, None]
    result: Tensor = bank[:, None].float()
    return result


@register_backbone("filters")
class FilterBackbone(Backbone):
    """The weight-free filter bank; layers `octave1`, `octave2`, `octave3` at strides 4, 8, 16.

    Args:
        layers: which octaves to read out; None takes all.
        weights: must be None: there are none.
        input_hw: accepted for the common signature.
    """

    gabor: Tensor
    opponent: Tensor

    def __init__(
        self,
        *,
        layers: Sequence[str] | None = None,
        weights: str | Path | None = None,
        input_hw: tuple[int, int] = (256, 256),
    ) -> None:
        super().__init__(IMAGENET_MEAN, IMAGENET_STD)
        del input_hw
        if weights not in (None, "empty", "random"):
            raise SettingsError("the backbone 'filters' has no weights; leave --weights out")
        known = [f"octave{octave + 1}" for octave in range(_OCTAVES)]
        chosen = known if layers is None else [layer for layer in known if layer in layers]
        unknown = sorted(set(layers or ()) - set(known))
        if unknown or not chosen:
            raise SettingsError(
                f"filters has no layer {unknown}{did_you_mean(' '.join(unknown), known)}; choose "
                f"from {', '.join(known)}"
            )
        self.name = "filters"
        self.layer_names = chosen
        self.weights_sha256 = "none (fixed filters)"
        self.register_buffer("gabor", gabor_bank())
        self.register_buffer("opponent", torch.tensor(_OPPONENT).view(3, 3, 1, 1))
        self.eval()

    def layer_infos(self, input_hw: tuple[int, int]) -> tuple[LayerInfo, ...]:
        channels = 3 + 3 + self.gabor.shape[0] // 2
        infos = []
        for octave in range(_OCTAVES):
            stride = _CELL << octave
            grid = tuple(math.ceil(side / stride) for side in input_hw)
            infos.append(LayerInfo(f"octave{octave + 1}", channels, stride, (grid[0], grid[1])))
        return tuple(info for info in infos if info.name in self.layer_names)

    def extract(self, pixels: Tensor) -> dict[str, Tensor]:
        colours = F.conv2d(pixels, self.opponent)
        maps = {}
        for octave in range(_OCTAVES):
            if octave:
                colours = _halve(colours)
            name = f"octave{octave + 1}"
            if name in self.layer_names:
                maps[name] = self._octave(colours)
        return maps

    def _octave(self, colours: Tensor) -> Tensor:
        half = self.gabor.shape[-1] // 2
        padded = F.pad(colours[:, :1], (half, half, half, half), mode="replicate")
        # Energy varies slowly: every second pixel is enough, for a quarter of the work.
        even, odd = F.conv2d(padded, self.gabor, stride=2).chunk(2, dim=1)
        energy = _cells((even * even + odd * odd + 1e-6).sqrt(), _CELL // 2)
        mean = _cells(colours)
        contrast = (_cells(colours * colours) - mean * mean).clamp(min=0) + 1e-4
        return torch.cat([mean, contrast.sqrt(), energy], dim=1)


def _halve(maps: Tensor) -> Tensor:
    return F.avg_pool2d(maps, 2, ceil_mode=True, count_include_pad=False)


def _cells(maps: Tensor, size: int = _CELL) -> Tensor:
    return F.avg_pool2d(maps, size, ceil_mode=True, count_include_pad=False)
