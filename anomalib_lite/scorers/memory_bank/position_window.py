"""Search in a window: each patch is compared only with good patches from near its own place.

For a camera and parts that do not move. Distances can only grow, for good and bad patches alike;
where good parts really lie the same way they hardly grow, and a patch that would be good elsewhere
stands out. `choose_window` looks for exactly that on held-out good images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

WINDOWS = (1, 2, 3, 4, 6)
"""Cells around a patch's own that `window="auto"` tries, smallest first."""

SMALL_EFFECT = 0.2
"""Standard deviations that held-out good scores may rise: Cohen's small effect."""

_TILE = 8
_OUTSIDE = 1e30


def blocks_of_cells(grid_hw: tuple[int, int], window: int) -> NDArray[np.int64]:
    """Block of each cell `(h * w,)`, squares of side `window + 1`.

    Cells of one block lie in each other's windows: a bank with a row in each block has one in every
    window, and a row that covers its block covers patches whose window it is in.
    """
    rows, columns = np.divmod(np.arange(grid_hw[0] * grid_hw[1]), grid_hw[1])
    across = -(-grid_hw[1] // (window + 1))
    blocks: NDArray[np.int64] = rows // (window + 1) * across + columns // (window + 1)
    return blocks


def choose_window(
    whole: NDArray[np.float32], windowed: Iterator[tuple[int, NDArray[np.float32]]]
) -> int | None:
    """The smallest window that hardly raises the scores of held-out good images, or None.

    With the same bank every score in a window is at least the one without. If good images' scores
    stay where they are, defects can only move away from them. How far they may rise is a fifth of
    their own spread. No defect is looked at, real or made.

    Args:
        whole: image scores of held-out good images against the whole bank `(n,)`.
        windowed: windows, smallest first, and the scores of the same images with each `(n,)`.
    """
    spread = float(whole.std())
    for window, scores in windowed:
        if float((scores - whole).mean()) <= SMALL_EFFECT * spread:
            return window
    return None


class _Tile(NamedTuple):
    """Bank rows `start:stop` of one square of the grid, and the cells that they may be near."""

    start: int
    stop: int
    top: int
    bottom: int
    left: int
    right: int


def by_tile(cells: NDArray[np.int64], grid_hw: tuple[int, int]) -> NDArray[np.int64]:
    """Order of bank rows `(M,)` that puts those of one tile next to each other."""
    rows, columns = np.divmod(cells, grid_hw[1])
    return np.lexsort((cells, columns // _TILE, rows // _TILE))


class WindowSearch(nn.Module):
    """Nearest bank row within a window of each cell, as one small product per tile of the bank.

    A tile's rows are compared with the patches of the tile and of the window around it, and
    those out of each other's window are struck out: exactly the window, for a seventh of the work
    of the whole product (2 cells, 32 x 32 grid). All shapes are fixed by the bank.

    Args:
        cells: place of each bank row `(M,)`, in the order of `by_tile`.
        grid_hw: cells of the grid.
        window: cells to each side, also diagonally (Chebyshev distance).
    """

    def __init__(self, cells: NDArray[np.int64], grid_hw: tuple[int, int], window: int) -> None:
        super().__init__()
        self.grid_hw = grid_hw
        self.tiles: list[_Tile] = []
        rows, columns = np.divmod(cells, grid_hw[1])
        tile = rows // _TILE * math.ceil(grid_hw[1] / _TILE) + columns // _TILE
        starts = np.flatnonzero(np.diff(tile, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(cells)], strict=True):
            own = slice(start, stop)
            top, bottom = _reach(rows[start] // _TILE, window, grid_hw[0])
            left, right = _reach(columns[start] // _TILE, window, grid_hw[1])
            far_row = abs(np.arange(top, bottom)[:, None] - rows[own]) > window
            far_column = abs(np.arange(left, right)[:, None] - columns[own]) > window
            outside = (far_row[:, None] | far_column[None]).reshape(-1, int(stop - start))
            name = f"outside{len(self.tiles)}"
            self.register_buffer(name, torch.from_numpy(outside), persistent=False)
            self.tiles.append(_Tile(int(start), int(stop), top, bottom, left, right))

    def forward(self, queries: Tensor, bank: Tensor, squares: Tensor) -> Tensor:
        """Indices of the nearest rows, int64 `(N * h * w,)`; 0 where a window is empty.

        Args:
            queries: `(N * h * w, d)`, centred like the bank.
            bank: `(M, d)` in the order of `by_tile`.
            squares: squared norms of its rows `(M,)`.
        """
        (height, width), length = self.grid_hw, queries.shape[-1]
        grid = queries.reshape(-1, height, width, length)
        sizes = [tile.stop - tile.start for tile in self.tiles]
        parts = zip(self.tiles, bank.split(sizes), squares.split(sizes), strict=True)
        nearest, index = [], []
        for number, (tile, rows, norms) in enumerate(parts):
            near = grid[:, tile.top : tile.bottom, tile.left : tile.right].reshape(-1, length)
            away = norms / 2 - near @ rows.T
            shape = ((tile.bottom - tile.top) * (tile.right - tile.left), tile.stop - tile.start)
            away = away.reshape(-1, *shape).masked_fill(
                self.get_buffer(f"outside{number}"), _OUTSIDE
            )
            lowest, place = away.min(dim=2)
            nearest.append(self._on_grid(lowest, tile, _OUTSIDE))
            index.append(self._on_grid(place + tile.start, tile, 0))
        best = torch.stack(nearest).argmin(dim=0, keepdim=True)
        return torch.stack(index).gather(0, best).reshape(-1)

    def _on_grid(self, values: Tensor, tile: _Tile, outside: float) -> Tensor:
        """Values of a tile's cells `(N, cells)` on the whole grid `(N, h, w)`."""
        height, width = self.grid_hw
        square = values.reshape(-1, tile.bottom - tile.top, tile.right - tile.left)
        border = (tile.left, width - tile.right, tile.top, height - tile.bottom)
        return F.pad(square, border, value=outside)


def _reach(tile: int, window: int, cells: int) -> tuple[int, int]:
    """First and last + 1 row (or column) of the grid within the window of a tile."""
    return int(max(0, tile * _TILE - window)), int(min(cells, (tile + 1) * _TILE + window))


def rows_needed(cells: Sequence[int] | NDArray[np.int64], blocks: NDArray[np.int64]) -> int:
    """Rows that a bank needs at least: one for each block with a cell inside the region."""
    return len(np.unique(blocks[np.asarray(cells)]))
