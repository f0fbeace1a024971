"""A model of several products, told which one it looks at."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.predict import Predicts
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.scoring import Model


class ProductModel(Model, Protocol):
    """A detector or edge model that may know several products."""

    def product_scores(self, prepared_nhwc: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """`uint8 (N, h, w, 3)` -> score as each product `(N, P)`."""


class StatedProduct(Predicts):
    """The model, limited to one product: its score, its threshold, its p-values.

    Args:
        model: knows several products.
        name: which one.

    Raises:
        SettingsError: unknown product.
    """

    localises = False

    def __init__(self, model: ProductModel, name: str) -> None:
        self.calibration: Calibration = model.calibration.for_product(name)
        self._model = model
        self._place = list(model.calibration.products).index(name)

    @property
    def spec(self) -> InputSpec:
        """The input declaration."""
        return self._model.spec

    @property
    def protocol(self) -> str:
        """How it judges, in words, where that is not the published method; else empty."""
        return self._model.protocol

    def run(self, prepared_nhwc: NDArray[np.uint8]) -> tuple[Any, Any]:
        """Score `(N,)` as this product, and a map `(N, 1, 1)`."""
        score = self._model.product_scores(prepared_nhwc)[:, self._place]
        return score, score[:, None, None]
