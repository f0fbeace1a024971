"""Any timm network that supports `features_only`: CNN stages by name, ViT tokens by block."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anomalib_lite.backbones.base import Backbone
from anomalib_lite.backbones.features import LayerInfo
from anomalib_lite.backbones.torchvision_ops import declare_missing_operators
from anomalib_lite.backbones.weights import (
    WEIGHTS_FOLDER_VARIABLE,
    digest_tensors,
    find_weights,
    fit_weights,
    quick_when_offline,
    read_weights,
)
from anomalib_lite.edge.errors import SettingsError, WeightsError

RANDOM = "random"
"""Weights setting for seeded random weights (checks of shapes, export and parity)."""
EMPTY = "empty"
"""Weights setting for a network whose tensors are loaded right after."""


def import_timm() -> Any:
    """Import timm, declaring torchvision's operators first where they are missing."""
    declare_missing_operators()
    import timm

    return timm


class TimmBackbone(Backbone):
    """A timm network cut after the deepest requested layer, frozen, in evaluation mode.

    Args:
        name: timm model name, e.g. `resnet18`, `vit_tiny_patch16_224`.
        layers: module names to read out (`layer2`, `blocks.5`); None takes the last layer of
            strides 4, 8 and 16, or for transformers the blocks at 1/4, 1/2, 3/4 and the end.
        weights: a `.safetensors` file, `"random"`, or None for weights folder, then hub.
        input_hw: prepared size; transformers with a fixed grid are built for it.

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
        config = _pretrained_config(timm, name)
        super().__init__(config.mean, config.std)
        self.name = name
        self.input_hw = input_hw
        extra = {"img_size": input_hw} if config.fixed_input_size else {}
        infos = _feature_infos(timm, name, extra)
        indices = _choose(infos, layers, name)
        self.net = _build(timm, name, out_indices=indices, **extra)
        self.layer_names = [str(infos[index]["module"]) for index in indices]
        self._channels = [int(infos[index]["num_chs"]) for index in indices]
        self._strides = [int(infos[index]["reduction"]) for index in indices]
        _refuse_partial_patches(name, input_hw, self._strides, fixed=bool(extra))
        self._channels_last = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        self.weights_sha256 = self._load(timm, weights, extra)
        self.eval().requires_grad_(False)

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "layers": list(self.layer_names)}

    def layer_infos(self, input_hw: tuple[int, int]) -> tuple[LayerInfo, ...]:
        return tuple(
            LayerInfo(name, channels, stride, _grid(input_hw, stride))
            for name, channels, stride in zip(
                self.layer_names, self._channels, self._strides, strict=True
            )
        )

    def extract(self, pixels: Tensor) -> dict[str, Tensor]:
        maps = self.net(pixels)
        if self._channels_last:
            maps = [item.permute(0, 3, 1, 2) for item in maps]
        return dict(zip(self.layer_names, maps, strict=True))

    def _load(self, timm: Any, weights: str | Path | None, extra: dict[str, Any]) -> str:
        if weights == EMPTY:
            return ""
        if weights == RANDOM:
            return RANDOM
        path = find_weights(self.name, weights)
        if path is None:
            return self._load_from_hub(timm, extra)
        state, digest = read_weights(path)
        fit_weights(
            self.net, _adapt(timm, self.name, state, extra), name=self.name, origin=str(path)
        )
        return digest

    def _load_from_hub(self, timm: Any, extra: dict[str, Any]) -> str:
        try:
            with quick_when_offline():
                full = timm.create_model(self.name, pretrained=True, **extra)
        except Exception as error:
            raise WeightsError(
                f"no weights for {self.name}: not in the folder {WEIGHTS_FOLDER_VARIABLE} and the "
                f"model hub cannot be reached ({type(error).__name__}); put "
                f"{self.name}.safetensors into that folder, give --weights FILE, or use the "
                "backbone 'filters', which needs none"
            ) from error
        state = full.state_dict()
        fit_weights(self.net, state, name=self.name, origin="hub")
        return digest_tensors(state)


def _pretrained_config(timm: Any, name: str) -> Any:
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name[:6]}*")[:4])
        raise SettingsError(
            f"unknown backbone {name!r}; choose 'filters' or a timm name"
            + (f" (similar: {near})" if near else "")
        )
    return timm.get_pretrained_cfg(name)


def _build(timm: Any, name: str, **options: Any) -> nn.Module:
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    try:
        network: nn.Module = timm.create_model(
            name, pretrained=False, features_only=True, **options
        )
    except (RuntimeError, AttributeError, TypeError) as error:
        raise SettingsError(f"timm cannot read features from {name} ({error})") from error
    finally:
        torch.set_rng_state(generator_state)
    return network


def _feature_infos(timm: Any, name: str, extra: dict[str, Any]) -> list[dict[str, Any]]:
    return list(_build(timm, name, **extra).feature_info.info)  # type: ignore[union-attr, arg-type]


def _choose(
    infos: list[dict[str, Any]], layers: Sequence[str] | None, name: str
) -> tuple[int, ...]:
    known = [str(info["module"]) for info in infos]
    if layers is None:
        return _default_layers(infos)
    unknown = [layer for layer in layers if layer not in known]
    if unknown or not layers:
        raise SettingsError(f"{name} has no layer {unknown}; choose from {', '.join(known)}")
    return tuple(sorted({known.index(layer) for layer in layers}))


def _default_layers(infos: list[dict[str, Any]]) -> tuple[int, ...]:
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


def _grid(input_hw: tuple[int, int], stride: int) -> tuple[int, int]:
    return math.ceil(input_hw[0] / stride), math.ceil(input_hw[1] / stride)


def _adapt(
    timm: Any, name: str, state: dict[str, Tensor], extra: dict[str, Any]
) -> dict[str, Tensor]:
    """Let timm rename old keys and resample position embeddings to the input size."""
    if not extra:
        return state
    full = timm.create_model(name, pretrained=False, **extra)
    adapt = getattr(sys.modules[type(full).__module__], "checkpoint_filter_fn", None)
    return dict(adapt(state, full)) if adapt is not None else state
