"""A temporary store on disk for the features that a second look needs.

Reading features back is an order of magnitude cheaper than decoding and another backbone pass.
When they do not fit (budget, full disk) the cache gives up quietly and the caller reads the stream
again: more images cost time, not memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.edge.errors import FitError
from anomalib_lite.system.spill import SpillStore

_READ_IMAGES = 32


class FoldCache:
    """Float32 features of images by fold, in a temporary file that is gone on exit.

    Args:
        folds: number of folds.
        images: most images that are written.
        row_numbers: numbers per image.

    Attributes:
        complete: whether everything written can be read back.
    """

    def __init__(self, folds: int, images: int, row_numbers: int) -> None:
        self._slots: list[list[int]] = [[] for _ in range(folds)]
        self._indices: list[list[int]] = [[] for _ in range(folds)]
        self._used = 0
        self._store: SpillStore | None = None
        with suppress(FitError):
            self._store = SpillStore(images, (row_numbers,), np.float32, what="the features")

    @property
    def complete(self) -> bool:
        return self._store is not None

    def __enter__(self) -> FoldCache:
        return self

    def __exit__(self, *_: Any) -> None:
        self._close()

    def write(self, fold: int, indices: NDArray[np.int64], parts: Sequence[Tensor]) -> None:
        """Add images given as nodes `(P, N, c)` per level."""
        if self._store is None:
            return
        rows = torch.cat([part.transpose(0, 1).flatten(1) for part in parts], dim=1)
        slots = np.arange(self._used, self._used + len(rows))
        try:
            self._store.write(slots, rows.cpu().numpy())
        except FitError:
            self._close()
            return
        self._used += len(rows)
        self._slots[fold] += slots.tolist()
        self._indices[fold] += indices.tolist()

    def read(
        self, fold: int, shapes: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[NDArray[np.int64], list[Tensor]]]:
        """Read a fold back in batches: image indices, and nodes `(P, N, c)` per level.

        Args:
            fold: which.
            shapes: `(P, c)` per level.
        """
        assert self._store is not None
        indices, slots = np.array(self._indices[fold]), np.array(self._slots[fold])
        sizes = [nodes * channels for nodes, channels in shapes]
        for start in range(0, len(indices), _READ_IMAGES):
            chunk = indices[start : start + _READ_IMAGES]
            rows = torch.from_numpy(self._store.read(slots[start : start + _READ_IMAGES]))
            parts = [
                part.reshape(len(chunk), *shape).transpose(0, 1)
                for part, shape in zip(rows.split(sizes, dim=1), shapes, strict=True)
            ]
            yield chunk, parts

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
