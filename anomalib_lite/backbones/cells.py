"""Where the cells of a feature map lie on the picture, along one axis.

Cell i stands for the pixels `offset + i * stride` to `offset + (i + 1) * stride`. The last cell of
a padded network may reach over the edge of the picture; a network without padding leaves a margin
that no cell looks at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalib_lite.edge.errors import SettingsError


@dataclass(frozen=True)
class CellAxis:
    """One axis of a grid on one axis of a picture.

    Attributes:
        cells: number of cells.
        pixels: length of the picture.
        stride: pixels of a cell.
        offset: pixels before the first cell; negative when it begins outside the picture.

    Raises:
        SettingsError: cells that lie outside the picture, or leave out more than a cell of it
            without an offset that says where they begin.
    """

    cells: int
    pixels: int
    stride: int
    offset: int = 0

    def __post_init__(self) -> None:
        end = self.offset + self.cells * self.stride
        beyond, missing = end - self.pixels, self.pixels - end
        if (self.cells > 1 and beyond >= self.stride) or missing >= self.stride + abs(self.offset):
            raise SettingsError(
                f"{self.cells} cells of {self.stride} pixels from pixel {self.offset} on do not "
                f"cover a side of {self.pixels} pixels: where the network looks is not known; "
                "choose another image size or other layers, or give their LayerInfo its offset"
            )

    @property
    def tiles(self) -> bool:
        """Whether the cells cover the picture exactly."""
        return self.offset == 0 and self.cells * self.stride == self.pixels

    def cell_of(self, pixel: int) -> int:
        """The cell that a pixel lies in, or the nearest."""
        return min(max(0, (pixel - self.offset) // self.stride), self.cells - 1)

    def enlarging(self) -> Tensor:
        """Bilinear enlargement to pixels as a matrix float64 `(pixels, cells)`.

        Beyond the centres of the outermost cells their values go on.
        """
        covered = self.cells * self.stride
        identity = torch.eye(self.cells, dtype=torch.float64)[None]
        whole = F.interpolate(identity, size=covered, mode="linear", align_corners=False)[0].T
        places = torch.arange(self.pixels) - self.offset
        return whole[places.clamp(0, covered - 1)]

    def averaging(self) -> Tensor:
        """Mean over the pixels of each cell as a matrix float64 `(cells, pixels)`.

        Of a cell that reaches over the edge what lies in the picture; 0 where nothing does.
        """
        places = (torch.arange(self.pixels) - self.offset).div(self.stride, rounding_mode="floor")
        members = (places == torch.arange(self.cells)[:, None]).double()
        return members / members.sum(dim=1, keepdim=True).clamp(min=1)

    def span(self, cell: int) -> tuple[int, int]:
        """First pixel of a cell and the one after its last, inside the picture."""
        start = min(max(0, self.offset + cell * self.stride), self.pixels - 1)
        end = min(self.pixels, self.offset + (cell + 1) * self.stride)
        return start, max(start + 1, end)


def resampling(source: int, stride: int, target: int, fine: int, shift: int = 0) -> Tensor:
    """Bilinear values at the centres of other cells, a matrix float64 `(target, source)`.

    Args:
        source: cells that have values.
        stride: pixels of one of them.
        target: cells that want some.
        fine: pixels of one of these.
        shift: pixels by which the source begins later.
    """
    centres = (torch.arange(target).double() + 0.5) * fine - shift
    places = (centres / stride - 0.5).clamp(0, source - 1)
    below = places.floor().long()
    share = places - below
    matrix = torch.zeros(target, source, dtype=torch.float64)
    rows = torch.arange(target)
    matrix[rows, below] += 1 - share
    matrix[rows, (below + 1).clamp(max=source - 1)] += share
    return matrix
