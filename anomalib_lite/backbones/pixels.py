"""`pixels`: no network at all, for methods that look at the picture itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from anomalib_lite.backbones.base import Backbone, register_backbone
from anomalib_lite.backbones.features import LayerInfo
from anomalib_lite.edge.errors import SettingsError

_LAYER = "pixels"


@register_backbone("pixels")
class PixelsBackbone(Backbone):
    """The picture as its only map: layer `pixels`, 3 channels, stride 1, on the scale 0 to 1.

    A map rather than none, so that every scorer that reads maps runs on colours, too; it is the
    tensor that the scorer gets as pixels, so it costs nothing. Another scale: the options `mean`
    and `std` of `create_backbone`.

    Args:
        layers: None or `("pixels",)`.
        weights: must be None: there are none.
        input_hw: accepted for the common signature.
    """

    def __init__(
        self,
        *,
        layers: Sequence[str] | None = None,
        weights: str | Path | None = None,
        input_hw: tuple[int, int] = (256, 256),
    ) -> None:
        super().__init__((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        del input_hw
        if weights not in (None, "empty", "random"):
            raise SettingsError("the backbone 'pixels' has no weights; leave --weights out")
        if layers is not None and list(layers) != [_LAYER]:
            raise SettingsError(f"pixels has no layer {sorted(layers)}; its only one is {_LAYER}")
        self.name = "pixels"
        self.layer_names = [_LAYER]
        self.weights_sha256 = "none (pixels as they are)"
        self.eval()

    def layer_infos(self, input_hw: tuple[int, int]) -> tuple[LayerInfo, ...]:
        return (LayerInfo(_LAYER, 3, 1, input_hw),)

    def extract(self, pixels: Tensor) -> dict[str, Tensor]:
        return {_LAYER: pixels}
