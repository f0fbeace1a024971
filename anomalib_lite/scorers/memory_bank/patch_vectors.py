"""Patch vectors: the neighbourhood of each grid cell in several layers, as one row of numbers.

Both embeddings are linear, hence fixed convolutions. `authors` is what PatchCore's code computes by
cutting out every 3x3 patch, enlarging the coarse layers patch entry by patch entry, and adaptively
averaging the flattened patch: the averages commute with the enlargement and merge into one 3x3
kernel per layer. `plain` averages 3x3 and concatenates all channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_lite.backbones.features import FeatureLayout, LayerInfo
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.smoothing import OntoGrid

Embedding = Literal["authors", "plain"]

_USUAL_STRIDES = (8, 16)
_MERGED = 2  # channels in one number, at most: the 1024 of a WideResNet-50's layer3 become 512


def choose_layers(layout: FeatureLayout, names: Sequence[str] | None) -> list[LayerInfo]:
    """Layers to take patches from, finest first.

    Args:
        layout: what the backbone gives.
        names: layers by name; None takes those of stride 8 and 16 (PatchCore's), or all when the
            backbone has none of them.

    Raises:
        SettingsError: a name that the layout does not have.
    """
    if names is None:
        usual = [layer for layer in layout.layers if layer.stride in _USUAL_STRIDES]
        return sorted(usual or layout.layers, key=lambda layer: layer.stride)
    by_name = {layer.name: layer for layer in layout.layers}
    unknown = [name for name in names if name not in by_name]
    if unknown or not names:
        raise SettingsError(
            f"layers {list(names)} are not those of the backbone; choose among {', '.join(by_name)}"
        )
    return sorted((by_name[name] for name in dict.fromkeys(names)), key=lambda layer: layer.stride)


def adaptive_mean_matrix(bins: int, length: int) -> Tensor:
    """Adaptive average pooling of `length` numbers to `bins` as a matrix, float64."""
    matrix = torch.zeros(bins, length, dtype=torch.float64)
    for row in range(bins):
        start, end = row * length // bins, -(-(row + 1) * length // bins)
        matrix[row, start:end] = 1 / (end - start)
    return matrix


def authors_kernel(channels: int, layers: int, dimension: int) -> Tensor:
    """One layer's share of the authors' embedding as a 3x3 kernel, grouped.

    The flattened patch `(C * 9)` is averaged to `dimension` numbers, the vectors of all layers are
    put one after the other and averaged to `dimension` again, of which each layer owns an equal
    run. With C = dimension / layers that is a 3x3 mean with weight 0.2 at the centre and 0.1
    around it, each channel by itself.

    Returns:
        float32 `(dimension / layers, C / groups, 3, 3)` with
        `groups = gcd(C, dimension / layers)`: bins never cross the border of a group.
    """
    owned = dimension // layers
    first = adaptive_mean_matrix(dimension, channels * 9)
    second = adaptive_mean_matrix(owned, dimension)
    full = (second @ first).view(owned, channels, 9)
    groups = math.gcd(channels, owned)
    outputs, inputs = owned // groups, channels // groups
    blocks = [
        full[g * outputs : (g + 1) * outputs, g * inputs : (g + 1) * inputs] for g in range(groups)
    ]
    return torch.cat(blocks).reshape(owned, inputs, 3, 3).float()


def authors_width(layers: Sequence[LayerInfo]) -> int:
    """Length of the authors' vector when nobody names one.

    As many numbers per layer as the finest has channels, which gives the paper's 1024 for the two
    layers of a WideResNet-50. Where that would average more than the paper's two channels into one
    number, as in networks whose fine layers are narrow, it is as many as the widest layer has: then
    no channel is averaged with another.
    """
    channels = [layer.channels for layer in layers]
    narrow = max(channels) > _MERGED * channels[0]
    return len(layers) * (max(channels) if narrow else channels[0])


class PatchEmbedding(nn.Module):
    """Feature maps -> one vector per cell of the finest chosen layer, `(N, h * w, d)`.

    Args:
        layers: finest first.
        embedding: `"authors"` or `"plain"`.
        dimension: length d of the authors' vector, a multiple of the number of layers; None takes
            `authors_width`.

    Attributes:
        grid_hw: cells.
        width: d.
        widened: what to tell about a length that is not the usual one; else empty.
    """

    def __init__(
        self,
        layers: Sequence[LayerInfo],
        embedding: Embedding = "authors",
        dimension: int | None = None,
    ) -> None:
        super().__init__()
        self.layers = list(layers)
        self.embedding = embedding
        self.grid_hw = self.layers[0].grid_hw
        self.onto = nn.ModuleList(OntoGrid(layer, self.layers[0]) for layer in self.layers)
        self.width = sum(layer.channels for layer in self.layers)
        self.widened = ""
        if embedding == "authors":
            count = len(self.layers)
            self.width = dimension or authors_width(self.layers)
            usual = count * self.layers[0].channels
            if dimension is None and self.width != usual:
                self.widened = _told(self.layers, usual, self.width)
            if self.width % count:
                raise SettingsError(
                    f"dimension is {dimension}; choose a multiple of {count}, the number of layers"
                )
            for index, layer in enumerate(self.layers):
                kernel = authors_kernel(layer.channels, count, self.width)
                self.register_buffer(f"kernel{index}", kernel, persistent=False)

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        parts = []
        for index, layer in enumerate(self.layers):
            part = maps[layer.name]
            if self.embedding == "authors":
                part = _grouped(part, self.get_buffer(f"kernel{index}"), layer.grid_hw)
            else:
                part = F.avg_pool2d(part, 3, stride=1, padding=1)
            parts.append(self.onto[index](part))
        cells = self.grid_hw[0] * self.grid_hw[1]
        return torch.cat(parts, dim=1).reshape(-1, self.width, cells).transpose(1, 2)


def _grouped(maps: Tensor, kernel: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """A grouped 3x3 convolution `(N, C, h, w)` -> `(N, outputs, h, w)`, `grid_hw` being (h, w).

    Where each output weighs its input channels alike they are added first: then it is depthwise,
    which engines compute several times faster.
    """
    outputs, inputs = kernel.shape[:2]
    channels = maps.shape[1]
    if inputs > 1 and outputs * inputs == channels and bool((kernel == kernel[:, :1]).all()):
        added = maps.reshape(-1, outputs, inputs, *grid_hw).sum(dim=2)
        return F.conv2d(added, kernel[:, :1], padding=1, groups=outputs)
    return F.conv2d(maps, kernel, padding=1, groups=channels // inputs)


def _told(layers: Sequence[LayerInfo], usual: int, width: int) -> str:
    finest, widest = layers[0], max(layers, key=lambda layer: layer.channels)
    return (
        f"patch vectors have {width} numbers, not {usual}: {finest.name} has only "
        f"{finest.channels} channels, and averaging the {widest.channels} of {widest.name} into as "
        "few would blur them; set dimension to choose the length"
    )
