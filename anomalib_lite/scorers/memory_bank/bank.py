"""A bank of patch vectors in use: search, map, image score, and the evidence behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.backbones.features import Features
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.base import Scorer, Scores
from anomalib_lite.scorers.image_score import ImageScore
from anomalib_lite.scorers.memory_bank.nearest import (
    centred_bank,
    distances_to,
    nearest_rows,
    nearest_rows_in_fit,
)
from anomalib_lite.scorers.memory_bank.patch_vectors import PatchEmbedding
from anomalib_lite.scorers.memory_bank.position_window import WindowSearch, by_tile
from anomalib_lite.scorers.memory_bank.quick_search import (
    FEWEST_ROWS,
    quick_bank,
    quick_distances,
)
from anomalib_lite.scorers.smoothing import EnlargeAndBlur

Bank = tuple[Tensor, NDArray[np.int64]]
"""Rows `(M, d)` and their origin (image, cell) `(M, 2)`."""

_REWEIGHT_NEIGHBOURS = 9  # b of equation 7
_STEPS_PER_FLOOR = 32  # closer distances count as equal where a patch must be chosen
_WHOLE = -1  # window_ of a search in the whole bank
_CHECKED = 32  # cells that are searched exactly for the image score, at least
_CHECKED_PER_COUNTED = 3  # and so many for each that it counts
_QUICK = ("turn_", "coordinates_", "stretch_")
_FEWEST_CELLS = 4  # times the cells that are checked: else all are searched exactly


class PatchBank(Scorer):
    """The fitted half of PatchCore; a subclass builds the parts below and selects the bank.

    Attributes:
        bank_: kept patch vectors around their mean, float32 `(M, d)`.
        mean_: that mean `(d,)`.
        squares_: squared norms of the bank's rows `(M,)`.
        floor_: distances are `sqrt(d^2 + floor^2)`.
        origin_: image index and grid cell of each row, int64 `(M, 2)`.
        window_: cells that the search looks around, -1 for the whole bank.
        around_: nearest bank rows of each bank row, int64 `(M, 9)`; only with `reweight`.
        turn_, coordinates_, stretch_: see `quick_search`; only where it is used.
        near: the search in windows, None for the whole bank.
        inside: 1 for cells inside the region of interest `(h, w)`.
    """

    bank_: Tensor
    mean_: Tensor
    squares_: Tensor
    floor_: Tensor
    origin_: Tensor
    window_: Tensor
    around_: Tensor
    turn_: Tensor
    coordinates_: Tensor
    stretch_: Tensor
    inside: Tensor
    patches: PatchEmbedding
    enlarge: EnlargeAndBlur
    summary: ImageScore
    near: WindowSearch | None
    reweight: bool
    directions: int | None

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        super().load_tensors(tensors)
        if int(tensors.get("window_", torch.tensor(_WHOLE))) != _WHOLE:
            cells = self.origin_[:, 1].cpu().numpy()
            self.near = WindowSearch(cells, self.patches.grid_hw, int(self.window_))

    def forward(self, features: Features) -> Scores:
        return self.scores(self.patches(features.maps))

    def explain(self, features: Features, cell: tuple[int, int]) -> dict[str, Any]:
        """The good patch nearest to a map cell `(row, column)` of the first image.

        Returns:
            `image` (index of the good image in the stream that was fitted), `cell` (its grid row
            and column), `box` (its pixels: top, left, bottom, right), `distance`, and the `query`
            cell on the grid.
        """
        (height, width), (rows, columns) = self.layout.input_hw, self.patches.grid_hw
        if not (0 <= cell[0] < height and 0 <= cell[1] < width):
            raise SettingsError(f"cell {cell} is outside the map of {height} x {width}")
        down, along = self.patches.layers[0].axes((height, width))
        row, column = down.cell_of(cell[0]), along.cell_of(cell[1])
        _, index, grid = self._search(self.patches(features.maps)[:1])
        found = int(index.view(rows, columns)[row, column])
        image, place = self.origin_[found].tolist()
        place_hw = (place // columns, place % columns)
        (top, bottom), (left, right) = down.span(place_hw[0]), along.span(place_hw[1])
        return {
            "image": image,
            "cell": place_hw,
            "box": (top, left, bottom, right),
            "distance": float(grid[0, row, column]),
            "query": (row, column),
        }

    def scores(self, patches: Tensor, *, in_fit: bool = False) -> Scores:
        """Scores of patches `(N, h * w, d)`; in a fit by the same search, skipping more."""
        if self.quick:
            return self._quick_scores(patches - self.mean_)
        queries, index, grid = self._search(patches, in_fit=in_fit)
        image: Tensor = self.summary(grid)
        if self.reweight and self.bank_.shape[0] > 1:
            image = image * self._weight(queries, index, grid)
        return Scores(image, self.enlarge(grid))

    def _quick_scores(self, queries: Tensor) -> Scores:
        """Map by the quick search; image score by the exact distances of its largest cells.

        Args:
            queries: centred patches `(N, h * w, d)`.
        """
        about = quick_distances(
            queries, self.turn_, self.coordinates_, self.stretch_, self.floor_
        ).reshape(-1, *self.patches.grid_hw)
        if self.layout.roi is not None:
            about = about * self.inside
        place = about.flatten(1).topk(self._checked, dim=1).indices
        width = self.patches.width
        rows = queries.gather(1, place[:, :, None].expand(-1, -1, width)).reshape(-1, width)
        index = nearest_rows(rows, self.bank_, self.squares_)[:, 0]
        exact = distances_to(rows, self.bank_[index], self.floor_).reshape(-1, 1, self._checked)
        if self.layout.roi is not None:
            exact = exact * self.inside.flatten()[place][:, None]
        return Scores(self.summary(exact), self.enlarge(about))

    @property
    def quick(self) -> bool:
        """Whether maps come from the quick search."""
        return "turn_" in self._buffers

    @property
    def _checked(self) -> int:
        return max(_CHECKED, _CHECKED_PER_COUNTED * self.summary.count)

    def _quick_part(self, bank: Tensor, squares: Tensor, window: int | None) -> dict[str, Tensor]:
        """Buffers of the quick search; none where a search is exact."""
        height, width = self.patches.grid_hw
        if (
            self.directions is None
            or window is not None
            or self.reweight
            or len(bank) < FEWEST_ROWS
            or bank.shape[1] < 2 * self.directions
            or height * width < _FEWEST_CELLS * self._checked
        ):
            return {}
        return quick_bank(bank, squares, self.directions)

    def _search(self, patches: Tensor, *, in_fit: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Centred patches `(N * h * w, d)`, nearest row of each, distances `(N, h, w)`."""
        queries = patches.reshape(-1, self.patches.width) - self.mean_
        if self.near is None:
            search = nearest_rows_in_fit if in_fit else nearest_rows
            index = search(queries, self.bank_, self.squares_)[:, 0]
        else:
            index = self.near(queries, self.bank_, self.squares_)
        distance = distances_to(queries, self.bank_[index], self.floor_)
        grid = distance.reshape(-1, *self.patches.grid_hw)
        return queries, index, grid if self.layout.roi is None else grid * self.inside

    def _weight(self, queries: Tensor, index: Tensor, grid: Tensor) -> Tensor:
        """Equation 7 for the oddest patch of each image `(N,)`: low in a dense neighbourhood."""
        cells = self.patches.grid_hw[0] * self.patches.grid_hw[1]
        # A photograph that lies in the bank has nothing but ties: the first one, in every engine.
        steps = torch.round(grid.flatten(1) * (_STEPS_PER_FLOOR / self.floor_))
        place = steps.argmax(dim=1, keepdim=True)
        nearest = index.reshape(-1, cells).gather(1, place)[:, 0]
        width = self.patches.width
        wanted = place[:, :, None].expand(-1, 1, width)
        oddest = queries.reshape(-1, cells, width).gather(1, wanted)
        distances = distances_to(oddest, self.bank_[self.around_[nearest]], self.floor_)
        weight: Tensor = 1 - torch.softmax(distances, dim=1)[:, 0]
        return weight

    @property
    def fitted_window(self) -> int | None:
        """Cells that the search looks around, None for the whole bank."""
        return None if self.near is None else int(self.window_)

    def take_bank(
        self, bank: Bank, window: int | None, mean: Tensor | None = None, *, exact: bool = False
    ) -> None:
        """Put a bank in place.

        Args:
            bank: rows and origin.
            window: cells to look around, None for the whole bank.
            mean: what distances are computed around; None takes the bank's.
            exact: without the quick search, whatever the settings say.
        """
        rows, origin = bank
        self.near = None
        if window is not None:
            order = by_tile(origin[:, 1], self.patches.grid_hw)
            rows, origin = rows[torch.from_numpy(order)], origin[order]
            self.near = WindowSearch(origin[:, 1], self.patches.grid_hw, window).to(self.device)
        # Around a mean in float64, and always on the CPU: the same bank wherever it is fitted.
        found = centred_bank(rows.cpu(), None if mean is None else mean.cpu())
        for name in _QUICK:
            self._buffers.pop(name, None)
        if not exact:
            found |= self._quick_part(found["bank_"], found["squares_"], window)
        found["origin_"] = torch.from_numpy(origin)
        found["window_"] = torch.tensor(_WHOLE if window is None else window)
        for name, value in found.items():
            self.register_buffer(name, value.to(self.device))
        if self.reweight:
            self.register_buffer("around_", _around(self.bank_, self.squares_))


def _around(bank: Tensor, squares: Tensor) -> Tensor:
    """Nearest bank rows of each bank row, itself first, int64 `(M, b)`."""
    count = min(_REWEIGHT_NEIGHBOURS, len(bank))
    found = nearest_rows_in_fit(bank, bank, squares, count)
    itself = torch.arange(len(bank), device=bank.device)[:, None]
    # Copies of a row, and rounding, may put another row first.
    rest = torch.where(found == itself, found[:, :1], found)[:, 1:]
    return torch.cat([itself, rest], dim=1)
