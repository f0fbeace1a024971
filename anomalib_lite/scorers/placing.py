"""Maps of scorers that answer in cells: where their values lie on the picture.

Where cells divide the picture evenly, any enlargement puts them right. Where the last cell reaches
over the edge, or a margin has none, they are placed by the geometry of their layer
(`backbones.cells`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalib_lite.backbones.features import FeatureLayout, LayerInfo
from anomalib_lite.scorers.smoothing import OntoGrid


def placed(maps: Tensor, layout: FeatureLayout) -> Tensor:
    """Maps `(N, h, w)` in cells that divide the input unevenly -> `(N, H, W)`, else as they are.

    Each pixel takes the value of its cell, so that peaks stay what a calibration has seen.

    Args:
        maps: of a scorer.
        layout: what it was built for.

    Raises:
        SettingsError: cells of a layer of which it is not known where they look.
    """
    layer = _uneven(maps, layout)
    if layer is None:
        return maps
    rows, columns = (
        torch.tensor([axis.cell_of(pixel) for pixel in range(axis.pixels)], device=maps.device)
        for axis in layer.axes(layout.input_hw)
    )
    return maps.index_select(1, rows).index_select(2, columns)


def resized(maps: Tensor, layout: FeatureLayout, size_hw: tuple[int, int]) -> Tensor:
    """Bilinear values of maps `(N, h, w)` on a larger grid, `(N, *size_hw)`.

    Args:
        maps: in cells of a layer, or of the whole input.
        layout: knows where the cells of its layers lie; others divide the input evenly.
        size_hw: the grid of a layer, or the input size.
    """
    found, wanted = (_grid(layout, hw) for hw in (_size(maps), size_hw))
    if found is None or wanted is None:
        return F.interpolate(maps[:, None], size=size_hw, mode="bilinear", align_corners=False)[
            :, 0
        ]
    onto: Tensor = OntoGrid(found, wanted).to(maps.device)(maps[:, None])
    return onto[:, 0]


def _uneven(maps: Tensor, layout: FeatureLayout) -> LayerInfo | None:
    """The layer whose cells the map has, where they do not divide the input evenly."""
    size_hw = _size(maps)
    if size_hw in ((1, 1), layout.input_hw):
        return None
    layer = layout.layer_of(size_hw)
    if layer is None or all(axis.tiles for axis in layer.axes(layout.input_hw)):
        return None
    return layer


def _grid(layout: FeatureLayout, size_hw: tuple[int, int]) -> LayerInfo | None:
    """Where the values of a map of this size lie; the pixels of the input are cells, too."""
    if size_hw == tuple(layout.input_hw):
        return LayerInfo("input", 1, 1, size_hw)
    return None if size_hw == (1, 1) else layout.layer_of(size_hw)


def _size(maps: Tensor) -> tuple[int, int]:
    return int(maps.shape[1]), int(maps.shape[2])
