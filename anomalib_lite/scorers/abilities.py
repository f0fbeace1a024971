"""Abilities that only some methods have, as protocols; a scorer without one does not define it.

Ask `scorer.can(PartialFit)`, or `as_able(scorer, PartialFit)` for one that is typed so. There is no
`isinstance` check: a scorer that is made of others has an ability only if they have it, and what is
asked must be the scorer at hand.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from anomalib_lite.backbones.base import Backbone
from anomalib_lite.backbones.features import Features
from anomalib_lite.scorers.base import FeatureStream, FitContext, HeldOutScores, Scorer

Ability = TypeVar("Ability")


def as_able(scorer: Scorer, ability: type[Ability]) -> Ability | None:
    """The scorer as one that has an ability; None when it has not."""
    return cast(Ability, scorer) if scorer.can(ability) else None


class PartialFit(Protocol):
    """Learns more images without the earlier ones."""

    def partial_fit(self, stream: FeatureStream, context: FitContext) -> None:
        """`fit(A)` then `partial_fit(B)` equals `fit(A + B)`, to rounding."""


class Forget(Protocol):
    """Takes images out again."""

    def forget(self, stream: FeatureStream, context: FitContext) -> None:
        """Return to the state without these images, to rounding."""


class CrossFit(Protocol):
    """Fits on everything and scores each image by a model that never saw its fold."""

    def cross_fit(
        self, stream: FeatureStream, folds: NDArray[np.int64], context: FitContext
    ) -> HeldOutScores:
        """`folds[i]` is the fold of image i, -1 for an unusable one; equals refitting per fold."""


class TakesSampleWeight(Protocol):
    """Learns each image as far as the `sample_weight` of its batch says.

    A fit with weights 0 and 1 equals a fit on the images of weight 1.
    """

    def effective_images(self, sample_weight: NDArray[np.float64]) -> float:
        """How many images of full weight carry as much information as these."""


class ScorePool(Protocol):
    """Scores a pool of images by itself (transductive methods)."""

    def score_pool(self, stream: FeatureStream, context: FitContext) -> HeldOutScores:
        """Scores for every image of the pool."""

    def pool_bytes(self, images: int) -> tuple[int, int]:
        """Estimated peak memory and disk space of `score_pool` on so many images, bytes."""

    def pool_seconds(self, images: int) -> float:
        """Estimated time of the comparisons of `score_pool` on this machine as it is now."""


class Explain(Protocol):
    """Shows the nearest normal evidence."""

    def explain(self, features: Features, cell: tuple[int, int]) -> dict[str, Any]:
        """Evidence for one map cell `(row, column)` of one image."""


class MergesBackbone(Protocol):
    """Can share work with its backbone: one network that is cheaper than both."""

    def merged(self, backbone: Backbone) -> nn.Module:
        """A module from pixels `(N, 3, H, W)` to (score `(N,)`, map `(N, h, w)`), to rounding."""


class ReferenceQuantile(Protocol):
    """Has a threshold from its own theory, reported beside the conformal one."""

    def parts(self, features: Features) -> dict[str, Tensor]:
        """The statistics that the theory speaks of, each `(N,)`."""

    def reference_quantile(self, max_false_reject: float) -> dict[str, dict[str, float]]:
        """Per part: degrees of freedom and threshold at a false-reject rate."""
