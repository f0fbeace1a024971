"""GDA: several products in one model, a mean for each and one covariance for all.

Gaussian discriminant analysis on pooled layers, as Lee et al. (2018, "A simple unified framework
for detecting out-of-distribution samples and adversarial attacks", equations 1 and 2) use it: class
means, one tied covariance, smallest Mahalanobis distance over the classes. Their layers are weighed
by a classifier trained on bad examples; here the layers are summed, as in `mvg`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.backbones.features import FeatureLayout, Features
from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.scorers.base import (
    FeatureStream,
    FitContext,
    Groups,
    HeldOutScores,
    Scorer,
    Scores,
)
from anomalib_lite.scorers.pooling import LayerPool
from anomalib_lite.scorers.registry import register_scorer
from anomalib_lite.statistics.covariance import whitening

_FEWEST_IMAGES = 3
_FEWEST_ROWS = 1  # of a product, while others are held out
_INNER_FOLDS = 5
PRODUCT_SCORES = "product_scores"
"""Extra output: distance to each product `(N, P)`; 1 is usual for a good image of it."""


@register_scorer
class GDA(Scorer):
    """Distance to the nearest product, in units of what is usual for that product.

    Each layer is averaged over its grid. A product's distance is the sum over layers of the
    Mahalanobis distance to its mean, all products sharing one Ledoit-Wolf covariance per layer,
    divided by the median of that distance over the product's own images, each left out of the
    model in turn of five folds. The score is the smallest of them. The map is 1x1.

    Args:
        products: their names, in the order of the labels on the batches; None for a single one.

    Attributes:
        means{i}_: product means of layer i, float32 `(P, C)`.
        whitening{i}_: shared whitening of layer i, float32 `(C, C)`.
        usual_: median held-out distance of each product, float32 `(P,)`.
    """

    name = "gda"
    localises = False
    usual_: Tensor

    def __init__(self, products: Sequence[str] | None = None) -> None:
        super().__init__()
        if isinstance(products, str) or (products is not None and len(products) == 0):
            raise SettingsError("products is a list of names")
        if products is not None and len(set(products)) < len(products):
            raise SettingsError(f"products {list(products)}: each name once")
        self.products = None if products is None else [str(name) for name in products]

    def build(self, layout: FeatureLayout) -> None:
        super().build(layout)
        self.pool = LayerPool(layout, layout.layers)
        self._channels = [layer.channels for layer in layout.layers]

    def groups(self) -> Groups:
        names = ("the product",) if self.products is None else tuple(self.products)
        return Groups(PRODUCT_SCORES, names)

    def fit(self, stream: FeatureStream, context: FitContext) -> None:
        rows, _, product_of = self._read(stream, context)
        self._learn(rows, product_of)

    def cross_fit(
        self, stream: FeatureStream, folds: NDArray[np.int64], context: FitContext
    ) -> HeldOutScores:
        """Fit on all images; out-of-fold scores from the pooled vectors alone (one pass)."""
        rows, indices, product_of = self._read(stream, context)
        fold_of = torch.from_numpy(folds[indices])
        scores = torch.zeros(len(rows), len(self.groups().names))
        for fold in fold_of.unique().tolist():
            inside = fold_of == fold
            self._learn(rows[~inside], product_of[~inside])
            pooled = self._split(rows[inside].to(self.device))
            scores[inside] = self._product_scores(pooled).cpu()
        self._learn(rows, product_of)
        smallest = scores.amin(dim=1).numpy()
        extra = {PRODUCT_SCORES: scores.numpy()}
        return HeldOutScores(indices, smallest, smallest, extra=extra)

    def forward(self, features: Features) -> Scores:
        each = self._product_scores(self.pool(features))
        score = each.amin(dim=1)
        return Scores(score, score[:, None, None], {PRODUCT_SCORES: each})

    def _product_scores(self, pooled: Sequence[Tensor]) -> Tensor:
        return self._distances(pooled) / self.usual_

    def _distances(self, pooled: Sequence[Tensor]) -> Tensor:
        """Mahalanobis distance to each product, summed over layers, `(N, P)`."""
        total: Tensor | None = None
        for index, vectors in enumerate(pooled):
            matrix = getattr(self, f"whitening{index}_").T
            # Differences first: products of large numbers would lose the small distances.
            away = (vectors[:, None] - getattr(self, f"means{index}_")) @ matrix
            distance = away.square().sum(dim=2).sqrt()
            total = distance if total is None else total + distance
        assert total is not None
        return total

    def _split(self, rows: Tensor) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = rows.split(self._channels, dim=1)
        return parts

    def _read(
        self, stream: FeatureStream, context: FitContext
    ) -> tuple[Tensor, NDArray[np.int64], Tensor]:
        """Pooled vectors, which images they are, and their products."""
        rows, indices, labels = [], [], []
        for batch in stream:
            if self.products is not None and batch.labels is None:
                raise FitError(
                    "gda needs the product of each image; fit it on a source with products"
                )
            if self.products is None or batch.labels is None:
                labels.append(np.zeros(len(batch), np.int64))
            else:
                labels.append(batch.labels)
            rows.append(torch.cat(self.pool(batch.features), dim=1).cpu())
            indices.append(batch.indices)
            context.progress("reading good images", int(batch.indices[-1]) + 1, len(stream))
        if not rows:
            raise FitError("no readable image to learn from")
        found, known = np.concatenate(indices), np.concatenate(labels)
        for place, name in enumerate(self.groups().names):
            images = int((known == place).sum())
            if images < _FEWEST_IMAGES:
                raise FitError(
                    f"{images} usable good image(s) of {name}; give at least {_FEWEST_IMAGES}"
                )
        return torch.cat(rows), found, torch.from_numpy(known)

    def _learn(self, rows: Tensor, product_of: Tensor) -> None:
        """Means and covariance from all rows; what is usual, from rows left out in turn."""
        fold_of = _folds_within(product_of)
        own = torch.zeros(len(rows))
        for fold in range(_INNER_FOLDS):
            inside = fold_of == fold
            if not bool(inside.any()):
                continue
            self._take(rows[~inside], product_of[~inside])
            distances = self._distances(self._split(rows[inside].to(self.device))).cpu()
            own[inside] = distances.gather(1, product_of[inside][:, None])[:, 0]
        self._take(rows, product_of)
        medians = [own[product_of == place].median() for place in range(len(self.groups().names))]
        self.register_buffer("usual_", torch.stack(medians).clamp(min=1e-12).to(self.device))

    def _take(self, rows: Tensor, product_of: Tensor) -> None:
        for index, part in enumerate(self._split(rows.double())):
            means = []
            for place, name in enumerate(self.groups().names):
                inside = product_of == place
                if int(inside.sum()) < _FEWEST_ROWS:
                    raise FitError(f"too few good images of {name} to hold some out; give more")
                means.append(part[inside].mean(dim=0))
            stacked = torch.stack(means)
            around = part - stacked[product_of]
            basis = torch.eye(part.shape[1], dtype=torch.float64)
            matrix = whitening(around, basis)[1]
            self.register_buffer(f"means{index}_", stacked.float().to(self.device))
            self.register_buffer(f"whitening{index}_", matrix.float().contiguous().to(self.device))


def _folds_within(product_of: Tensor) -> Tensor:
    """Fold of each image `(n,)`: those of a product go round, in the order of the stream."""
    folds = torch.zeros(len(product_of), dtype=torch.int64)
    for place in product_of.unique().tolist():
        inside = product_of == place
        folds[inside] = torch.arange(int(inside.sum())) % _INNER_FOLDS
    return folds
