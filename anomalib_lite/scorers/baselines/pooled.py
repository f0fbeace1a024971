"""The baselines of the MVG paper on its own pooled layers (Rippel, Mertens, Merhof 2020).

Each looks at a layer's vector alone and adds over the layers, as `mvg` does: Euclidean distance to
the mean, standardised Euclidean distance, and a one-class SVM with an RBF kernel.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.backbones.features import FeatureLayout, Features
from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.scorers.base import FeatureStream, FitContext, HeldOutScores, Scorer, Scores
from anomalib_lite.scorers.pooling import LayerPool
from anomalib_lite.scorers.registry import register_scorer

Method = Literal["euclidean", "standardised", "svm"]

_FEWEST_ROWS = 2
_LEAST_SPREAD = 1e-6  # of the largest spread: a channel that never varies says nothing


@register_scorer
class PooledBaseline(Scorer):
    """A distance of the pooled layers without a covariance, summed over layers; no map.

    Args:
        method: `"euclidean"` distance to the mean, `"standardised"` by each channel's deviation, or
            `"svm"`: a one-class SVM (RBF kernel, gamma 1 / (channels x variance)).
        nu: for `"svm"`: bound on the share of good images outside (scikit-learn's default).

    Attributes:
        rows_: pooled vectors of the good images, float32 `(n, sum of C)`.
        mean0_, scale0_, ...: of each layer, `(C,)`; not with `"svm"`.
        support0_, weight0_, gamma0_, rho0_, ...: of each layer's SVM: `(m, C)`, `(m,)`, scalars.
    """

    name = "baseline"
    localises = False
    rows_: Tensor

    def __init__(self, method: Method = "standardised", nu: float = 0.5) -> None:
        super().__init__()
        if method not in get_args(Method):
            raise SettingsError(f"method is {method!r}; choose {', '.join(get_args(Method))}")
        if not 0 < nu <= 1:
            raise SettingsError(f"nu is {nu}; choose a share above 0, up to 1")
        self.method: Method = method
        self.nu = nu

    def build(self, layout: FeatureLayout) -> None:
        super().build(layout)
        self.pool = LayerPool(layout, layout.layers)
        self._channels = [layer.channels for layer in layout.layers]

    def fit(self, stream: FeatureStream, context: FitContext) -> None:
        self._learn(self._read(stream, context)[0])

    def partial_fit(self, stream: FeatureStream, context: FitContext) -> None:
        """Add good images; the same as fitting on all of them."""
        self._learn(torch.cat([self.rows_.cpu(), self._read(stream, context)[0]]))

    def cross_fit(
        self, stream: FeatureStream, folds: NDArray[np.int64], context: FitContext
    ) -> HeldOutScores:
        """Fit on all images; out-of-fold scores are those of refits, from the pooled vectors."""
        rows, indices = self._read(stream, context)
        fold_of = torch.from_numpy(folds[indices])
        image = torch.zeros(len(rows))
        for fold in fold_of.unique().tolist():
            inside = fold_of == fold
            self._learn(rows[~inside])
            pooled = rows[inside].to(self.device).split(self._channels, dim=1)
            image[inside] = self._score(list(pooled)).cpu()
        self._learn(rows)
        return HeldOutScores(indices, image.numpy(), image.numpy())

    def forward(self, features: Features) -> Scores:
        score = self._score(self.pool(features))
        return Scores(score, score[:, None, None])

    def _score(self, pooled: list[Tensor]) -> Tensor:
        parts = [self._layer_score(index, vector) for index, vector in enumerate(pooled)]
        return torch.stack(parts, dim=1).sum(dim=1)

    def _layer_score(self, index: int, vector: Tensor) -> Tensor:
        if self.method != "svm":
            centred = vector - self.get_buffer(f"mean{index}_")
            return (centred * self.get_buffer(f"scale{index}_")).square().sum(dim=1).sqrt()
        support = self.get_buffer(f"support{index}_")
        squares = (vector[:, None] - support).square().sum(dim=2)
        kernel = torch.exp(-self.get_buffer(f"gamma{index}_") * squares)
        return self.get_buffer(f"rho{index}_") - kernel @ self.get_buffer(f"weight{index}_")

    def _read(self, stream: FeatureStream, context: FitContext) -> tuple[Tensor, NDArray[np.int64]]:
        """Pooled vectors on the CPU, and which images they are."""
        rows, indices = [], []
        for batch in stream:
            rows.append(torch.cat(self.pool(batch.features), dim=1).cpu())
            indices.append(batch.indices)
            context.progress("reading good images", int(batch.indices[-1]) + 1, len(stream))
        if not rows:
            raise FitError("no readable image to learn from")
        return torch.cat(rows), np.concatenate(indices)

    def _learn(self, rows: Tensor) -> None:
        if len(rows) < _FEWEST_ROWS:
            raise FitError(f"baseline learns from at least {_FEWEST_ROWS} images, got {len(rows)}")
        self.register_buffer("rows_", rows.to(self.device))
        for index, part in enumerate(rows.double().split(self._channels, dim=1)):
            spread = part.std(dim=0, unbiased=False)
            floor = _LEAST_SPREAD * float(spread.max())
            if floor <= 0:
                raise FitError(
                    "the good images are identical to the network (no variation to learn from); "
                    "give different photographs"
                )
            if self.method == "svm":
                self._learn_svm(index, part)
                continue
            scale = 1 / spread.clamp(min=floor)
            if self.method == "euclidean":
                scale = torch.ones_like(scale)
            self.register_buffer(f"mean{index}_", part.mean(dim=0).float().to(self.device))
            self.register_buffer(f"scale{index}_", scale.float().to(self.device))

    def _learn_svm(self, index: int, rows: Tensor) -> None:
        from sklearn.svm import OneClassSVM  # here: an import of a second that others do not need

        gamma = 1 / (rows.shape[1] * float(rows.var(unbiased=False)))
        fitted = OneClassSVM(kernel="rbf", gamma=gamma, nu=self.nu).fit(rows.numpy())
        for name, value in (
            ("support", fitted.support_vectors_),
            ("weight", fitted.dual_coef_[0]),
            ("gamma", np.float64(gamma)),
            ("rho", -fitted.intercept_[0]),
        ):
            self.register_buffer(f"{name}{index}_", torch.as_tensor(value).float().to(self.device))
