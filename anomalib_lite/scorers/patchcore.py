"""PatchCore: distance to the nearest patch of a coreset of good patches (Roth et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.backbones.features import FeatureLayout, Features
from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.scorers.base import (
    FeatureStream,
    FitContext,
    HeldOutScores,
    Scorer,
    Scores,
    register_scorer,
)
from anomalib_lite.scorers.coreset import PROJECTION
from anomalib_lite.scorers.coreset_buffer import CoresetBuffer
from anomalib_lite.scorers.neighbours import centred_bank, distances_to, nearest_rows
from anomalib_lite.scorers.patches import Embedding, PatchEmbedding, choose_layers
from anomalib_lite.scorers.smoothing import EnlargeAndBlur
from anomalib_lite.scorers.spool import Spool

_LARGEST_SIGMA = 1000
_REWEIGHT_NEIGHBOURS = 9  # b of equation 7
_BANK_SHARE = 4  # the buffer holds at least so many times the bank
_KEPT = 2  # rows per wanted row that a reduction leaves
_BANKS = 7  # the bank, those of five folds, and one in the making
_SCORED_IMAGES = 8
_SEARCH_BYTES = 128 << 20
_SEARCHED = ("bank_", "mean_", "squares_", "floor_", "around_")


@register_scorer
class PatchCore(Scorer):
    """Each patch is as odd as it is far from the nearest good patch that was kept.

    Args:
        embedding: `"authors"` (3x3 kernels that equal the authors' pooling) or `"plain"` (3x3 means
            of all channels, longer vectors).
        patch_layers: layer names; None takes those of stride 8 and 16.
        dimension: length of the authors' vector; None takes layers x channels of the finest.
        coreset_ratio: share of the good patches to keep, when no budget is given.
        rows: budget: patches to keep.
        megabytes: budget: size of the bank, MB.
        reweight: raise scores whose neighbour is itself isolated (equation 7, b = 9); the authors'
            code does not.
        sigma: blur of the enlarged map, input pixels (4 in the paper).
        buffer_megabytes: memory for patches while good images stream through.

    Attributes:
        bank_: kept patch vectors around their mean, float32 `(M, d)`.
        mean_: that mean `(d,)`.
        squares_: squared norms of the bank's rows `(M,)`.
        floor_: distances are `sqrt(d^2 + floor^2)`.
        origin_: image index and grid cell of each row, int64 `(M, 2)`.
        images_: number of good images learnt from; later images are numbered from here.
        around_: nearest bank rows of each bank row, int64 `(M, 9)`; only with `reweight`.
    """

    name = "patchcore"
    bank_: Tensor
    mean_: Tensor
    squares_: Tensor
    floor_: Tensor
    origin_: Tensor
    images_: Tensor
    around_: Tensor
    inside: Tensor

    def __init__(
        self,
        embedding: Embedding = "authors",
        patch_layers: Sequence[str] | None = None,
        dimension: int | None = None,
        coreset_ratio: float = 0.1,
        rows: int | None = None,
        megabytes: float | None = None,
        reweight: bool = False,
        sigma: float = 4.0,
        buffer_megabytes: float = 400.0,
    ) -> None:
        super().__init__()
        if embedding not in get_args(Embedding):
            raise SettingsError(f"embedding is {embedding!r}; choose authors or plain")
        if not 0 < coreset_ratio <= 1:
            raise SettingsError(f"coreset_ratio is {coreset_ratio}; choose a share up to 1")
        for name, count in (("rows", rows), ("dimension", dimension)):
            if count is not None and not (type(count) is int and count >= 1):
                raise SettingsError(f"{name} is {count}; choose 1 or more")
        if megabytes is not None and not 0 < megabytes < math.inf:
            raise SettingsError(f"megabytes is {megabytes}; choose a size above 0")
        if not 0 < buffer_megabytes < math.inf:
            raise SettingsError(f"buffer_megabytes is {buffer_megabytes}; choose a size above 0")
        if not 0 <= sigma <= _LARGEST_SIGMA:
            raise SettingsError(f"sigma is {sigma}; choose 0 to {_LARGEST_SIGMA} pixels")
        self.embedding: Embedding = embedding
        self.patch_layers = None if patch_layers is None else list(patch_layers)
        self.dimension = dimension
        self.coreset_ratio = coreset_ratio
        self.rows = rows
        self.megabytes = megabytes
        self.reweight = reweight
        self.sigma = sigma
        self.buffer_megabytes = buffer_megabytes

    def build(self, layout: FeatureLayout) -> None:
        super().build(layout)
        self.patches = PatchEmbedding(
            choose_layers(layout, self.patch_layers), self.embedding, self.dimension
        )
        grid = self.patches.grid_hw
        share = layout.cell_share(grid)
        self.register_buffer("inside", (share > 0).float(), persistent=False)
        self._cells = np.flatnonzero(share.numpy().ravel() > 0)
        self.enlarge = EnlargeAndBlur(grid, layout.input_hw, self.sigma, share, layout.roi)

    @property
    def _row_bytes(self) -> int:
        """A row, its projection while rows are selected, origin, group, bounds and counts."""
        width = self.patches.width
        return 4 * width + 4 * min(width, PROJECTION) + 64

    @property
    def _budget(self) -> int | None:
        """Rows that the user allows, None for a share."""
        bank_row = 4 * self.patches.width + 24
        limits = [] if self.rows is None else [self.rows]
        if self.megabytes is not None:
            limits.append(max(1, int(self.megabytes * 1e6) // bank_row))
        return min(limits) if limits else None

    @property
    def _capacity(self) -> int:
        """Rows that the buffer holds: what was allowed, and never less than four banks."""
        allowed = int(self.buffer_megabytes * 1e6) // self._row_bytes
        return max(allowed, _BANK_SHARE * (self._budget or 1), 64)

    def _target(self, offered: int) -> int:
        """Rows to keep of so many offered; a share is limited to a quarter of the buffer."""
        if self._budget is not None:
            return self._budget
        return max(1, min(math.ceil(self.coreset_ratio * offered), self._capacity // _BANK_SHARE))

    def memory_bytes(self) -> int:
        """The full buffer and the banks of all folds; a short stream fills only part of it."""
        bank = self._budget or self._capacity // _BANK_SHARE
        banks = _BANKS * bank * 4 * self.patches.width
        return self._capacity * self._row_bytes + banks + _SEARCH_BYTES

    def fit(self, stream: FeatureStream, context: FitContext) -> None:
        buffer = self._buffer(len(stream), context)
        self._fill(buffer, stream, context)
        self._keep(buffer, context)
        self._count(stream, 0)

    def partial_fit(self, stream: FeatureStream, context: FitContext) -> None:
        """Add good images in bounded memory: bank and new patches compete for the places.

        Not `fit` on all images: patches that an earlier selection dropped are gone.
        """
        earlier = int(self.images_)
        buffer = self._buffer(earlier + len(stream), context)
        origin = self.origin_.numpy()
        buffer.add(self.bank_ + self.mean_, origin, np.zeros(len(origin), np.int64))
        self._fill(buffer, stream, context, offset=earlier)
        buffer.offered += (earlier * len(self._cells)) - len(origin)
        self._keep(buffer, context, self.mean_)
        self._count(stream, earlier)

    def cross_fit(
        self, stream: FeatureStream, folds: NDArray[np.int64], context: FitContext
    ) -> HeldOutScores:
        """Fit on all images; score each fold against a coreset of all other folds.

        The bank of a fold is the union of the others' coresets, each selected once. A refit would
        select from their patches together and cover them a little better: the scores are those of
        refits to a few per cent, one or two higher on average.
        """
        buffer = self._buffer(len(stream), context)
        names, places = np.unique(folds, return_inverse=True)
        folds = places - int((names < 0).sum())
        count = int(folds.max()) + 1
        height, width = self.patches.grid_hw
        with Spool(count, len(stream), height * width * self.patches.width) as spool:
            self._fill(buffer, stream, context, folds=folds, spool=spool)
            banks = self._fold_banks(buffer, count, context)
            self._keep(buffer, context)
            del buffer
            self._count(stream, 0)
            return self._score_folds(stream, folds, banks, spool, context)

    def forward(self, features: Features) -> Scores:
        return self._scores(self.patches(features.maps))

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
        row, column = cell[0] * rows // height, cell[1] * columns // width
        _, index, grid = self._search(self.patches(features.maps)[:1])
        found = int(index.view(rows, columns)[row, column])
        image, place = self.origin_[found].tolist()
        top, left = place // columns, place % columns
        return {
            "image": image,
            "cell": (top, left),
            "box": (
                top * height // rows,
                left * width // columns,
                (top + 1) * height // rows,
                (left + 1) * width // columns,
            ),
            "distance": float(grid[0, row, column]),
            "query": (row, column),
        }

    def _scores(self, patches: Tensor) -> Scores:
        queries, index, grid = self._search(patches)
        image = grid.amax(dim=(1, 2))
        if self.reweight and self.bank_.shape[0] > 1:
            image = image * self._weight(queries, index, grid)
        return Scores(image, self.enlarge(grid))

    def _search(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Centred patches `(N * h * w, d)`, nearest row of each, distances `(N, h, w)`."""
        queries = patches.reshape(-1, self.patches.width) - self.mean_
        index = nearest_rows(queries, self.bank_, self.squares_)[:, 0]
        distance = distances_to(queries, self.bank_[index], self.floor_)
        grid = distance.reshape(-1, *self.patches.grid_hw)
        return queries, index, grid if self.layout.roi is None else grid * self.inside

    def _weight(self, queries: Tensor, index: Tensor, grid: Tensor) -> Tensor:
        """Equation 7 for the oddest patch of each image `(N,)`: low in a dense neighbourhood."""
        cells = self.patches.grid_hw[0] * self.patches.grid_hw[1]
        place = grid.flatten(1).argmax(dim=1, keepdim=True)
        nearest = index.reshape(-1, cells).gather(1, place)[:, 0]
        width = self.patches.width
        wanted = place[:, :, None].expand(-1, 1, width)
        oddest = queries.reshape(-1, cells, width).gather(1, wanted)
        distances = distances_to(oddest, self.bank_[self.around_[nearest]], self.floor_)
        weight: Tensor = 1 - torch.softmax(distances, dim=1)[:, 0]
        return weight

    def _buffer(self, images: int, context: FitContext) -> CoresetBuffer:
        capacity = self._capacity
        expected = images * len(self._cells)
        keep = min(capacity // 2, _KEPT * self._target(expected))
        return CoresetBuffer(self.patches.width, capacity, keep, context.seed)

    def _fill(
        self,
        buffer: CoresetBuffer,
        stream: FeatureStream,
        context: FitContext,
        *,
        folds: NDArray[np.int64] | None = None,
        spool: Spool | None = None,
        offset: int = 0,
    ) -> None:
        inside = torch.from_numpy(self._cells)
        for indices, patches in self._patches(stream):
            for image, rows in zip(indices.tolist(), patches, strict=True):
                origin = np.stack([np.full_like(self._cells, offset + image), self._cells], axis=1)
                fold = 0 if folds is None else int(folds[image])
                buffer.add(rows[inside], origin, np.full(len(self._cells), fold))
                if spool is not None and fold >= 0:
                    spool.write(fold, np.array([image]), [rows[:, None]])
            context.progress("reading good images", int(indices[-1]) + 1, len(stream))
        if len(buffer) == 0:
            raise FitError("no readable image to learn from")

    def _patches(self, stream: FeatureStream) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        for batch in stream:
            yield batch.indices, self.patches(batch.features.maps)

    def _keep(self, buffer: CoresetBuffer, context: FitContext, mean: Tensor | None = None) -> None:
        """Select the bank from what the buffer holds."""

        def tell(done: int, total: int) -> None:
            context.progress("selecting the coreset (patches)", done, total)

        rows, origin = buffer.select(self._target(buffer.offered), tell=tell)
        self._take_bank(rows, mean)
        self.register_buffer("origin_", torch.from_numpy(origin))

    def _take_bank(self, rows: Tensor, mean: Tensor | None = None) -> None:
        for name, value in centred_bank(rows, mean).items():
            self.register_buffer(name, value)
        if self.reweight:
            self.register_buffer("around_", _around(self.bank_, self.squares_))

    def _count(self, stream: FeatureStream, earlier: int) -> None:
        self.register_buffer("images_", torch.tensor(earlier + len(stream)))

    def _fold_banks(self, buffer: CoresetBuffer, folds: int, context: FitContext) -> list[Tensor]:
        """For each fold the union of all other folds' coresets, as many rows as a refit keeps."""
        held = [buffer.size(fold) for fold in range(folds)]
        # A share keeps its share of each fold; a budget is the same for four folds as for five.
        full = 1.0 if self._budget is None else folds / (folds - 1)
        wanted = full * self._target(buffer.offered) / sum(held)
        parts = []
        for fold in range(folds):
            parts.append(buffer.select(math.ceil(wanted * held[fold]), group=fold)[0])
            context.progress("selecting held-out banks", fold + 1, folds)
        return [_interleave(parts[:fold] + parts[fold + 1 :]) for fold in range(folds)]

    def _score_folds(
        self,
        stream: FeatureStream,
        folds: NDArray[np.int64],
        banks: list[Tensor],
        spool: Spool,
        context: FitContext,
    ) -> HeldOutScores:
        """Score each fold with its bank in place, then put the bank of all images back."""
        final = {name: value for name, value in self.named_buffers() if name in _SEARCHED}
        indices, image, peaks = [], [], []
        for fold, rows in enumerate(banks):
            self._take_bank(rows)
            inside = np.flatnonzero(folds == fold)
            for chunk, patches in self._fold_patches(stream, inside, spool, fold):
                scores = self._scores(patches)
                indices.append(chunk)
                image.append(scores.image.numpy())
                peaks.append(scores.map.amax(dim=(1, 2)).numpy())
            context.progress("scoring held-out images", fold + 1, len(banks))
        for name, value in final.items():
            self.register_buffer(name, value)
        return HeldOutScores(np.concatenate(indices), np.concatenate(image), np.concatenate(peaks))

    def _fold_patches(
        self, stream: FeatureStream, inside: NDArray[np.int64], spool: Spool, fold: int
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        if not spool.complete:
            yield from self._patches(stream.subset(inside))
            return
        height, width = self.patches.grid_hw
        for indices, (nodes,) in spool.read(fold, [(height * width, self.patches.width)]):
            for start in range(0, len(indices), _SCORED_IMAGES):
                part = slice(start, start + _SCORED_IMAGES)
                yield indices[part], nodes[:, part].transpose(0, 1)


def _interleave(parts: list[Tensor]) -> Tensor:
    """Rows of several coresets by rank: the first picks of all lie far apart and come first."""
    rank = torch.cat([torch.arange(len(part)) for part in parts])
    return torch.cat(parts)[rank.argsort(stable=True)]


def _around(bank: Tensor, squares: Tensor) -> Tensor:
    """Nearest bank rows of each bank row, itself first, int64 `(M, b)`."""
    count = min(_REWEIGHT_NEIGHBOURS, len(bank))
    found = nearest_rows(bank, bank, squares, count)
    itself = torch.arange(len(bank))[:, None]
    # Copies of a row, and rounding, may put another row first.
    rest = torch.where(found == itself, found[:, :1], found)[:, 1:]
    return torch.cat([itself, rest], dim=1)
