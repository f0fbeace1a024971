"""Backbones: frozen feature extractors, by name.

`create_backbone("resnet18")` looks in the project's registry first, then in timm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from anomalib_lite.backbones import filters as _filters  # noqa: F401 - registers itself
from anomalib_lite.backbones import pdn_backbone as _pdn  # noqa: F401 - registers itself
from anomalib_lite.backbones import pixels as _pixels  # noqa: F401 - registers itself
from anomalib_lite.backbones.base import Backbone, BackboneFactory, register_backbone
from anomalib_lite.backbones.features import FeatureLayout, Features, LayerInfo
from anomalib_lite.backbones.options import NORMALISATION, checked_options
from anomalib_lite.edge.plain import plain

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
    options: Mapping[str, Any] | None = None,
) -> Backbone:
    """Build a frozen backbone.

    Args:
        name: a registered name (`pdn_edge`, `filters`, `pixels`) or any timm network that supports
            `features_only`.
        layers: module names to read out; None takes the backbone's default.
        weights: a `.safetensors` file, `"random"`, or None to look in the weights folder, then
            the hub.
        input_hw: prepared size `(height, width)`.
        options: `mean` and `std` in place of the backbone's own normalisation (three numbers each
            on the scale 0 to 1), and what a registered backbone declares beyond the arguments
            above. Plain JSON types; detector files keep them.

    Raises:
        SettingsError: unknown name, layer or option.
        WeightsError: no weights, or weights that do not fit.
    """
    factory: BackboneFactory
    name, layers = plain(name), plain(layers)
    if isinstance(layers, str):
        layers = [layers]
    if name in register_backbone.known:
        factory = register_backbone.known[name]
    else:
        from anomalib_lite.backbones.timm_backbone import TimmBackbone

        factory = partial(TimmBackbone, name)
    checked = checked_options(name, factory, plain(options))
    own = {key: value for key, value in checked.items() if key not in NORMALISATION}
    backbone = factory(layers=layers, weights=weights, input_hw=input_hw, **own)
    backbone.take_options(checked)
    return backbone


def list_backbones(pattern: str = "*") -> list[str]:
    """Names of registered and timm backbones that match a shell pattern."""
    from anomalib_lite.backbones.timm_models import import_timm

    own = [name for name in register_backbone.known if fnmatch(name, pattern)]
    return sorted(own) + list(import_timm().list_models(pattern))
