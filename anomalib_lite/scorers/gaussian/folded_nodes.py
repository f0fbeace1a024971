"""Nodes of good images: one pass that is kept on disk, then fold by fold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.backbones.features import Features
from anomalib_lite.scorers.base import FeatureStream, FitContext
from anomalib_lite.scorers.batches import NotedWeights
from anomalib_lite.scorers.gaussian.fold_cache import FoldCache

Group = tuple[NDArray[np.int64], list[Tensor]]
"""Image indices `(N,)`, and their nodes `(P, N, c)` per level."""
TakeNodes = Callable[[Features], list[Tensor]]

OWN_FOLDS = 5
_GROUP_IMAGES = 32


def groups(
    stream: FeatureStream, context: FitContext, weights: NotedWeights, take: TakeNodes
) -> Iterator[Group]:
    """Nodes of the stream in groups: an update costs the same for one image as for many."""
    indices: list[NDArray[np.int64]] = []
    parts: list[list[Tensor]] = []
    for batch in stream:
        weights.note(batch)
        indices.append(batch.indices)
        parts.append(take(batch.features))
        context.progress("reading good images", int(batch.indices[-1]) + 1, len(stream))
        if sum(map(len, indices)) >= _GROUP_IMAGES:
            yield np.concatenate(indices), _join(parts)
            indices, parts = [], []
    if indices:
        yield np.concatenate(indices), _join(parts)


class FoldedNodes:
    """Good images by fold; close it, or use it in a `with`.

    Args:
        stream: good images.
        folds: fold of each image by its index, -1 for none; None deals them out in turn.
        shapes: `(P, c)` per level.
        take: features -> nodes.
        device: where nodes go.

    Attributes:
        weights: sample weights, noted by the first pass.
        count: number of folds.
    """

    def __init__(
        self,
        stream: FeatureStream,
        folds: NDArray[np.int64] | None,
        shapes: Sequence[tuple[int, int]],
        take: TakeNodes,
        device: torch.device,
    ) -> None:
        self._stream, self._folds, self._shapes = stream, folds, shapes
        self._take, self._device = take, device
        names = np.arange(OWN_FOLDS) if folds is None else np.unique(folds[folds >= 0])
        self._names = names.tolist()
        self.count = len(self._names)
        self._seen: list[list[int]] = [[] for _ in self._names]
        self.weights = NotedWeights()
        numbers = sum(nodes * width for nodes, width in shapes)
        self._cache = FoldCache(self.count, len(stream), numbers)

    def __enter__(self) -> FoldedNodes:
        return self

    def __exit__(self, *details: Any) -> None:
        self._cache.__exit__(*details)

    def first_pass(self, context: FitContext) -> Iterator[Group]:
        """All images in groups, kept on disk by fold as far as it holds them."""
        for indices, nodes in groups(self._stream, context, self.weights, self._take):
            yield indices, nodes
            folds = indices % OWN_FOLDS if self._folds is None else self._folds[indices]
            for position, fold in enumerate(self._names):
                inside = np.flatnonzero(folds == fold)
                if inside.size:
                    rows = torch.from_numpy(inside).to(self._device)
                    self._seen[position] += indices[inside].tolist()
                    self._cache.write(position, indices[inside], [part[:, rows] for part in nodes])

    def fold(self, position: int) -> Iterator[Group]:
        """The images of a fold, from disk, or read again where it was full."""
        if not self._seen[position]:
            return
        if self._cache.complete:
            for indices, nodes in self._cache.read(position, self._shapes):
                yield indices, [part.to(self._device) for part in nodes]
        else:
            for batch in self._stream.subset(self._seen[position]):
                yield batch.indices, self._take(batch.features)


def _join(parts: list[list[Tensor]]) -> list[Tensor]:
    """Concatenate the images of several batches of nodes, level by level."""
    return [torch.cat(level, dim=1) for level in zip(*parts, strict=True)]
