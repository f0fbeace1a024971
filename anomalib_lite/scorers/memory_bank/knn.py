"""kNN: distance to the nearest good images or patches as they are ("features off the shelf")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.backbones.features import FeatureLayout, Features
from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.scorers.base import FeatureStream, FitContext, HeldOutScores, Scorer, Scores
from anomalib_lite.scorers.image_score import (
    BEFORE,
    TOP_SHARE,
    ImageScore,
    ImageScoreKind,
    image_score_settings,
)
from anomalib_lite.scorers.memory_bank.nearest import (
    centred_bank,
    distances_to,
    nearest_rows,
    nearest_rows_in_fit,
)
from anomalib_lite.scorers.memory_bank.patch_vectors import PatchEmbedding, choose_layers
from anomalib_lite.scorers.pooling import LayerPool
from anomalib_lite.scorers.registry import register_scorer
from anomalib_lite.scorers.smoothing import EnlargeAndBlur

Mode = Literal["pooled", "patches"]


@register_scorer
class KNN(Scorer):
    """Mean distance to the k nearest good vectors: the baseline that a method has to beat.

    Args:
        mode: `"pooled"` compares images, each layer averaged over its grid and all concatenated; it
            does not say where. `"patches"` compares patches (3x3 means, strides 8 and 16) with
            patches drawn at random.
        k: neighbours.
        patches: patches to keep, the same number of every image.
        patch_layers: layer names; None takes all (pooled) or those of stride 8 and 16 (patches).
        sigma: blur of the enlarged map, input pixels.
        image_score: of patches, `"top"`: the mean of the largest distances, or `"max"`.
        top_share: share of the patches that `"top"` counts.

    Attributes:
        bank_: vectors around their mean `(M, d)`.
        mean_: that mean `(d,)`.
        squares_: squared norms of the rows `(M,)`.
        floor_: distances are `sqrt(d^2 + floor^2)`.
        image_of_: index of the image of each row, int64 `(M,)`.
        images_: number of good images learnt from.
    """

    name = "knn"
    settings_before = BEFORE
    memory_settings = ("patches",)
    bank_: Tensor
    mean_: Tensor
    squares_: Tensor
    floor_: Tensor
    image_of_: Tensor
    images_: Tensor
    inside: Tensor

    def __init__(
        self,
        mode: Mode = "pooled",
        k: int = 1,
        patches: int = 20000,
        patch_layers: Sequence[str] | None = None,
        sigma: float = 4.0,
        image_score: ImageScoreKind = "top",
        top_share: float = TOP_SHARE,
    ) -> None:
        super().__init__()
        if mode not in get_args(Mode):
            raise SettingsError(f"mode is {mode!r}; choose pooled or patches")
        for name, count in (("k", k), ("patches", patches)):
            if not (type(count) is int and count >= 1):
                raise SettingsError(f"{name} is {count}; choose 1 or more")
        if not 0 <= sigma < math.inf:
            raise SettingsError(f"sigma is {sigma}; choose 0 or more pixels")
        self.mode: Mode = mode
        self.k = k
        self.patches = patches
        self.patch_layers = None if patch_layers is None else list(patch_layers)
        self.sigma = sigma
        self.image_score, self.top_share = image_score_settings(image_score, top_share)
        self.localises = mode == "patches"

    def build(self, layout: FeatureLayout) -> None:
        super().build(layout)
        if self.mode == "pooled":
            names = (
                [layer.name for layer in layout.layers]
                if self.patch_layers is None
                else self.patch_layers
            )
            chosen = choose_layers(layout, names)
            self.pool = LayerPool(layout, chosen)
            self._width = sum(layer.channels for layer in chosen)
            return
        self.embedding = PatchEmbedding(choose_layers(layout, self.patch_layers), "plain")
        self._width = self.embedding.width
        share = layout.cell_share(self.embedding.grid_hw)
        self.register_buffer("inside", (share > 0).float(), persistent=False)
        self._cells = np.flatnonzero(share.numpy().ravel() > 0)
        self.summary = ImageScore(self.image_score, self.top_share, len(self._cells))
        self.enlarge = EnlargeAndBlur.of_grid(layout, self.embedding.grid_hw, self.sigma)

    def memory_bytes(self) -> int:
        return 4 * self.patches * 4 * self._width if self.mode == "patches" else 0

    def fit(self, stream: FeatureStream, context: FitContext) -> None:
        rows, image_of = self._read(stream, context, 0)
        self._learn(rows, image_of, len(stream))

    def partial_fit(self, stream: FeatureStream, context: FitContext) -> None:
        """Add good images; patches of earlier ones stay, and the budget holds for the new ones."""
        earlier = int(self.images_)
        rows, image_of = self._read(stream, context, earlier)
        self._learn(
            torch.cat([self._rows, rows]),
            torch.cat([self.image_of_.cpu(), image_of]),
            earlier + len(stream),
        )

    def cross_fit(
        self, stream: FeatureStream, folds: NDArray[np.int64], context: FitContext
    ) -> HeldOutScores:
        """Fit on all images; each fold is scored by the rows of all others, exactly."""
        self.fit(stream, context)
        rows, image_of = self._rows, self.image_of_.cpu()
        fold_of = torch.from_numpy(folds)[image_of]
        indices, image, peaks = [], [], []
        names = np.unique(folds[folds >= 0]).tolist()
        for position, fold in enumerate(names):
            self._learn(rows[fold_of != fold], image_of[fold_of != fold], len(stream))
            held_out = stream.subset(np.flatnonzero(folds == fold))
            if self.mode == "pooled":
                pooled = rows[fold_of == fold]
                indices.append(image_of[fold_of == fold].numpy())
                distances = self._distances(pooled.to(self.device), in_fit=True)
                image.append(distances.cpu().numpy())
                peaks.append(image[-1])
            else:
                for batch in held_out:
                    scores = self._scores(batch.features, in_fit=True)
                    indices.append(batch.indices)
                    image.append(scores.image.cpu().numpy())
                    peaks.append(scores.map.amax(dim=(1, 2)).cpu().numpy())
            context.progress("scoring held-out images", position + 1, len(names))
        self._learn(rows, image_of, len(stream))
        return HeldOutScores(np.concatenate(indices), np.concatenate(image), np.concatenate(peaks))

    def forward(self, features: Features) -> Scores:
        return self._scores(features)

    def _scores(self, features: Features, *, in_fit: bool = False) -> Scores:
        if self.mode == "pooled":
            score = self._distances(self._pool(features), in_fit=in_fit)
            return Scores(score, score[:, None, None])
        rows = self.embedding(features.maps).reshape(-1, self._width)
        grid = self._distances(rows, in_fit=in_fit).reshape(-1, *self.embedding.grid_hw)
        if self.layout.roi is not None:
            grid = grid * self.inside
        return Scores(self.summary(grid), self.enlarge(grid))

    def _distances(self, rows: Tensor, *, in_fit: bool = False) -> Tensor:
        queries = rows - self.mean_
        search = nearest_rows_in_fit if in_fit else nearest_rows
        index = search(queries, self.bank_, self.squares_, min(self.k, self.bank_.shape[0]))
        return distances_to(queries[:, None], self.bank_[index], self.floor_).mean(dim=1)

    def _pool(self, features: Features) -> Tensor:
        """Mean of each layer over its cells inside the region of interest, `(N, d)`."""
        return torch.cat(self.pool(features), dim=1)

    @property
    def _rows(self) -> Tensor:
        """What was learnt, on the CPU, where fits work."""
        return (self.bank_ + self.mean_).cpu()

    def _read(
        self, stream: FeatureStream, context: FitContext, offset: int
    ) -> tuple[Tensor, Tensor]:
        """Vectors of the stream and the image each belongs to."""
        rows, image_of = [], []
        quota = -(-self.patches // max(1, len(stream)))
        for batch in stream:
            if self.mode == "pooled":
                taken, each = self._pool(batch.features), 1
            else:
                taken, each = self._draw(batch.features, batch.indices, quota, context.seed)
            rows.append(taken.cpu())
            image_of.append(np.repeat(batch.indices + offset, each))
            context.progress("reading good images", int(batch.indices[-1]) + 1, len(stream))
        if not rows:
            raise FitError("no readable image to learn from")
        return torch.cat(rows), torch.from_numpy(np.concatenate(image_of))

    def _draw(
        self, features: Features, indices: NDArray[np.int64], quota: int, seed: int
    ) -> tuple[Tensor, int]:
        """Patches drawn from each image by the seed and its index, and their number."""
        count = min(quota, len(self._cells))
        taken = []
        for index, patches in zip(indices, self.embedding(features.maps), strict=True):
            rng = np.random.default_rng([seed, int(index)])
            cells = self._cells[rng.permutation(len(self._cells))[:count]]
            taken.append(patches[torch.from_numpy(cells).to(patches.device)])
        return torch.cat(taken), count

    def _learn(self, rows: Tensor, image_of: Tensor, images: int) -> None:
        found = {**centred_bank(rows), "image_of_": image_of, "images_": torch.tensor(images)}
        for name, value in found.items():
            self.register_buffer(name, value.to(self.device))
