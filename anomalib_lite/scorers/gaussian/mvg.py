"""MVG: one Gaussian per pooled layer (Rippel, Mertens, Merhof 2020, "Gaussian-AD")."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.backbones.features import FeatureLayout, Features
from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.scorers.base import FeatureStream, FitContext, HeldOutScores, Scorer, Scores
from anomalib_lite.scorers.batches import NotedWeights
from anomalib_lite.scorers.pooling import LayerPool
from anomalib_lite.scorers.registry import register_scorer
from anomalib_lite.statistics.covariance import (
    Components,
    effective_count,
    select_components,
    whitening,
)
from anomalib_lite.system.devices import put

_FEWEST_ROWS = 3  # of 2 images Ledoit-Wolf estimates no shrinkage: their covariance is singular


@register_scorer
class MVG(Scorer):
    """Sum over layers of the Mahalanobis distance of the globally pooled layer.

    Each layer is averaged over its grid (inside the region of interest), gets its own Ledoit-Wolf
    Gaussian, and contributes the *square-rooted* distance. It says that a frame is odd, not
    where: the map is 1x1.

    Args:
        components: `"all"`; `"high"` keeps the principal directions (the paper's PCA); `"low"`
            keeps the low-variance tail (NPCA), where the paper finds the defects.
        variance: share of explained variance that parts high from low.
        num_components: keep exactly so many directions per layer instead.

    Attributes:
        rows_: pooled vectors of the good images, float32 `(n, sum of C)`.
        weights_: how far each counts, float64 `(n,)`; only after a fit with weights.
    """

    name = "mvg"
    localises = False
    rows_: Tensor

    def __init__(
        self,
        components: Components = "all",
        variance: float = 0.99,
        num_components: int | None = None,
    ) -> None:
        super().__init__()
        if components not in get_args(Components):
            raise SettingsError(f"components is {components!r}; choose all, high or low")
        if not 0 < variance < 1:
            raise SettingsError(f"variance is {variance}; choose a share between 0 and 1")
        if num_components is not None and not (type(num_components) is int and num_components >= 1):
            raise SettingsError(f"num_components is {num_components}; choose 1 or more")
        self.components: Components = components
        self.variance = variance
        self.num_components = num_components

    def build(self, layout: FeatureLayout) -> None:
        super().build(layout)
        self.pool = LayerPool(layout, layout.layers)
        self._channels = [layer.channels for layer in layout.layers]

    def fit(self, stream: FeatureStream, context: FitContext) -> None:
        rows, _, weights = self._read(stream, context)
        self._learn(rows, weights)

    def partial_fit(self, stream: FeatureStream, context: FitContext) -> None:
        """Add good images; the same as fitting on all of them."""
        rows, _, added = self._read(stream, context)
        if added is None:
            added = torch.ones(len(rows), dtype=torch.float64)
        self._learn(torch.cat([self.rows_.cpu(), rows]), torch.cat([self._weights, added]))

    def forget(self, stream: FeatureStream, context: FitContext) -> None:
        """Take images out; each must be one that was fitted (nearest pooled vector)."""
        known = self.rows_.cpu()
        keep = torch.ones(len(known), dtype=torch.bool)
        for row in self._read(stream, context)[0]:
            distance = (known - row).norm(dim=1).masked_fill(~keep, float("inf"))
            nearest = int(distance.argmin())
            if not float(distance[nearest]) <= 1e-4 * float(row.norm()):
                raise FitError("an image to forget is not among those that were fitted")
            keep[nearest] = False
        self._learn(known[keep], self._weights[keep])

    def cross_fit(
        self, stream: FeatureStream, folds: NDArray[np.int64], context: FitContext
    ) -> HeldOutScores:
        """Fit on all images; out-of-fold scores from the pooled vectors alone (one pass)."""
        rows, indices, weights = self._read(stream, context)
        fold_of = torch.from_numpy(folds[indices])
        distances = torch.zeros(len(rows), len(self._channels))
        for fold in fold_of.unique().tolist():
            inside = fold_of == fold
            self._learn(rows[~inside], None if weights is None else weights[~inside])
            pooled = list(rows[inside].to(self.device).split(self._channels, dim=1))
            distances[inside] = self._distances(pooled).cpu()
        self._learn(rows, weights)
        image = distances.sum(dim=1).numpy()
        parts = {
            layer.name: distances[:, index].numpy()
            for index, layer in enumerate(self.layout.layers)
        }
        return HeldOutScores(indices, image, image, parts)

    def effective_images(self, sample_weight: NDArray[np.float64]) -> float:
        """Kish's effective number, which also sets the shrinkage."""
        return effective_count(torch.from_numpy(sample_weight))

    def parts(self, features: Features) -> dict[str, Tensor]:
        """Mahalanobis distance per layer, `(N,)` each."""
        distances = self._distances(self.pool(features))
        return {layer.name: distances[:, i] for i, layer in enumerate(self.layout.layers)}

    def reference_quantile(self, max_false_reject: float) -> dict[str, dict[str, float]]:
        """Chi quantile per layer: `sqrt(chi2^-1(1 - rate; d))`, d = kept components."""
        from scipy.stats import chi2

        quantiles = {}
        for index, layer in enumerate(self.layout.layers):
            degrees = int(getattr(self, f"whitening{index}_").shape[0])
            threshold = math.sqrt(float(chi2.ppf(1 - max_false_reject, degrees)))
            quantiles[layer.name] = {"degrees_of_freedom": degrees, "threshold": threshold}
        return quantiles

    def forward(self, features: Features) -> Scores:
        score = self._distances(self.pool(features)).sum(dim=1)
        return Scores(score, score[:, None, None])

    def _distances(self, pooled: list[Tensor]) -> Tensor:
        columns = []
        for index, vector in enumerate(pooled):
            centred = vector - getattr(self, f"mean{index}_")
            whitened = centred @ getattr(self, f"whitening{index}_").T
            columns.append(whitened.square().sum(dim=1).sqrt())
        return torch.stack(columns, dim=1)

    def _read(
        self, stream: FeatureStream, context: FitContext
    ) -> tuple[Tensor, NDArray[np.int64], Tensor | None]:
        """Pooled vectors, which images they are, and how far each counts."""
        rows, indices, weights = [], [], NotedWeights()
        for batch in stream:
            weights.note(batch)
            rows.append(torch.cat(self.pool(batch.features), dim=1).cpu())
            indices.append(batch.indices)
            context.progress("reading good images", int(batch.indices[-1]) + 1, len(stream))
        if not rows:
            raise FitError("no readable image to learn from")
        found = np.concatenate(indices)
        return torch.cat(rows), found, weights.of(found)

    @property
    def _weights(self) -> Tensor:
        known = self._buffers.get("weights_")
        return torch.ones(len(self.rows_), dtype=torch.float64) if known is None else known.cpu()

    def _learn(self, rows: Tensor, weights: Tensor | None) -> None:
        if len(rows) < _FEWEST_ROWS:
            raise FitError(
                f"mvg learns from at least {_FEWEST_ROWS} good images, got {len(rows)}; "
                f"out-of-fold calibration takes one more: give at least {_FEWEST_ROWS + 1}"
            )
        if weights is not None and bool((weights == 1).all()):
            weights = None
        self._buffers.pop("weights_", None)
        if weights is not None:
            self.register_buffer("weights_", put(weights, self.device))
        self.register_buffer("rows_", rows.to(self.device))
        for index, part in enumerate(rows.double().split(self._channels, dim=1)):
            basis = select_components(
                part,
                self.components,
                variance=self.variance,
                count=self.num_components,
                weights=weights,
            )
            mean, matrix, _ = whitening(part, basis, weights)
            self.register_buffer(f"mean{index}_", mean.float().to(self.device))
            self.register_buffer(f"whitening{index}_", matrix.float().contiguous().to(self.device))
