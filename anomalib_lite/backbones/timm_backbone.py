"""Any timm network that supports `features_only`: CNN stages by name, ViT tokens by block."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from anomalib_lite.system.seeding import seeded

RANDOM = "random"
"""Weights setting for seeded random weights (checks of shapes, export and parity)."""
EMPTY = "empty"
"""Weights setting for a network whose tensors are loaded right after."""
CLASS_TOKEN = "class_token"
"""Layer name of a vision transformer's class embedding, a 1x1 map."""


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
            `class_token` adds a transformer's class embedding: after the last block and the final
            norm, and for CLIP after the projection to the space of texts.
        weights: a `.safetensors` file, `"random"`, or None for weights folder, then hub.
        input_hw: prepared size; transformers with a fixed grid are built for it.

    Attributes:
        has_class_token: whether the layer `class_token` may be asked for.

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
        self._with_class = layers is not None and CLASS_TOKEN in layers
        indices = _choose(infos, _without_class(layers), name)
        last = (len(infos) - 1,) if self._with_class else ()
        self.net = _build(timm, name, out_indices=tuple(sorted({*indices, *last})), **extra)
        self.has_class_token = _has_class_token(self.net)
        self.layer_names = [str(infos[index]["module"]) for index in indices]
        self._channels = [int(infos[index]["num_chs"]) for index in indices]
        self._strides = [int(infos[index]["reduction"]) for index in indices]
        _refuse_partial_patches(name, input_hw, self._strides, fixed=bool(extra))
        if self._with_class:
            self._keep_class_head(timm, extra)
        self._channels_last = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        self.weights_sha256 = self._load(timm, weights, extra)
        self.eval().requires_grad_(False)

    def settings(self) -> dict[str, Any]:
        class_layer = [CLASS_TOKEN] if self._with_class else []
        return {**super().settings(), "layers": [*self.layer_names, *class_layer]}

    def layer_infos(self, input_hw: tuple[int, int]) -> tuple[LayerInfo, ...]:
        infos = tuple(
            LayerInfo(name, channels, stride, _grid(input_hw, stride))
            for name, channels, stride in zip(
                self.layer_names, self._channels, self._strides, strict=True
            )
        )
        if not self._with_class:
            return infos
        return (*infos, LayerInfo(CLASS_TOKEN, self._class_channels, max(input_hw), (1, 1)))

    def extract(self, pixels: Tensor) -> dict[str, Tensor]:
        if self._with_class:
            return self._extract_with_class(pixels)
        maps = self.net(pixels)
        if self._channels_last:
            maps = [item.permute(0, 3, 1, 2) for item in maps]
        return dict(zip(self.layer_names, maps, strict=True))

    def _keep_class_head(self, timm: Any, extra: dict[str, Any]) -> None:
        """Put back the norm (and CLIP's projection) that feature extraction cuts off."""
        if not self.has_class_token:
            raise SettingsError(f"{self.name} has no class token; leave {CLASS_TOKEN} out")
        with seeded():
            whole = timm.create_model(self.name, pretrained=False, **extra)
        model: Any = self.net.model
        model.norm, model.fc_norm = whole.norm, whole.fc_norm
        self._class_channels = int(whole.embed_dim)
        # Of weights fine-tuned to classify, the head is a classifier and no projection.
        tuned = "_ft_" in str(_pretrained_config(timm, self.name).tag)
        if "_clip_" in self.name and not tuned and isinstance(whole.head, nn.Linear):
            model.head = whole.head
            self._class_channels = whole.head.out_features

    def _extract_with_class(self, pixels: Tensor) -> dict[str, Tensor]:
        model: Any = self.net.model
        found = model.forward_intermediates(
            pixels,
            indices=self.net.out_indices,
            return_prefix_tokens=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        # The last block may have been read for its class token only: zip drops its map then.
        maps = {name: item[0] for name, item in zip(self.layer_names, found, strict=False)}
        token = model.head(model.fc_norm(model.norm(found[-1][1][:, 0])))
        return {**maps, CLASS_TOKEN: token[:, :, None, None]}

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
                "backbone 'pdn_edge', whose weights are in the package"
            ) from error
        state = full.state_dict()
        fit_weights(self.net, state, name=self.name, origin="hub")
        return digest_tensors(state)


def layer_strides(name: str, input_hw: tuple[int, int]) -> dict[str, int]:
    """Layers that a timm network can be read at, shallow to deep, with their strides in pixels."""
    timm = import_timm()
    fixed = _pretrained_config(timm, name).fixed_input_size
    infos = _feature_infos(timm, name, {"img_size": input_hw} if fixed else {})
    return {str(info["module"]): int(info["reduction"]) for info in infos}


def _pretrained_config(timm: Any, name: str) -> Any:
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name[:6]}*")[:4])
        raise SettingsError(
            f"unknown backbone {name!r}; choose 'pdn_edge' or a timm name"
            + (f" (similar: {near})" if near else "")
        )
    return timm.get_pretrained_cfg(name)


def _build(timm: Any, name: str, **options: Any) -> nn.Module:
    try:
        with seeded():
            network: nn.Module = timm.create_model(
                name, pretrained=False, features_only=True, **options
            )
    except (RuntimeError, AttributeError, TypeError) as error:
        raise SettingsError(f"timm cannot read features from {name} ({error})") from error
    return network


def _has_class_token(network: nn.Module) -> bool:
    model = getattr(network, "model", None)
    return getattr(model, "cls_token", None) is not None and hasattr(model, "forward_intermediates")


def _without_class(layers: Sequence[str] | None) -> Sequence[str] | None:
    """The layers that are module names; the default ones when the class token is all there is."""
    named = None if layers is None else [layer for layer in layers if layer != CLASS_TOKEN]
    return None if layers and not named else named


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
