"""timm itself: importing it, making its networks, adapting weights to them."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn

from anomalib_lite.backbones.base import register_backbone
from anomalib_lite.backbones.torchvision_ops import declare_missing_operators
from anomalib_lite.edge.errors import SettingsError, did_you_mean
from anomalib_lite.system.seeding import seeded

_SMALL_BYTES = 1 << 30
_LARGEST_SHARE = 32


def import_timm() -> Any:
    """Import timm, declaring torchvision's operators first where they are missing."""
    declare_missing_operators()
    import timm

    return timm


def pretrained_config(timm: Any, name: str) -> Any:
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name[:6]}*")[:4])
        meant = did_you_mean(name, [*timm.list_models(), *register_backbone.known])
        raise SettingsError(
            f"unknown backbone {name!r}{meant}; choose 'pdn_edge' or a timm name"
            + (f" (similar: {near})" if near else "")
        )
    return timm.get_pretrained_cfg(name)


def refuse_larger(name: str, held_bytes: int) -> None:
    """Raise `ValueError` where a network is far larger than what a file holds of it.

    Files name their network, and a name alone could fill the memory. It is laid out without memory
    first. What a file holds may be cut off after an early layer, so that it may be much smaller.

    Args:
        name: of a timm network; others are left to who builds them.
        held_bytes: of its tensors in the file.
    """
    timm = import_timm()
    if name in register_backbone.known or not timm.is_model(name):
        return
    with torch.device("meta"):
        network: nn.Module = timm.create_model(name, pretrained=False)
    needed = 4 * sum(parameter.numel() for parameter in network.parameters())
    if needed > max(_SMALL_BYTES, _LARGEST_SHARE * held_bytes):
        raise ValueError(
            f"the network {name} takes {needed / 1e6:.0f} MB, the file holds "
            f"{held_bytes / 1e6:.1f} MB of it"
        )


def build_features(timm: Any, name: str, **options: Any) -> nn.Module:
    try:
        with seeded():
            network: nn.Module = timm.create_model(
                name, pretrained=False, features_only=True, **options
            )
    except (AssertionError, AttributeError, RuntimeError, TypeError) as error:
        raise SettingsError(f"timm cannot read features from {name} ({error})") from error
    return network


def layer_strides(name: str, input_hw: tuple[int, int]) -> dict[str, int]:
    """Layers that a timm network can be read at, shallow to deep, with their strides in pixels."""
    timm = import_timm()
    fixed = pretrained_config(timm, name).fixed_input_size
    network: Any = build_features(timm, name, **({"img_size": input_hw} if fixed else {}))
    return {str(info["module"]): int(info["reduction"]) for info in network.feature_info.info}


def adapt_weights(
    timm: Any, name: str, state: dict[str, Tensor], extra: dict[str, Any]
) -> dict[str, Tensor]:
    """Let timm rename old keys and resample position embeddings to the input size."""
    if not extra:
        return state
    full = timm.create_model(name, pretrained=False, **extra)
    adapt = getattr(sys.modules[type(full).__module__], "checkpoint_filter_fn", None)
    return dict(adapt(state, full)) if adapt is not None else state
