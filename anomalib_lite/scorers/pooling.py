"""Global pooling of layers, limited to the region of interest."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from anomalib_lite.backbones.features import FeatureLayout, Features, LayerInfo


class LayerPool(nn.Module):
    """Mean of each layer over its cells inside the region of interest.

    A cell counts by the share of its pixels that lie inside.

    Args:
        layout: gives the region of interest.
        layers: the layers to pool.
    """

    def __init__(self, layout: FeatureLayout, layers: Sequence[LayerInfo]) -> None:
        super().__init__()
        self.names = [layer.name for layer in layers]
        self.limited = layout.roi is not None
        if self.limited:
            for index, layer in enumerate(layers):
                share = layout.cell_share(layer.grid_hw)
                self.register_buffer(f"share{index}", share / share.sum(), persistent=False)

    def forward(self, features: Features) -> list[Tensor]:
        """One tensor `(N, C)` per layer."""
        if not self.limited:
            return [features.maps[name].mean(dim=(2, 3)) for name in self.names]
        return [
            (features.maps[name] * self.get_buffer(f"share{index}")).sum(dim=(2, 3))
            for index, name in enumerate(self.names)
        ]
