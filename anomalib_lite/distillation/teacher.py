"""What a student has to imitate: a teacher's layers, or its patch embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_lite.backbones import Backbone
from anomalib_lite.backbones.features import LayerInfo
from anomalib_lite.backbones.pdn import EMBEDDING, EdgeNetwork, Size, patch_network
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.memory_bank.patch_vectors import PatchEmbedding
from anomalib_lite.system.devices import statistics_device

_LEAST_STD = 1e-6
_COARSER = 2  # EfficientAD's teacher looks at twice the resolution: 8 of its pixels are 4 of ours


class Targets(nn.Module):
    """The teacher's side: uint8 crops -> named targets `(N, C, h, w)` on the student's grids.

    `edge` imitates the teacher's layers of stride 4, 8 and 16 as they are, and its patch embedding
    (`local`) at the same resolution. `small` and `medium` imitate the embedding that the teacher
    makes of the picture at twice the size (EfficientAD: 512 pixels for the student's 256).

    Args:
        backbone: the teacher, with layers of strides 8 and 16, and 4 for `edge`.
        size: which network learns.
        side: of the student's crops, pixels.

    Raises:
        SettingsError: the teacher lacks a layer.
    """

    def __init__(self, backbone: Backbone, size: Size, side: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.size = size
        self.side = side if size == "edge" else _COARSER * side
        infos = backbone.layer_infos((self.side, self.side))
        by_stride = {info.stride: info for info in infos}
        missing = {8, 16, *({4} if size == "edge" else ())} - by_stride.keys()
        if missing:
            raise SettingsError(
                f"{backbone.name} has no layer of stride {sorted(missing)[0]}; a teacher needs "
                "layers of stride 4, 8 and 16, as convolutional networks have"
            )
        self.by_stride = by_stride
        self.embedding = PatchEmbedding([by_stride[8], by_stride[16]], "plain")

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each target."""
        if self.size != "edge":
            return {"embedding": EMBEDDING}
        strides = {"stride4": 4, "stride8": 8, "stride16": 16}
        layers = {name: self.by_stride[stride].channels for name, stride in strides.items()}
        return {**layers, "local": EMBEDDING}

    def forward(self, crops_nhwc: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            pixels = self.backbone.normalise(crops_nhwc)
            if self.size != "edge":
                pixels = F.interpolate(pixels, self.side, mode="bilinear", align_corners=False)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            maps = self.backbone(pixels).maps
            embedding = self._embed(maps)
            if self.size != "edge":
                return {"embedding": embedding}
            layers = {name: maps[self._layer(name).name] for name in list(self.channels)[:3]}
            return {**layers, "local": embedding}

    def _layer(self, name: str) -> LayerInfo:
        return self.by_stride[EdgeNetwork.STRIDES[name]]

    def _embed(self, maps: dict[str, Tensor]) -> Tensor:
        """Neighbourhood means of strides 8 and 16, channels averaged to 384 when there are more."""
        rows = self.embedding(maps)
        if rows.shape[2] != EMBEDDING:
            rows = F.adaptive_avg_pool1d(rows, EMBEDDING)
        grid: Tensor = rows.transpose(1, 2).reshape(-1, EMBEDDING, *self.embedding.grid_hw)
        return grid


class TargetStatistics(nn.Module):
    """Mean and standard deviation of each target channel; a part of the run's checkpoint.

    Args:
        channels: of each target.
    """

    def __init__(self, channels: dict[str, int]) -> None:
        super().__init__()
        self.names = tuple(channels)
        for name, count in channels.items():
            self.register_buffer(f"mean_{name}", torch.zeros(count))
            self.register_buffer(f"std_{name}", torch.zeros(count))

    @property
    def measured(self) -> bool:
        """Whether `measure` was called, here or before the checkpoint."""
        return all(bool(value.any()) for value in self.std.values())

    @property
    def mean(self) -> dict[str, Tensor]:
        """By target `(C,)`."""
        return {name: self.get_buffer(f"mean_{name}") for name in self.names}

    @property
    def std(self) -> dict[str, Tensor]:
        """By target `(C,)`, at least 1e-6 where measured."""
        return {name: self.get_buffer(f"std_{name}") for name in self.names}

    def measure(self, answers: Callable[[], Iterable[dict[str, Tensor]]]) -> None:
        """Two passes (EfficientAD 2.2) over targets of batches of one size, the same each time."""
        mean = _averaged(answers())
        squares = _averaged(
            {name: (maps - mean[name].view(-1, 1, 1)).square() for name, maps in batch.items()}
            for batch in answers()
        )
        for name in self.names:
            self.get_buffer(f"mean_{name}").copy_(mean[name])
            self.get_buffer(f"std_{name}").copy_(squares[name].sqrt().clamp(min=_LEAST_STD))

    def forward(self, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Standardised targets, float32."""
        mean, std = self.mean, self.std
        return {
            name: (maps.float() - mean[name].view(-1, 1, 1)) / std[name].view(-1, 1, 1)
            for name, maps in targets.items()
        }


def _averaged(maps_by_name: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of each channel over all batches and places, by name."""
    means: dict[str, list[Tensor]] = {}
    for batch in maps_by_name:
        for name, maps in batch.items():
            maps = maps.to(statistics_device(maps.device))
            means.setdefault(name, []).append(maps.mean(dim=(0, 2, 3), dtype=torch.float64))
    return {name: torch.stack(values).mean(0).float() for name, values in means.items()}


class Student(nn.Module):
    """The student's side: normalised pixels -> the same names, standardised.

    Args:
        size: which network.
        channels: of each target.
        norm: with batch norm (`edge` while it is trained).
    """

    def __init__(self, size: Size, channels: dict[str, int], *, norm: bool) -> None:
        super().__init__()
        self.size = size
        self.names = tuple(channels)
        if size == "edge":
            fine, middle, coarse, local = channels.values()
            self.net: nn.Module = EdgeNetwork((fine, middle, coarse, local), norm=norm)
        else:
            self.net = patch_network(size, channels["embedding"])

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        if self.size == "edge":
            maps: dict[str, Tensor] = self.net(pixels, self.names)
            return maps
        return {"embedding": self.net(pixels, padded=True)}

    def heads(self) -> dict[str, nn.Conv2d]:
        """The last, linear convolution of each output."""
        found: dict[str, nn.Conv2d] = {}
        for name in self.names:
            head = getattr(self.net, name) if self.size == "edge" else self.net.convolutions
            found[name] = head if isinstance(head, nn.Conv2d) else list(head)[-1]  # type: ignore[arg-type]
        return found

    def top_down(self) -> dict[str, nn.Conv2d]:
        """The linear path from the stage below that is added to an output, where it has one."""
        paths = EdgeNetwork.TOP_DOWN if self.size == "edge" else {}
        return {name: getattr(self.net, path) for name, path in paths.items()}


def scale_heads(student: Student, mean: dict[str, Tensor], std: dict[str, Tensor]) -> None:
    """Let a student that learnt standardised targets give them in the teacher's units, exactly."""
    with torch.no_grad():
        for name, head in student.heads().items():
            assert head.bias is not None
            head.weight.mul_(std[name].view(-1, 1, 1, 1))
            head.bias.mul_(std[name]).add_(mean[name])
        for name, path in student.top_down().items():
            path.weight.mul_(std[name].view(-1, 1, 1, 1))


def unscale_heads(student: Student, mean: dict[str, Tensor], std: dict[str, Tensor]) -> None:
    """The reverse of `scale_heads`: outputs standardised by these means and deviations."""
    inverse = {name: 1 / value for name, value in std.items()}
    scale_heads(student, {name: -mean[name] * inverse[name] for name in mean}, inverse)
