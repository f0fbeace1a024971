"""What a stream hands to a scorer: prepared frames, what is known of each, features on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.backbones.features import Features


class FrameBatch:
    """Some images of a stream. Its features cost one backbone pass, paid by who asks for them.

    Args:
        frames: prepared, uint8 `(N, H, W, 3)`, on the device of the backbone.
        indices: which images of the stream they are, int64 `(N,)`.
        extract: frames, or all inputs by name where something is measured -> features.
        measured: measured inputs by name, float32 `(N, H, W, C + 1)`, the last channel 1 where
            measured.
        sample_weight: how far each image counts, in [0, 1], float64 `(N,)`; None: all in full.
        labels: what is known of each image, int64 `(N,)`: its product, or 1 for a simulated defect;
            None where nothing is.
    """

    def __init__(
        self,
        frames: Tensor,
        indices: NDArray[np.int64],
        extract: Callable[[Any], Features],
        *,
        measured: Mapping[str, Tensor] | None = None,
        sample_weight: NDArray[np.float64] | None = None,
        labels: NDArray[np.int64] | None = None,
    ) -> None:
        self.frames = frames
        self.indices = indices
        self.sample_weight = sample_weight
        self.labels = labels
        self._extract = extract
        self._measured = measured or {}

    def __len__(self) -> int:
        return len(self.indices)

    def changed(self, frames: Tensor, labels: NDArray[np.int64] | None = None) -> FrameBatch:
        """The same images with other frames, uint8 or float32 on the scale 0 to 255, and labels."""
        return FrameBatch(
            frames,
            self.indices,
            self._extract,
            measured=self._measured,
            sample_weight=self.sample_weight,
            labels=labels,
        )

    @property
    def inputs(self) -> dict[str, Tensor]:
        """All prepared inputs by name, `frames` first."""
        return {"frames": self.frames, **self._measured}

    @cached_property
    def features(self) -> Features:
        """Normalised pixels and backbone maps; raises `FitError` when they are not finite."""
        return self._extract(self.inputs if self._measured else self.frames)


class NotedWeights:
    """Sample weights noted as batches pass, for those who need them again by image."""

    def __init__(self) -> None:
        self._partial: dict[int, float] = {}

    def note(self, batch: FrameBatch) -> None:
        """Remember what a batch says."""
        if batch.sample_weight is not None:
            values = batch.sample_weight.tolist()
            self._partial.update(zip(batch.indices.tolist(), values, strict=True))

    def of(self, indices: NDArray[np.int64]) -> Tensor | None:
        """Weights of some images, float64 `(n,)`; None when all of them count in full."""
        values = [self._partial.get(index, 1.0) for index in indices.tolist()]
        if all(value == 1.0 for value in values):
            return None
        return torch.tensor(values, dtype=torch.float64)
