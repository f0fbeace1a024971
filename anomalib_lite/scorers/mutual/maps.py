"""Which layers are compared, and from scores of their cells to maps: joined and enlarged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_lite.backbones.cells import CellAxis
from anomalib_lite.backbones.features import FeatureLayout, LayerInfo
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.smoothing import OntoGrid

_USUAL_STRIDES = (8, 16)


def patch_layers(layout: FeatureLayout, names: Sequence[str] | None) -> list[LayerInfo]:
    """Layers to compare: those named, else those of stride 8 and 16, else all that have cells."""
    usable = {info.name: info for info in layout.layers if info.grid_hw != (1, 1)}
    if names is None:
        usual = [info for info in usable.values() if info.stride in _USUAL_STRIDES]
        names = [info.name for info in usual] or list(usable)
    unknown = [name for name in names if name not in usable]
    if unknown or not names:
        raise SettingsError(
            f"layers {list(names)} are not those of the backbone; choose among {', '.join(usable)}"
        )
    return [usable[name] for name in dict.fromkeys(names)]


class MapCombiner(nn.Module):
    """Mean of the layers' scores on the finest grid, and its enlargement to the input.

    Coarser layers are enlarged bilinearly. The map is enlarged bilinearly, with aligned corners at
    sizes that the cells cover exactly, and not blurred, as in the authors' code. Cells outside the
    region of interest have no tokens; they and pixels outside it are zero.

    Args:
        layout: input size and region of interest.
        layers: those that are scored.

    Attributes:
        cells0, cells1, ...: cells of each layer inside the region of interest, int64 `(P,)`.
    """

    rows: Tensor
    columns: Tensor
    inside: Tensor

    def __init__(self, layout: FeatureLayout, layers: Sequence[LayerInfo]) -> None:
        super().__init__()
        self.grids = [layer.grid_hw for layer in layers]
        finest = max(layers, key=lambda layer: layer.grid_hw[0] * layer.grid_hw[1])
        self.grid_hw = finest.grid_hw
        self.onto = nn.ModuleList(OntoGrid(layer, finest) for layer in layers)
        self.limited = layout.roi is not None
        for number, layer in enumerate(layers):
            inside = layout.cell_share(layer.grid_hw).flatten() > 0
            cells = torch.nonzero(inside)[:, 0]
            places = torch.full((len(inside),), len(cells))
            places[cells] = torch.arange(len(cells))
            self.register_buffer(f"cells{number}", cells, persistent=False)
            self.register_buffer(f"places{number}", places, persistent=False)
        for name, axis in zip(("rows", "columns"), finest.axes(layout.input_hw), strict=True):
            self.register_buffer(name, _enlarging(axis), persistent=False)
        if layout.roi is not None:
            pixels_inside = torch.from_numpy(layout.roi).float()
            self.register_buffer("inside", pixels_inside, persistent=False)
            share = (layout.cell_share(self.grid_hw) > 0).float()
            self.register_buffer("cells_inside", share, persistent=False)

    def cells(self, number: int) -> Tensor:
        """Cells of a layer that have tokens, int64 `(P,)`."""
        return self.get_buffer(f"cells{number}")

    def forward(self, scores: Sequence[Tensor]) -> Tensor:
        """Scores `(N, P)` of each layer -> map `(N, h, w)` on the finest grid."""
        total = scores[0].new_zeros(())
        for number, (grid, layer_scores) in enumerate(zip(self.grids, scores, strict=True)):
            if self.limited:
                layer_scores = F.pad(layer_scores, (0, 1))[:, self.get_buffer(f"places{number}")]
            maps = self.onto[number](layer_scores.view(-1, 1, *grid))
            total = total + maps[:, 0]
        mean = total / len(self.grids)
        return mean * self.get_buffer("cells_inside") if self.limited else mean

    def enlarge(self, maps: Tensor) -> Tensor:
        """Map `(N, h, w)` -> `(N, H, W)` of the input."""
        large = self.rows @ maps @ self.columns.T
        return large * self.inside if self.limited else large


def _enlarging(axis: CellAxis) -> Tensor:
    """Bilinear enlargement along one axis as a matrix `(pixels, cells)`.

    With aligned corners where the cells cover the picture exactly, as in the authors' code; else
    values stand where the cells lie.
    """
    if not axis.tiles:
        return axis.enlarging().float().contiguous()
    identity = torch.eye(axis.cells, dtype=torch.float64)[None]
    enlarged = F.interpolate(identity, size=axis.pixels, mode="linear", align_corners=True)
    return enlarged[0].T.float().contiguous()
