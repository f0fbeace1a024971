"""Any timm network that gives features: stages and blocks by name, ViT tokens by block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anomalib_lite.backbones.base import Backbone
from anomalib_lite.backbones.features import LayerInfo
from anomalib_lite.backbones.timm_layers import (
    CLASS_TOKEN,
    GLOBAL_LAYERS,
    POOLED,
    Layer,
    as_map,
    cells,
    choose,
    cut_after,
    is_divisible,
    layers_of,
    stride_of,
    taking,
    tap,
)
from anomalib_lite.backbones.timm_models import (
    adapt_weights,
    build_features,
    import_timm,
    pretrained_config,
)
from anomalib_lite.backbones.tried_grids import TriedGrids
from anomalib_lite.backbones.weights import (
    digest_tensors,
    find_weights,
    fit_weights,
    missing_tensors,
    no_weights,
    plain_name,
    quick_when_offline,
    read_weights,
)
from anomalib_lite.edge.errors import SettingsError, WeightsError
from anomalib_lite.system.seeding import seeded

RANDOM = "random"
"""Weights setting for seeded random weights (checks of shapes, export and parity)."""
EMPTY = "empty"
"""Weights setting for a network whose tensors are loaded right after."""


class TimmBackbone(Backbone):
    """A timm network cut after the deepest requested layer, frozen, in evaluation mode.

    Args:
        name: timm model name, e.g. `resnet18`, `vit_tiny_patch16_224`.
        layers: module names to read out (`layer2`, `blocks.5`, `blocks.3.1`); None takes the last
            layer of strides 4, 8 and 16, or for transformers the blocks at 1/4, 1/2, 3/4 and the
            end. `pooled` adds the vector that the classifier would see; `class_token` a
            transformer's class embedding: after the last block and the final norm, and for CLIP
            after the projection to the space of texts.
        weights: a `.safetensors` file, `"random"`, or None for weights folder, then hub.
        input_hw: prepared size; transformers with a fixed grid are built for it.

    Attributes:
        has_class_token: whether the layer `class_token` may be asked for.
        layer_names: maps that are read, then global vectors.

    Raises:
        SettingsError: unknown network or layer.
        WeightsError: no weights, or weights that do not fit.
    """

    def __init__(
        self,
        name: str,
        *,
        layers: Sequence[str] | None = None,
        weights: str | Path | None = None,
        input_hw: tuple[int, int] = (256, 256),
    ) -> None:
        timm = import_timm()
        config = pretrained_config(timm, name)
        super().__init__(config.mean, config.std)
        self.name = name
        self.input_hw = input_hw
        extra = {"img_size": input_hw} if config.fixed_input_size else {}
        if layers is not None and not layers:
            raise SettingsError(f"no layer of {name} is named; leave layers out for its default")
        self._global = [layer for layer in GLOBAL_LAYERS if layer in (layers or ())]
        named = None if layers is None else [x for x in layers if x not in GLOBAL_LAYERS]
        chosen = self._cut(timm, named, extra)
        self.layer_names = [*(layer.name for layer in chosen), *self._global]
        strides = [int(info["reduction"]) for info in self._infos]
        _refuse_partial_patches(name, input_hw, strides, fixed=bool(extra))
        self.weights_sha256 = self._load(timm, weights, extra)
        self.eval().requires_grad_(False)
        self._layers = self._described(chosen)
        by_name = {i.name: i.stride for i in self._layers if i.name not in GLOBAL_LAYERS}
        self._grids = TriedGrids(by_name, input_hw if extra else None)
        self.register_load_state_dict_pre_hook(_only_what_is_here)  # type: ignore[no-untyped-call]

    def layer_infos(self, input_hw: tuple[int, int]) -> tuple[LayerInfo, ...]:
        grids = self._grids.at(input_hw, self.blank)
        return tuple(
            replace(info, stride=max(input_hw))
            if info.name in GLOBAL_LAYERS
            else replace(info, grid_hw=grids[info.name])
            for info in self._layers
        )

    def blank(self, input_hw: tuple[int, int]) -> dict[str, Tensor]:
        """Maps of an empty frame; raises `SettingsError` where the network cannot take the size."""
        try:
            with torch.no_grad():
                return self.extract(torch.zeros(1, 3, *input_hw, device=self.device))
        except (AssertionError, IndexError, RuntimeError, ValueError) as error:
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise SettingsError(
                f"{self.name} takes no pictures of {input_hw[0]}x{input_hw[1]} pixels ({why}); "
                "choose an image size that is a multiple of 32, or another backbone"
            ) from error

    def extract(self, pixels: Tensor) -> dict[str, Tensor]:
        with taking() as taken:
            listed, vectors = self._run(pixels)
        maps = {name: listed[place] for name, place in self._places.items()}
        for name in self._tapped:
            maps[name] = as_map(
                taken[name], channels_last=self._channels_last, name=name, owner=self.name
            )
        return {name: vectors[name] if name in vectors else maps[name] for name in self.layer_names}

    def _cut(self, timm: Any, names: Sequence[str] | None, extra: dict[str, Any]) -> list[Layer]:
        """Build the network without what nobody reads; returns the maps to read."""
        self.net = build_features(timm, self.name, **extra)
        self._infos: list[dict[str, Any]] = list(self.net.feature_info.info)  # type: ignore[union-attr, arg-type]
        self.has_class_token = _has_class_token(self.net)
        self._channels_last = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        divisible = is_divisible(self.net)
        if self._global:
            self.net = self._whole(timm, extra)
        layers = layers_of(self.net, self._infos, divisible=divisible)
        chosen = choose(layers, names, _default_stages(self._infos), self.name)
        stages = [layer.stage for layer in chosen if layer.stage is not None]
        if not divisible and not self._global:
            self.net = build_features(timm, self.name, out_indices=tuple(stages), **extra)
        elif not self._global:
            assert chosen[-1].module is not None
            cut_after(self.net, chosen[-1].module)
        # A chain gives all stages that are left of it, others those that were asked for.
        self._stages = stages or [len(self._infos) - 1]
        chain = divisible and not self._global
        self._places = {
            layer.name: layer.stage if chain else stages.index(layer.stage)
            for layer in chosen
            if layer.stage is not None
        }
        self._tapped = [layer.name for layer in chosen if layer.stage is None]
        for layer in chosen:
            if layer.stage is None:
                tap(layer)
        return chosen

    def _whole(self, timm: Any, extra: dict[str, Any]) -> nn.Module:
        """The network with its pooling and without its classifier, for vectors of whole frames."""
        if CLASS_TOKEN in self._global and not self.has_class_token:
            raise SettingsError(f"{self.name} has no class token; leave {CLASS_TOKEN} out")
        # Of weights fine-tuned to classify, the head is a classifier and no projection.
        tuned = "_ft_" in str(pretrained_config(timm, self.name).tag)
        projects = CLASS_TOKEN in self._global and "_clip_" in self.name and not tuned
        with seeded():
            network: Any = timm.create_model(self.name, pretrained=False, **extra)
        if not hasattr(network, "forward_intermediates"):
            raise SettingsError(f"timm cannot read vectors of whole frames from {self.name}")
        if not projects:
            network.reset_classifier(0)
        self._projection = projects
        whole: nn.Module = network
        return whole

    def _run(self, pixels: Tensor) -> tuple[Sequence[Tensor], dict[str, Tensor]]:
        """Maps of timm's stages, and the vectors by name as 1x1 maps."""
        if not self._global:
            maps = self.net(pixels)
            if self._channels_last:
                maps = [item.permute(0, 3, 1, 2) for item in maps]
            return maps, {}
        network: Any = self.net
        last, maps = network.forward_intermediates(pixels, indices=self._stages, output_fmt="NCHW")
        vectors = {}
        if POOLED in self._global:
            vectors[POOLED] = network.forward_head(last, pre_logits=True).flatten(1)
        if CLASS_TOKEN in self._global:
            token = last[:, 0]
            if hasattr(network, "fc_norm"):
                token = network.fc_norm(token)
            vectors[CLASS_TOKEN] = network.head(token) if self._projection else token
        return maps, {name: vector[:, :, None, None] for name, vector in vectors.items()}

    def _described(self, chosen: Sequence[Layer]) -> tuple[LayerInfo, ...]:
        """Layers as data; what timm does not say of them is looked up on an empty frame."""
        maps: dict[str, Tensor] = {}
        if self._tapped or self._global:
            maps = self.blank(self.input_hw)
        infos = []
        for layer in chosen:
            if layer.stage is not None:
                info = self._infos[layer.stage]
                channels, stride = int(info["num_chs"]), int(info["reduction"])
            else:
                _, channels, *grid = maps[layer.name].shape
                stride = stride_of(self.input_hw, (grid[0], grid[1]), layer.name, self._infos)
            infos.append(LayerInfo(layer.name, channels, stride, cells(self.input_hw, stride)))
        vectors = [
            LayerInfo(name, maps[name].shape[1], max(self.input_hw), (1, 1))
            for name in self._global
        ]
        return (*infos, *vectors)

    def _load(self, timm: Any, weights: str | Path | None, extra: dict[str, Any]) -> str:
        if weights == EMPTY:
            return ""
        if weights == RANDOM:
            return RANDOM
        path = find_weights(self.name, weights)
        if path is None:
            return self._load_from_hub(timm, extra)
        state, digest = read_weights(path)
        if extra and missing_tensors(self.net, state):
            state = adapt_weights(timm, self.name, state, extra)
        fit_weights(self.net, state, name=self.name, origin=str(path))
        return digest

    def _load_from_hub(self, timm: Any, extra: dict[str, Any]) -> str:
        try:
            with quick_when_offline():
                full = timm.create_model(self.name, pretrained=True, **extra)
        except Exception as error:
            raise WeightsError(no_weights(self.name, type(error).__name__)) from error
        state = full.state_dict()
        fit_weights(self.net, state, name=self.name, origin="hub")
        return digest_tensors(state)


def _has_class_token(network: nn.Module) -> bool:
    model = getattr(network, "model", None)
    return getattr(model, "cls_token", None) is not None and hasattr(model, "forward_intermediates")


def _default_stages(infos: list[dict[str, Any]]) -> tuple[int, ...]:
    strides = [int(info["reduction"]) for info in infos]
    if len(set(strides)) == 1:
        depth = len(infos)
        return tuple(sorted({math.ceil(depth * quarter / 4) - 1 for quarter in (1, 2, 3, 4)}))
    last = {stride: index for index, stride in enumerate(strides)}
    chosen = tuple(last[stride] for stride in (4, 8, 16) if stride in last)
    return chosen or tuple(range(len(infos)))


def _refuse_partial_patches(
    name: str, input_hw: tuple[int, int], strides: list[int], *, fixed: bool
) -> None:
    """A plain vision transformer drops what does not fill a patch; a convolution pads."""
    patch = strides[0]
    if fixed and len(set(strides)) == 1 and any(side % patch for side in input_hw):
        raise SettingsError(
            f"{name} cuts the picture into patches of {patch} px; choose an image size that is a "
            f"multiple of {patch}, not {input_hw[0]}x{input_hw[1]}"
        )


def _only_what_is_here(backbone: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Let tensors of earlier versions load: other names of modules, and blocks cut off today."""
    own = {plain_name(key): key for key in backbone.net.state_dict()}  # type: ignore[union-attr]
    start = f"{prefix}net."
    for key in [key for key in state if key.startswith(start)]:
        tensor = state.pop(key)
        target = own.get(plain_name(key.removeprefix(start)))
        if target is not None:
            state[start + target] = tensor
