"""Backbones: frozen feature extractors, by name.

`create_backbone("resnet18")` looks in the project's registry first, then in timm.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from anomalib_lite.backbones import filters as _filters  # noqa: F401 - registers itself
from anomalib_lite.backbones import pdn_backbone as _pdn  # noqa: F401 - registers itself
from anomalib_lite.backbones.base import Backbone, register_backbone
from anomalib_lite.backbones.features import FeatureLayout, Features, LayerInfo

__all__ = [
    "Backbone",
    "FeatureLayout",
    "Features",
    "LayerInfo",
    "create_backbone",
    "list_backbones",
    "register_backbone",
]


def create_backbone(
    name: str,
    *,
    layers: Sequence[str] | None = None,
    weights: str | Path | None = None,
    input_hw: tuple[int, int] = (256, 256),
) -> Backbone:
    """Build a frozen backbone.

    Args:
        name: a registered name (`pdn_edge`, `filters`) or any timm network that supports
            `features_only`.
        layers: module names to read out; None takes the backbone's default.
        weights: a `.safetensors` file, `"random"`, or None to look in the weights folder, then
            the hub.
        input_hw: prepared size `(height, width)`.

    Raises:
        SettingsError: unknown name or layer.
        WeightsError: no weights, or weights that do not fit.
    """
    if name in register_backbone.known:
        factory = register_backbone.known[name]
        return factory(layers=layers, weights=weights, input_hw=input_hw)
    from anomalib_lite.backbones.timm_backbone import TimmBackbone

    return TimmBackbone(name, layers=layers, weights=weights, input_hw=input_hw)


def list_backbones(pattern: str = "*") -> list[str]:
    """Names of registered and timm backbones that match a shell pattern."""
    from anomalib_lite.backbones.timm_backbone import import_timm

    own = [name for name in register_backbone.known if fnmatch(name, pattern)]
    return sorted(own) + list(import_timm().list_models(pattern))
