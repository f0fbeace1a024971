"""The scorer contract: learn normality from a stream of features, then score features.

What every method of the field needs from it is laid out in docs/architecture.md; what only some
methods can do is in `abilities`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anomalib_lite.backbones.base import Backbone
from anomalib_lite.backbones.features import FeatureLayout, Features
from anomalib_lite.scorers.batches import FrameBatch


@dataclass(frozen=True, eq=False)
class Scores:
    """Raw scores, higher = more anomalous.

    Attributes:
        image: float32 `(N,)`.
        map: float32 `(N, h, w)`; 1x1 when the scorer does not localise.
        extra: further float32 outputs by name, each `(N, ...)`; exported, compared and returned by
            name, whatever they mean.
    """

    image: Tensor
    map: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)


class Groups(NamedTuple):
    """Known groups of images (products, stations), each to be judged by a threshold of its own.

    Attributes:
        output: name of the extra output `(N, P)` whose column p is the score as group p.
        names: of the P groups; a scorer takes them as its setting `products`.
    """

    output: str
    names: tuple[str, ...]


class FeatureStream(Protocol):
    """A data set, batch by batch, as often as needed, never all at once.

    Attributes:
        layout: what the features look like.
        backbone: where they come from.
    """

    layout: FeatureLayout
    backbone: Backbone

    def __len__(self) -> int:
        """Number of images that the stream was opened on."""

    def __iter__(self) -> Iterator[FrameBatch]:
        """One pass in reading order; unreadable images are left out."""

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> FeatureStream:
        """The same stream limited to some images; their indices stay the same."""

    def batches(self, batch_size: int, order: Iterable[int] | None = None) -> Iterator[FrameBatch]:
        """Batches in any order of image indices, repeats allowed, for training by steps.

        Args:
            batch_size: images per batch; the last batch may be smaller.
            order: image indices, possibly without end; None is reading order. Images that cannot be
                read are left out.
        """

    def features(self, prepared: Tensor | Mapping[str, Tensor]) -> Features:
        """Normalisation and backbone for frames that a scorer has changed.

        Args:
            prepared: `(N, H, W, 3)`, uint8 or float32 on the scale 0 to 255; or
                `FrameBatch.inputs` with such frames.

        Raises:
            FitError: what the backbone gives is not finite.
        """


Progress = Callable[[str, int, int], None]
"""Called with a stage in words, images done, images in total (0 = unknown).

What stands behind ` | ` in the stage is a remark that may change, such as the held-out loss.
"""

DEFAULT_BACKBONE = "pdn_edge"


def no_progress(stage: str, done: int, total: int) -> None:
    """The silent progress call-back."""


@dataclass(frozen=True)
class FitContext:
    """What a fit gets beside the data.

    Attributes:
        seed: the one source of randomness; same seed, same bytes.
        progress: called as the work advances.
        checkpoint: folder where a fit that takes long leaves what it needs to be continued; None
            leaves nothing.
        resume: continue from what is in that folder.
        origins: what each image shows, int64 by its index: equal for copies, views of one part and
            neighbours in a video, -1 for an image that cannot be used. A split must not part them
            (`scorers.splits`). None: all images are independent.
    """

    seed: int = 0
    progress: Progress = no_progress
    checkpoint: Path | None = None
    resume: bool = False
    origins: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """Scores of good images by models that have not seen them.

    Attributes:
        indices: which images `(n,)`.
        image: image scores `(n,)`.
        map_peak: largest map value of each image `(n,)`.
        parts: statistics that the method's own theory has quantiles for, each `(n,)`.
        extra: the scorer's extra outputs, each `(n, ...)`.
    """

    indices: NDArray[np.int64]
    image: NDArray[np.float32]
    map_peak: NDArray[np.float32]
    parts: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    extra: dict[str, NDArray[np.float32]] = field(default_factory=dict)


class Scorer(nn.Module, ABC):
    """Learns what is normal, then scores. The constructor only stores settings.

    Life: `build(layout)` allocates; `fit(stream, context)` learns, leaving buffers whose names end
    in `_`; `forward(features)` scores and is what gets exported.

    Attributes:
        name: what the registry calls it.
        protocol: how single frames are judged, in words, where that is not the published method;
            files, results and reports repeat it.
        localises: whether the map says where.
        memory_settings: settings whose smaller values take less memory to fit.
        settings_before: value that a setting had before it could be chosen, for older files.
        tolerates_half: whether the fitted state is exact in half precision, so that a detector
            may store it, and round the backbone, so.
        stopped_early: a person ended the last fit before its budget was spent.
    """

    name: str
    protocol: str = ""
    localises: bool = True
    memory_settings: ClassVar[tuple[str, ...]] = ()
    settings_before: ClassVar[Mapping[str, Any]] = {}
    layout: FeatureLayout
    tolerates_half: bool = False
    stopped_early: bool = False

    def settings(self) -> dict[str, Any]:
        """Constructor arguments, as plain JSON types; the constructor stores each by its name."""
        named = signature(type(self)).parameters.values()
        # A scorer without a constructor has torch's, which takes whatever comes.
        catch_all = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        return {item.name: getattr(self, item.name) for item in named if item.kind not in catch_all}

    def default_backbone(self) -> tuple[str, tuple[str, ...] | None]:
        """Backbone and its layers (None = the backbone's choice) when the user names none."""
        return DEFAULT_BACKBONE, None

    def can(self, ability: type) -> bool:
        """Whether it has an ability of `scorers.abilities`: all that the protocol names."""
        verbs = [verb for verb in vars(ability) if not verb.startswith("_")]
        return bool(verbs) and all(hasattr(type(self), verb) for verb in verbs)

    def groups(self) -> Groups | None:
        """The groups that it tells apart, if it does; thresholds are then kept for each, too."""
        return None

    def read_layers(self, shared: Sequence[str]) -> Sequence[str]:
        """Layers that the backbone has to read, of those it would read for everybody."""
        return shared

    def build(self, layout: FeatureLayout) -> None:
        """Allocate whatever depends on the layout; called before `fit` and before loading."""
        self.layout = layout
        # A scorer without a buffer of its own would not know where it was moved to.
        self.register_buffer("anchor", torch.empty(0), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where it scores: what a fit learns goes there (`system.devices.put`)."""
        return self.get_buffer("anchor").device

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
            if last.endswith("_"):
                # A copy: a mapped file may lie at odd addresses, where products round otherwise.
                owner = self.get_submodule(".".join(parents))
                owner.register_buffer(last, tensor.clone())
        self.load_state_dict(tensors, strict=True)
