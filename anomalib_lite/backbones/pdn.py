"""Patch description networks: small convolutional networks that imitate a large one patch by patch.

`small` and `medium` are those of EfficientAD (Batzner, Heckler, König 2024, tables 6 and 7): no
padding when used as teacher, 33 pixels of receptive field, one vector per 4 pixels. `edge` is this
project's own: made for two CPU cores (early stride, depthwise convolutions), it imitates the three
layers that PaDiM and PatchCore read from a ResNet and, for EfficientAD, PatchCore's patch vector
from 39 pixels around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_lite.edge.errors import SettingsError

Size = Literal["small", "medium", "edge"]
EMBEDDING = 384
"""Channels of the patch vector that a teacher gives (EfficientAD)."""

STEM, FINE, MIDDLE, COARSE, HIDDEN = 24, 64, 128, 256, 256
"""Widths of `edge`: stem, stages of stride 4, 8 and 16, hidden layer of the patch vector."""

# (kernel, padding when padded, channels), "pool" = average 2x2 stride 2; None = the output width.
_LAYERS: dict[str, list[tuple[int, int, int | None] | str]] = {
    "small": [(4, 3, 128), "pool", (4, 3, 256), "pool", (3, 1, 256), (4, 0, None)],
    "medium": [
        (4, 3, 256),
        "pool",
        (4, 3, 512),
        "pool",
        (1, 0, 512),
        (3, 1, 512),
        (4, 0, None),
        (1, 0, None),
    ],
}


def patch_network(size: Size, out_channels: int = EMBEDDING) -> nn.Module:
    """A patch description network with fresh weights.

    `forward(pixels, padded=False)` gives `(N, out_channels, h, w)`; `edge` is always padded and
    takes no second argument.

    Args:
        size: `"small"`, `"medium"` or `"edge"`.
        out_channels: length of the patch vector.

    Raises:
        SettingsError: unknown size.
    """
    if size not in get_args(Size):
        raise SettingsError(f"size is {size!r}; choose small, medium or edge")
    return EdgePatchNetwork(out_channels) if size == "edge" else PatchNetwork(size, out_channels)


class PatchNetwork(nn.Module):
    """PDN-S or PDN-M. ReLU after each convolution but the last; pooled zeros count in the mean.

    Args:
        size: `"small"` or `"medium"`.
        out_channels: length of the patch vector.
    """

    def __init__(self, size: str, out_channels: int) -> None:
        super().__init__()
        self.size = size
        channels, convolutions = 3, []
        for layer in _LAYERS[size]:
            if not isinstance(layer, str):
                kernel, _, width = layer
                convolutions.append(nn.Conv2d(channels, width or out_channels, kernel))
                channels = width or out_channels
        self.convolutions = nn.ModuleList(convolutions)

    def forward(self, pixels: Tensor, padded: bool = False) -> Tensor:
        """`(N, 3, H, W)` -> `(N, out, h, w)`: 64x64 of 256x256 when padded, else 56x56."""
        maps, index = pixels, 0
        for layer in _LAYERS[self.size]:
            if isinstance(layer, str):
                maps = F.avg_pool2d(maps, 2, 2, padding=int(padded))
                continue
            conv = self.convolutions[index]
            assert isinstance(conv, nn.Conv2d)
            maps = F.conv2d(maps, conv.weight, conv.bias, padding=layer[1] if padded else 0)
            index += 1
            if index < len(self.convolutions):
                maps = F.relu(maps)
        return maps

    @classmethod
    def grid_hw(cls, size: str, input_hw: tuple[int, int], padded: bool) -> tuple[int, int]:
        """Cells of the output at an input size; not positive when the input is too small."""
        sides = []
        for side in input_hw:
            for layer in _LAYERS[size]:
                if isinstance(layer, str):
                    side = (side + 2 * int(padded)) // 2
                else:
                    side += (2 * layer[1] if padded else 0) - layer[0] + 1
            sides.append(side)
        return sides[0], sides[1]


class ConvUnit(nn.Module):
    """Convolution with "same" padding, batch norm while it is trained, and optional ReLU."""

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        depthwise: bool = False,
        relu: bool = True,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels,
            width,
            kernel,
            stride,
            padding=kernel // 2,
            groups=channels if depthwise else 1,
            bias=not norm,
        )
        self.norm = nn.BatchNorm2d(width) if norm else None
        self.relu = relu

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.conv(maps)
        if self.norm is not None:
            maps = self.norm(maps)
        return F.relu(maps) if self.relu else maps

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution that equals convolution and batch norm."""
        assert self.norm is not None
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        scale = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        shift = self.norm.bias - self.norm.running_mean * scale
        return self.conv.weight * scale[:, None, None, None], shift


class _Separable(nn.Module):
    """Depthwise and pointwise convolution; a residual step where stride and width allow."""

    def __init__(
        self, channels: int, width: int, *, stride: int = 1, kernel: int = 3, norm: bool = False
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and channels == width
        self.spatial = ConvUnit(
            channels, channels, kernel, stride=stride, depthwise=True, norm=norm
        )
        self.point = ConvUnit(channels, width, relu=False, norm=norm)

    def forward(self, maps: Tensor) -> Tensor:
        out = self.point(self.spatial(maps))
        return F.relu(maps + out if self.residual else out)


class LocalTrunk(nn.Module):
    """Stem, stage of stride 4 and the first of stride 8: 39 pixels around each cell.

    Args:
        norm: with batch norm, for training; `fold_norms` takes it out again.
    """

    def __init__(self, *, norm: bool = False) -> None:
        super().__init__()
        self.stem = ConvUnit(3, STEM, 3, stride=2, norm=norm)
        self.stage4 = nn.Sequential(
            _Separable(STEM, FINE, stride=2, norm=norm), _Separable(FINE, FINE, norm=norm)
        )
        self.stage8 = nn.Sequential(
            _Separable(FINE, MIDDLE, stride=2, norm=norm), _Separable(MIDDLE, MIDDLE, norm=norm)
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """`(N, 3, H, W)` -> maps of stride 4 and 8."""
        fine: Tensor = self.stage4(self.stem(pixels))
        return fine, self.stage8(fine)


class LocalHead(nn.Sequential):
    """From the local trunk to a patch vector: one hidden 1x1 layer, then a linear one."""

    def __init__(self, out_channels: int, *, norm: bool = False) -> None:
        super().__init__(ConvUnit(MIDDLE, HIDDEN, norm=norm), nn.Conv2d(HIDDEN, out_channels, 1))


class EdgePatchNetwork(nn.Module):
    """`edge` up to its patch vector: `(N, 3, H, W)` -> `(N, out, H/8, W/8)`, 39 px per vector.

    Args:
        out_channels: length of the patch vector.
        norm: with batch norm, for training.
    """

    def __init__(self, out_channels: int, *, norm: bool = False) -> None:
        super().__init__()
        self.trunk = LocalTrunk(norm=norm)
        self.local = LocalHead(out_channels, norm=norm)

    def forward(self, pixels: Tensor) -> Tensor:
        maps: Tensor = self.local(self.trunk(pixels)[1])
        return maps


class EdgeNetwork(nn.Module):
    """`edge` with all its outputs: imitations of a ResNet's layers, and the patch vector.

    What a ResNet's fine layers see is wider than the fine stages here; what they miss comes from
    the stage below, doubled in size (a linear top-down path, as in feature pyramids).

    Args:
        channels: channels of `stride4`, `stride8`, `stride16` and `local`.
        norm: with batch norm, for training.
    """

    STRIDES: ClassVar[dict[str, int]] = {"stride4": 4, "stride8": 8, "stride16": 16, "local": 8}
    TOP_DOWN: ClassVar[dict[str, str]] = {"stride4": "wide4", "stride8": "wide8"}

    def __init__(
        self, channels: tuple[int, int, int, int] = (64, 128, 256, EMBEDDING), *, norm: bool = False
    ) -> None:
        super().__init__()
        self.channels = dict(zip(self.STRIDES, channels, strict=True))
        self.trunk = LocalTrunk(norm=norm)
        self.stage8 = nn.Sequential(*(_Separable(MIDDLE, MIDDLE, norm=norm) for _ in range(3)))
        self.stage16 = nn.Sequential(
            _Separable(MIDDLE, COARSE, stride=2, kernel=5, norm=norm),
            *(_Separable(COARSE, COARSE, kernel=5, norm=norm) for _ in range(5)),
        )
        self.stride4 = nn.Conv2d(FINE, channels[0], 1)
        self.stride8 = nn.Conv2d(MIDDLE, channels[1], 1)
        self.stride16 = nn.Conv2d(COARSE, channels[2], 1)
        self.local = LocalHead(channels[3], norm=norm)
        self.wide4 = nn.Conv2d(MIDDLE, channels[0], 1, bias=False)
        self.wide8 = nn.Conv2d(COARSE, channels[1], 1, bias=False)
        for top_down in (self.wide4, self.wide8):
            nn.init.zeros_(top_down.weight)

    def forward(self, pixels: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Maps by name; only what the wanted layers need is computed."""
        fine, middle = self.trunk(pixels)
        maps: dict[str, Tensor] = {}
        if "local" in layers:
            maps["local"] = self.local(middle)
        if {"stride4", "stride8", "stride16"} & set(layers):
            middle = self.stage8(middle)
        if "stride4" in layers:
            maps["stride4"] = _add_doubled(self.stride4(fine), self.wide4(middle))
        if {"stride8", "stride16"} & set(layers):
            coarse = self.stage16(middle)
        if "stride8" in layers:
            maps["stride8"] = _add_doubled(self.stride8(middle), self.wide8(coarse))
        if "stride16" in layers:
            maps["stride16"] = self.stride16(coarse)
        return {name: maps[name] for name in layers}

    @classmethod
    def completed(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights from before there were top-down paths: zeros leave their function as it was."""
        made = dict(state)
        for (head, path), stage in zip(cls.TOP_DOWN.items(), (MIDDLE, COARSE), strict=True):
            if f"{head}.weight" in state:
                width = state[f"{head}.weight"].shape[0]
                made.setdefault(f"{path}.weight", torch.zeros(width, stage, 1, 1))
        return made

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        own = {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
        state.update({prefix + key: value for key, value in self.completed(own).items()})
        super()._load_from_state_dict(state, prefix, *rest)

    def patch_network(self) -> EdgePatchNetwork:
        """The part that gives the patch vector, with copies of its weights (folded networks)."""
        network = EdgePatchNetwork(self.channels["local"])
        own = self.state_dict()
        network.load_state_dict({key: own[key].clone() for key in network.state_dict()})
        return network


def _add_doubled(fine: Tensor, coarse: Tensor) -> Tensor:
    """A map plus one of half its size, each cell repeated 2x2 (cut where a side is odd)."""
    height, width = fine.shape[2:]
    doubled = F.interpolate(coarse, scale_factor=2.0, mode="nearest")
    if doubled.shape[2:] != fine.shape[2:]:
        doubled = doubled[:, :, :height, :width]
    return fine + doubled
