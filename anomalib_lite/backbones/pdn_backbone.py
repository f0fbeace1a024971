"""Patch description networks as backbones: `pdn_edge`, `pdn_small` (shipped), `pdn_medium`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from anomalib_lite.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone, register_backbone
from anomalib_lite.backbones.features import LayerInfo
from anomalib_lite.backbones.pdn import EMBEDDING, EdgeNetwork, PatchNetwork
from anomalib_lite.backbones.weights import find_weights, fit_weights, read_weights
from anomalib_lite.edge.errors import SettingsError, WeightsError, did_you_mean
from anomalib_lite.system.seeding import seeded

SHIPPED = Path(__file__).parent / "shipped"
"""Weights that this project distilled; each file carries its own model card as metadata."""

_STRIDE = 4  # of the published networks
_MARGIN = 16  # pixels on each side that are no cell's centre when they do not pad


class _PatchBackbone(Backbone):
    """What the three share: names of layers, where weights come from."""

    known_layers: ClassVar[tuple[str, ...]]
    default_layers: ClassVar[tuple[str, ...]]
    net: nn.Module

    def __init__(self, name: str, layers: Sequence[str] | None) -> None:
        super().__init__(IMAGENET_MEAN, IMAGENET_STD)
        unknown = sorted(set(layers or ()) - set(self.known_layers))
        chosen = [
            layer
            for layer in self.known_layers
            if layer in (self.default_layers if layers is None else layers)
        ]
        if unknown or not chosen:
            raise SettingsError(
                f"{name} has no layer {unknown}"
                f"{did_you_mean(' '.join(unknown), self.known_layers)}; choose from "
                f"{', '.join(self.known_layers)}"
            )
        self.name = name
        self.layer_names = chosen

    def _load(self, weights: str | Path | None) -> None:
        self.weights_sha256 = "" if weights == "empty" else "random"
        if weights not in ("empty", "random"):
            path = find_weights(self.name, weights) or SHIPPED / f"{self.name}.safetensors"
            if not path.is_file():
                raise WeightsError(
                    f"no weights for {self.name}: distil some (anomalib-lite distill --size "
                    f"{self.name.removeprefix('pdn_')}), give --weights FILE, or use 'pdn_edge' or "
                    "'pdn_small', whose weights are in the package"
                )
            self.weights_sha256 = load_patch_weights(self.net, path, self.name)
        self.eval().requires_grad_(False)


@register_backbone("pdn_edge")
class EdgePatchBackbone(_PatchBackbone):
    """This project's small network, distilled from resnet18; its weights are in the package.

    `stride4`, `stride8`, `stride16` stand in for layer1, layer2, layer3 of the teacher; `local`
    (384 channels at stride 8, 39 pixels around each cell) for PatchCore's vector of layers 2 and 3.

    Args:
        layers: which to read out; None takes the first three.
        weights: a `.safetensors` file, `"random"`, or None for the weights folder, then
            the package.
        input_hw: accepted for the common signature.
    """

    known_layers = tuple(EdgeNetwork.STRIDES)
    default_layers = known_layers[:3]

    def __init__(
        self,
        *,
        layers: Sequence[str] | None = None,
        weights: str | Path | None = None,
        input_hw: tuple[int, int] = (256, 256),
    ) -> None:
        super().__init__("pdn_edge", layers)
        del input_hw
        self.net = _fresh("edge")
        self._load(weights)

    def layer_infos(self, input_hw: tuple[int, int]) -> tuple[LayerInfo, ...]:
        assert isinstance(self.net, EdgeNetwork)
        infos = []
        for name in self.layer_names:
            stride = EdgeNetwork.STRIDES[name]
            grid = (math.ceil(input_hw[0] / stride), math.ceil(input_hw[1] / stride))
            infos.append(LayerInfo(name, self.net.channels[name], stride, grid))
        return tuple(infos)

    def extract(self, pixels: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = self.net(pixels, self.layer_names)
        return maps


class _PublishedPatchBackbone(_PatchBackbone):
    """PDN-S and PDN-M of EfficientAD.

    `padded` covers the whole frame with a cell per 4 pixels; `valid` is un-padded (the teacher of
    EfficientAD): cell `(i, j)` looks at pixels `4i .. 4i + 32`.

    Args:
        layers: None takes `padded`.
        weights: a `.safetensors` file, `"random"`, or None for the weights folder, then
            the package (`pdn_small`).
        input_hw: prepared size.
    """

    known_layers = ("padded", "valid")
    default_layers = ("padded",)
    size: ClassVar[str]

    def __init__(
        self,
        *,
        layers: Sequence[str] | None = None,
        weights: str | Path | None = None,
        input_hw: tuple[int, int] = (256, 256),
    ) -> None:
        super().__init__(f"pdn_{self.size}", layers)
        if (
            "valid" in self.layer_names
            and min(PatchNetwork.grid_hw(self.size, input_hw, False)) < 1
        ):
            raise SettingsError(f"{self.name} needs frames of at least 33 pixels, not {input_hw}")
        self.net = _fresh(self.size)
        self._load(weights)

    def layer_infos(self, input_hw: tuple[int, int]) -> tuple[LayerInfo, ...]:
        return tuple(
            LayerInfo(
                name,
                EMBEDDING,
                _STRIDE,
                PatchNetwork.grid_hw(self.size, input_hw, padded=name == "padded"),
                0 if name == "padded" else _MARGIN,
            )
            for name in self.layer_names
        )

    def extract(self, pixels: Tensor) -> dict[str, Tensor]:
        return {name: self.net(pixels, padded=name == "padded") for name in self.layer_names}


@register_backbone("pdn_small")
class SmallPatchBackbone(_PublishedPatchBackbone):
    """PDN-S: 2.7 M parameters, 15.3 G multiply-adds at 256x256. See `_PublishedPatchBackbone`."""

    size = "small"


@register_backbone("pdn_medium")
class MediumPatchBackbone(_PublishedPatchBackbone):
    """PDN-M: 8.0 M parameters. See `_PublishedPatchBackbone`."""

    size = "medium"


def load_patch_weights(network: nn.Module, path: Path, name: str) -> str:
    """Weights of a file into a patch network; returns their sha256.

    Args:
        network: a fresh `EdgeNetwork` or `PatchNetwork`.
        path: what a distillation wrote, of this or an earlier version.
        name: of the backbone, for the message.

    Raises:
        WeightsError: damaged, or of another network.
    """
    state, digest = read_weights(path)
    wide = {key: value.float() for key, value in state.items()}
    if isinstance(network, EdgeNetwork):
        wide = network.completed(wide)
    fit_weights(network, wide, name=name, origin=str(path))
    return digest


def _fresh(size: str) -> nn.Module:
    """A network with weights that depend on nothing but its kind."""
    with seeded():
        return EdgeNetwork() if size == "edge" else PatchNetwork(size, EMBEDDING)
