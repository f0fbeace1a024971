"""PatchCore: distance to the nearest patch of a coreset of good patches (Roth et al. 2022)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.backbones.features import FeatureLayout
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.base import FeatureStream, FitContext, HeldOutScores
from anomalib_lite.scorers.image_score import (
    BEFORE,
    TOP_SHARE,
    ImageScore,
    ImageScoreKind,
    image_score_settings,
)
from anomalib_lite.scorers.memory_bank.bank import Bank, PatchBank
from anomalib_lite.scorers.memory_bank.budget import BankBudget
from anomalib_lite.scorers.memory_bank.folds import bank_without, window_by_held_out
from anomalib_lite.scorers.memory_bank.good_patches import GoodPatches
from anomalib_lite.scorers.memory_bank.patch_vectors import Embedding, PatchEmbedding, choose_layers
from anomalib_lite.scorers.memory_bank.position_window import blocks_of_cells, rows_needed
from anomalib_lite.scorers.registry import register_scorer
from anomalib_lite.scorers.smoothing import EnlargeAndBlur

_LARGEST_SIGMA = 1000
_DEFAULT_ROWS = 4000
_DIRECTIONS = 48

Window = int | Literal["auto"] | None


@register_scorer
class PatchCore(PatchBank):
    """Each patch is as odd as it is far from the nearest good patch that was kept.

    Args:
        embedding: `"authors"` (3x3 kernels that equal the authors' pooling) or `"plain"` (3x3 means
            of all channels, longer vectors).
        patch_layers: layer names; None takes those of stride 8 and 16.
        dimension: length of the authors' vector; None takes layers x channels of the finest, or of
            the widest where that has more than twice as many.
        coreset_ratio: share of the good patches to keep (0.1 in the paper), when neither `rows` nor
            `megabytes` is given.
        rows: budget: patches to keep; 4,000 when none of the three is given.
        megabytes: budget: size of the bank, MB.
        window: compare a patch only with good ones at most so many cells from its own place, for a
            camera and parts that do not move; `"auto"` lets held-out good images choose; None takes
            the whole bank.
        directions: principal directions of the bank in which maps look for the nearest row; the
            largest distances, which make the image score, are taken from the whole bank. None
            takes all from the whole bank, as with `window` and `reweight`: slower.
        reweight: raise scores whose neighbour is itself isolated (equation 7, b = 9); the authors'
            code does not.
        sigma: blur of the enlarged map, input pixels (4 in the paper).
        image_score: `"top"` is the mean of the largest distances, which one odd patch of a good
            part cannot set alone; `"max"` the largest (the paper's).
        top_share: share of the patches that `"top"` counts.
        buffer_megabytes: memory for patches while good images stream through.

    Attributes:
        images_: number of good images learnt from; later images are numbered from here.
        bank_, origin_ and others: see `PatchBank`.
    """

    name = "patchcore"
    settings_before: ClassVar[dict[str, Any]] = {**BEFORE, "directions": None}
    memory_settings = ("buffer_megabytes",)
    images_: Tensor

    def __init__(
        self,
        embedding: Embedding = "authors",
        patch_layers: Sequence[str] | None = None,
        dimension: int | None = None,
        coreset_ratio: float | None = None,
        rows: int | None = None,
        megabytes: float | None = None,
        window: Window = None,
        reweight: bool = False,
        sigma: float = 4.0,
        buffer_megabytes: float = 160.0,
        image_score: ImageScoreKind = "top",
        top_share: float = TOP_SHARE,
        directions: int | None = _DIRECTIONS,
    ) -> None:
        super().__init__()
        if embedding not in get_args(Embedding):
            raise SettingsError(f"embedding is {embedding!r}; choose authors or plain")
        if dimension is not None and not (type(dimension) is int and dimension >= 1):
            raise SettingsError(f"dimension is {dimension}; choose 1 or more")
        if window not in (None, "auto") and not (type(window) is int and window >= 0):
            raise SettingsError(f"window is {window!r}; choose cells (0 or more), auto or none")
        if not 0 <= sigma <= _LARGEST_SIGMA:
            raise SettingsError(f"sigma is {sigma}; choose 0 to {_LARGEST_SIGMA} pixels")
        if directions is not None and not (type(directions) is int and directions >= 1):
            raise SettingsError(f"directions is {directions}; choose 1 or more, or none")
        if coreset_ratio is None and rows is None and megabytes is None:
            rows = _DEFAULT_ROWS
        BankBudget(coreset_ratio, rows, megabytes, buffer_megabytes)
        self.embedding: Embedding = embedding
        self.patch_layers = None if patch_layers is None else list(patch_layers)
        self.dimension = dimension
        self.coreset_ratio = coreset_ratio
        self.rows = rows
        self.megabytes = megabytes
        self.window = window
        self.reweight = reweight
        self.directions = directions
        self.sigma = sigma
        self.buffer_megabytes = buffer_megabytes
        self.image_score, self.top_share = image_score_settings(image_score, top_share)

    def build(self, layout: FeatureLayout) -> None:
        super().build(layout)
        self._embed(self.dimension)
        grid = self.patches.grid_hw
        share = layout.cell_share(grid)
        self.register_buffer("inside", (share > 0).float(), persistent=False)
        self._cells = np.flatnonzero(share.numpy().ravel() > 0)
        self.enlarge = EnlargeAndBlur.of_grid(layout, grid, self.sigma)
        self.summary = ImageScore(self.image_score, self.top_share, len(self._cells))
        self.near = None
        if isinstance(self.window, int):
            self._refuse_empty_windows(self.window)

    def _embed(self, dimension: int | None) -> None:
        self.patches = PatchEmbedding(
            choose_layers(self.layout, self.patch_layers), self.embedding, dimension
        )
        self._budget = BankBudget(
            self.coreset_ratio,
            self.rows,
            self.megabytes,
            self.buffer_megabytes,
            self.patches.width,
        )

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        width = tensors["bank_"].shape[1] if "bank_" in tensors else self.patches.width
        if self.dimension is None and width != self.patches.width:
            # Fitted when narrow networks were given shorter vectors.
            self._embed(width)
        super().load_tensors(tensors)

    def memory_bytes(self) -> int:
        return self._budget.memory_bytes()

    def effective_images(self, sample_weight: NDArray[np.float64]) -> float:
        """Patches of a doubtful image that are taken in count in full."""
        return float(sample_weight.sum())

    def fit(self, stream: FeatureStream, context: FitContext) -> None:
        with self._good_patches(stream, context, again=self.window == "auto") as patches:
            patches.read(stream, context)
            self._keep(patches, self._choose_window(patches, stream, context), context)
        self._count(stream, 0)

    def partial_fit(self, stream: FeatureStream, context: FitContext) -> None:
        """Add good images in bounded memory: bank and new patches compete for the places.

        Not `fit` on all images: patches that an earlier selection dropped are gone. The window
        stays.
        """
        earlier = int(self.images_)
        with self._good_patches(stream, context, earlier=earlier) as patches:
            patches.add_bank((self.bank_ + self.mean_).cpu(), self.origin_.cpu().numpy(), earlier)
            patches.read(stream, context)
            self._keep(patches, self.fitted_window, context, self.mean_)
        self._count(stream, earlier)

    def cross_fit(
        self, stream: FeatureStream, folds: NDArray[np.int64], context: FitContext
    ) -> HeldOutScores:
        """Fit on all images; score each fold against a coreset of all other folds.

        The images are read once; each fold's bank is what a refit selects, where the buffer holds
        all patches.
        """
        names, places = np.unique(folds, return_inverse=True)
        folds = places - int((names < 0).sum())
        with self._good_patches(stream, context, again=True) as patches:
            patches.read(stream, context, folds)
            window = self._choose_window(patches, stream, context)
            self._keep(patches, window, context)
            self._count(stream, 0)
            return self._score_folds(patches, stream, folds, context)

    def _blocks(self, window: int | None) -> NDArray[np.int64] | None:
        return None if window is None else blocks_of_cells(self.patches.grid_hw, window)

    def _refuse_empty_windows(self, window: int) -> None:
        needed = rows_needed(self._cells, blocks_of_cells(self.patches.grid_hw, window))
        if self._budget.fixed is not None and self._budget.fixed < needed:
            raise SettingsError(
                f"a bank of {self._budget.fixed} patches leaves windows of {window} cells empty; "
                f"choose {needed} rows or more, or a larger window"
            )

    def _good_patches(
        self, stream: FeatureStream, context: FitContext, earlier: int = 0, *, again: bool = False
    ) -> GoodPatches:
        if self.patches.widened:
            warnings.warn(self.patches.widened, stacklevel=2)
        images = earlier + len(stream)
        return GoodPatches(
            self.patches, self._cells, self._budget, images, context.seed, again=again
        )

    def _choose_window(
        self, patches: GoodPatches, stream: FeatureStream, context: FitContext
    ) -> int | None:
        if self.window != "auto":
            return self.window

        def score(bank: Bank, window: int | None, rows: Tensor) -> Tensor:
            # The choice rests on distances that can only grow: exact ones.
            self.take_bank(bank, window, exact=True)
            return self.scores(rows.to(self.device), in_fit=True).image

        return window_by_held_out(patches, stream, self._budget, context, score)

    def _keep(
        self,
        patches: GoodPatches,
        window: int | None,
        context: FitContext,
        mean: Tensor | None = None,
    ) -> None:
        """Select the bank from what the buffer holds."""

        def tell(done: int, total: int) -> None:
            context.progress("selecting the coreset (patches)", done, total)

        count = self._budget.target(patches.buffer.offered)
        bank = patches.buffer.select(count, blocks=self._blocks(window), tell=tell)
        self.take_bank(bank, window, mean)

    def _count(self, stream: FeatureStream, earlier: int) -> None:
        count = torch.tensor(earlier + len(stream))
        self.register_buffer("images_", count.to(self.device))

    def _score_folds(
        self,
        patches: GoodPatches,
        stream: FeatureStream,
        folds: NDArray[np.int64],
        context: FitContext,
    ) -> HeldOutScores:
        """Score each fold with its bank in place, then put the bank of all images back."""
        near, window = self.near, self.fitted_window
        blocks, count = self._blocks(window), int(folds.max()) + 1
        final = {name: value for name, value in self.named_buffers() if name.endswith("_")}
        indices, image, peaks = [], [], []
        for fold in range(count):
            self.take_bank(bank_without(patches, fold, self._budget, blocks), window)
            for chunk, rows in patches.again(stream, np.flatnonzero(folds == fold)):
                scores = self.scores(rows.to(self.device), in_fit=True)
                indices.append(chunk)
                image.append(scores.image.cpu().numpy())
                peaks.append(scores.map.amax(dim=(1, 2)).cpu().numpy())
            context.progress("scoring held-out images", fold + 1, count)
        for name, value in final.items():
            self.register_buffer(name, value)
        self.near = near
        return HeldOutScores(np.concatenate(indices), np.concatenate(image), np.concatenate(peaks))
