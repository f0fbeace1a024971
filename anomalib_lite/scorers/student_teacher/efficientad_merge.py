"""EfficientAD as one network: teacher and student share their work, exactly.

Three merges, each the same number to rounding:

* teacher and student see the same pixels, so their convolutions stand side by side: the first as
  one with both outputs, the following as grouped ones;
* the teacher's normalisation goes into its last convolution, and as the last convolutions of both
  are linear, their difference is one convolution of both inputs;
* of a difference only the length is wanted, and a rotation does not change a length: with
  `[W b] = Q R`, `|W u + b| = |R [u; 1]|`. R is triangular, so a convolution of side 1 needs at most
  as many outputs as inputs, and each block of outputs only the later inputs.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_lite.backbones.base import Backbone
from anomalib_lite.backbones.pdn import EdgeNetwork, EdgePatchNetwork, PatchNetwork
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.student_teacher.efficientad_networks import (
    Autoencoder,
    last_convolution_name,
)
from anomalib_lite.scorers.student_teacher.efficientad_parts import Networks

_BLOCK = 96
_POOLED = 2  # a patch network pools after its first two convolutions


class MergedEfficientAd(nn.Module):
    """Pixels `(N, 3, H, W)` -> image score `(N,)`, map `(N, H, W)`.

    Args:
        networks: trained student, autoencoder and head.
        teacher_mean: mean of each teacher channel `(C,)`.
        teacher_std: standard deviation of each `(C,)`.
        backbone: the teacher.
    """

    def __init__(
        self, networks: Networks, teacher_mean: Tensor, teacher_std: Tensor, backbone: Backbone
    ) -> None:
        super().__init__()
        teacher = _teacher_network(backbone)
        student = networks.student.network
        self.channels = networks.student.channels
        self.trunk = _twin(teacher, student)
        last = _last(teacher)
        weight = last.weight / teacher_std.view(-1, 1, 1, 1)
        bias = (_bias(last) - teacher_mean) / teacher_std
        ours = _last(student)
        first, second = ours.weight[: self.channels], ours.weight[self.channels :]
        first_bias, second_bias = _bias(ours).split(self.channels)
        self.split = weight.shape[1]
        self.student_teacher = _length(torch.cat([weight, -first], dim=1), bias - first_bias)
        self.autoencoder = networks.autoencoder
        if isinstance(self.autoencoder, Autoencoder):
            head = self.autoencoder.head
            self.merged = head.kernel_size == (1, 1) and second.shape[2:] == (1, 1)
            if self.merged:
                both = torch.cat([head.weight, -second], dim=1)
                self.student_autoencoder = _length(both, _bias(head) - second_bias)
            else:
                self.second = _convolution(second, second_bias)
        self.head = networks.head

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.trunk(pixels)
        maps = [self.student_teacher(hidden) / self.channels]
        if self.autoencoder is not None:
            maps.append(self._from_autoencoder(pixels, hidden[:, self.split :]) / self.channels)
        image, anomaly_map = self.head(maps)
        return image, anomaly_map

    def _from_autoencoder(self, pixels: Tensor, hidden: Tensor) -> Tensor:
        """Sum over channels of (autoencoder - second half of the student) squared."""
        assert isinstance(self.autoencoder, Autoencoder)
        if self.merged:
            both = torch.cat([self.autoencoder.before_head(pixels), hidden], dim=1)
            merged: Tensor = self.student_autoencoder(both)
            return merged
        difference: Tensor = self.autoencoder(pixels) - self.second(hidden)
        return difference.square().sum(dim=1)


class SquaredLength(nn.Module):
    """`|W u + b|^2` per place, by blocks of the triangular factor; W of side 1.

    Args:
        weight: `(rows, columns, 1, 1)`.
        bias: `(rows,)`.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        system = torch.cat([weight[:, :, 0, 0], bias[:, None]], dim=1).double()
        factor = torch.linalg.qr(system, mode="r").R.float()
        columns = weight.shape[1]
        self.starts = list(range(0, min(len(factor), columns), _BLOCK))
        # The row below the triangle has no input left: what it adds is constant.
        self.rest: Tensor
        self.register_buffer("rest", factor[columns:, columns].square().sum())
        self.blocks = nn.ModuleList(
            _convolution(
                factor[start : min(start + _BLOCK, columns), start:columns, None, None],
                factor[start : min(start + _BLOCK, columns), columns],
            )
            for start in self.starts
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, columns, h, w)` -> `(N, h, w)`."""
        total: Tensor = self.rest
        for start, block in zip(self.starts, self.blocks, strict=True):
            total = total + block(inputs[:, start:] if start else inputs).square().sum(dim=1)
        return total


class ConvolutionLength(nn.Module):
    """`|W * u + b|^2` per place as it stands; for kernels of any side."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.convolution = _convolution(weight, bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, columns, h, w)` -> `(N, h, w)`."""
        length: Tensor = self.convolution(inputs).square().sum(dim=1)
        return length


class TwinPatchNetwork(nn.Module):
    """Two patch networks side by side, up to what their last convolutions see.

    Args:
        one: gives the first channels.
        other: the same but for widths that differ from the last hidden layer on.
    """

    def __init__(self, one: PatchNetwork, other: PatchNetwork) -> None:
        super().__init__()
        pairs = list(zip(one.convolutions, other.convolutions, strict=True))[:-1]
        self.pairs = nn.ModuleList(
            _side_by_side(first, second, shared=index == 0)
            for index, (first, second) in enumerate(pairs)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        maps = pixels
        for index, pair in enumerate(self.pairs):
            maps = F.relu(pair(maps))
            if index < _POOLED:
                maps = F.avg_pool2d(maps, 2, 2)
        return maps


class TwinEdgeNetwork(nn.Module):
    """Two edge networks side by side, up to what their last convolutions see."""

    def __init__(self, one: EdgePatchNetwork, other: EdgePatchNetwork) -> None:
        super().__init__()
        twin = copy.deepcopy(one)
        others = dict(other.named_modules())
        last = last_convolution_name(one)
        shared = True
        for name, module in list(twin.named_modules()):
            if isinstance(module, nn.Conv2d) and name != last:
                pair = _side_by_side(module, others[name], shared=shared)
                parent, _, child = name.rpartition(".")
                setattr(twin.get_submodule(parent), child, pair)
                shared = False
        self.trunk, self.hidden = twin.trunk, twin.local[0]

    def forward(self, pixels: Tensor) -> Tensor:
        hidden: Tensor = self.hidden(self.trunk(pixels)[1])
        return hidden


class Branches(nn.Module):
    """Two convolutions on the two parts of their input; for widths that differ."""

    def __init__(self, one: nn.Conv2d, other: nn.Conv2d) -> None:
        super().__init__()
        self.one, self.other, self.split = one, other, one.in_channels

    def forward(self, maps: Tensor) -> Tensor:
        """`(N, a + b, h, w)` -> both results, one after the other."""
        first, second = self.one(maps[:, : self.split]), self.other(maps[:, self.split :])
        return torch.cat([first, second], dim=1)


def _side_by_side(one: nn.Module, other: nn.Module, *, shared: bool) -> nn.Module:
    """Both convolutions as one: of a shared input, or each of its half of the channels."""
    assert isinstance(one, nn.Conv2d)
    assert isinstance(other, nn.Conv2d)
    if not shared and one.weight.shape != other.weight.shape:
        return Branches(one, other)
    biases = torch.cat([_bias(one), _bias(other)])
    merged = _convolution(torch.cat([one.weight, other.weight]), biases)
    merged.stride, merged.padding = one.stride, one.padding
    if not shared:
        merged.groups = 2 * one.groups
        merged.in_channels = 2 * one.in_channels
    return merged


def _twin(teacher: nn.Module, student: nn.Module) -> nn.Module:
    if isinstance(teacher, PatchNetwork) and isinstance(student, PatchNetwork):
        return TwinPatchNetwork(teacher, student)
    assert isinstance(teacher, EdgePatchNetwork)
    assert isinstance(student, EdgePatchNetwork)
    return TwinEdgeNetwork(teacher, student)


def _teacher_network(backbone: Backbone) -> nn.Module:
    network = getattr(backbone, "net", None)
    if isinstance(network, EdgeNetwork):
        return network.patch_network()
    if isinstance(network, PatchNetwork):
        return network
    raise SettingsError(f"{backbone.name} is no patch network; efficientad cannot share its work")


def _last(network: nn.Module) -> nn.Conv2d:
    found = network.get_submodule(last_convolution_name(network))
    assert isinstance(found, nn.Conv2d)
    return found


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias


def _length(weight: Tensor, bias: Tensor) -> nn.Module:
    weight, bias = weight.detach(), bias.detach()
    one_by_one = weight.shape[2:] == (1, 1)
    return SquaredLength(weight, bias) if one_by_one else ConvolutionLength(weight, bias)


def _convolution(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution with given weights."""
    rows, columns, *kernel = weight.shape
    made = nn.Conv2d(1, 1, (kernel[0], kernel[1]))
    made.in_channels, made.out_channels = columns, rows
    made.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    made.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return made
