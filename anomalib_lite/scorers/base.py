"""The scorer contract: learn normality from a stream of features, then score features.

What every method of the field needs from it is laid out in docs/architecture.md. Abilities that
only some methods have are protocols; a scorer that lacks one does not define it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from anomalib_lite.backbones.features import FeatureLayout, Features
from anomalib_lite.edge.errors import SettingsError


@dataclass(frozen=True, eq=False)
class Scores:
    """Raw scores, higher = more anomalous.

    Attributes:
        image: float32 `(N,)`.
        map: float32 `(N, h, w)`; 1x1 when the scorer does not localise.
    """

    image: Tensor
    map: Tensor


class FeatureBatch(NamedTuple):
    """Features of some images, and which images of the stream they are `(N,)`."""

    features: Features
    indices: NDArray[np.int64]


class FeatureStream(Protocol):
    """Features of a data set, batch by batch, as often as needed, never all at once."""

    layout: FeatureLayout

    def __len__(self) -> int:
        """Number of images that the stream was opened on."""

    def __iter__(self) -> Iterator[FeatureBatch]:
        """One pass in reading order; unreadable images are left out."""

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> FeatureStream:
        """The same stream limited to some images; their indices stay the same."""


Progress = Callable[[str, int, int], None]
"""Called with a stage in words, images done, images in total (0 = unknown)."""


def no_progress(stage: str, done: int, total: int) -> None:
    """The silent progress call-back."""


@dataclass(frozen=True)
class FitContext:
    """What a fit gets beside the data.

    Attributes:
        seed: the one source of randomness; same seed, same bytes.
        progress: called as the work advances.
    """

    seed: int = 0
    progress: Progress = no_progress


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """Scores of good images by models that have not seen them.

    Attributes:
        indices: which images `(n,)`.
        image: image scores `(n,)`.
        map_peak: largest map value of each image `(n,)`.
        parts: statistics that the method's own theory has quantiles for, each `(n,)`.
    """

    indices: NDArray[np.int64]
    image: NDArray[np.float32]
    map_peak: NDArray[np.float32]
    parts: dict[str, NDArray[np.float32]] = field(default_factory=dict)


class Scorer(nn.Module, ABC):
    """Learns what is normal, then scores. The constructor only stores settings.

    Life: `build(layout)` allocates; `fit(stream, context)` learns, leaving buffers whose names end
    in `_`; `forward(features)` scores and is what gets exported.

    Attributes:
        name: what the registry calls it.
        localises: whether the map says where.
    """

    name: ClassVar[str]
    localises: ClassVar[bool] = True
    layout: FeatureLayout

    def settings(self) -> dict[str, Any]:
        """Constructor arguments, as plain JSON types; the constructor stores each by its name."""
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def build(self, layout: FeatureLayout) -> None:
        """Allocate whatever depends on the layout; called before `fit` and before loading."""
        self.layout = layout

    def memory_bytes(self) -> int:
        """Estimated peak of what a fit holds beyond one batch of features, bytes."""
        return 0

    @abstractmethod
    def fit(self, stream: FeatureStream, context: FitContext) -> None:
        """Learn from good images; forgets what was learnt before."""

    @abstractmethod
    def forward(self, features: Features) -> Scores:
        """Score a batch; pure tensor code."""

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take fitted state from a file; buffers ending in `_` get their shape from it."""
        for name, tensor in tensors.items():
            *parents, last = name.split(".")
            owner = self.get_submodule(".".join(parents))
            if last.endswith("_"):
                # A copy: a mapped file may lie at odd addresses, where products round otherwise.
                owner.register_buffer(last, tensor.clone())
        self.load_state_dict(tensors, strict=True)


@runtime_checkable
class PartialFit(Protocol):
    """Learns more images without the earlier ones."""

    def partial_fit(self, stream: FeatureStream, context: FitContext) -> None:
        """`fit(A)` then `partial_fit(B)` equals `fit(A + B)`, to rounding."""


@runtime_checkable
class Forget(Protocol):
    """Takes images out again."""

    def forget(self, stream: FeatureStream, context: FitContext) -> None:
        """Return to the state without these images, to rounding."""


@runtime_checkable
class CrossFit(Protocol):
    """Fits on everything and scores each image by a model that never saw its fold."""

    def cross_fit(
        self, stream: FeatureStream, folds: NDArray[np.int64], context: FitContext
    ) -> HeldOutScores:
        """`folds[i]` is the fold of image i, -1 for an unusable one; equals refitting per fold."""


@runtime_checkable
class ScorePool(Protocol):
    """Scores a pool of images by itself (transductive methods)."""

    def score_pool(self, stream: FeatureStream, context: FitContext) -> HeldOutScores:
        """Scores for every image of the pool."""


@runtime_checkable
class Explain(Protocol):
    """Shows the nearest normal evidence."""

    def explain(self, features: Features, cell: tuple[int, int]) -> dict[str, Any]:
        """Evidence for one map cell `(row, column)` of one image."""


@runtime_checkable
class ReferenceQuantile(Protocol):
    """Has a threshold from its own theory, reported beside the conformal one."""

    def parts(self, features: Features) -> dict[str, Tensor]:
        """The statistics that the theory speaks of, each `(N,)`."""

    def reference_quantile(self, max_false_reject: float) -> dict[str, dict[str, float]]:
        """Per part: degrees of freedom and threshold at a false-reject rate."""


_REGISTRY: dict[str, type[Scorer]] = {}


def register_scorer(scorer: type[Scorer]) -> type[Scorer]:
    """Class decorator: make a scorer known by its `name`."""
    _REGISTRY[scorer.name] = scorer
    return scorer


def create_scorer(name: str, **settings: Any) -> Scorer:
    """Build a scorer by name; raises `SettingsError` for unknown names and settings."""
    if name not in _REGISTRY:
        raise SettingsError(f"unknown detector {name!r}; choose from {', '.join(list_scorers())}")
    try:
        return _REGISTRY[name](**settings)
    except TypeError as error:
        raise SettingsError(f"{name}: {str(error).split('() ')[-1]}") from error


def list_scorers() -> list[str]:
    """Names of all scorers."""
    return sorted(_REGISTRY)
