"""A temporary store on disk for the features that a second look needs.

Reading features back is an order of magnitude cheaper than decoding and another backbone pass.
When they do
not fit (budget, full disk) the spool gives up quietly and the caller reads the stream again:
more images cost time, not memory.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BUDGET_BYTES = 8 << 30
_FREE_SHARE = 0.5
_READ_IMAGES = 32


class Spool:
    """Rows of float32 features in one temporary file per fold, removed on exit.

    Args:
        folds: number of files.
        images: number of images expected.
        row_numbers: float32 numbers per image.

    Attributes:
        complete: whether everything written can be read back.
    """

    def __init__(self, folds: int, images: int, row_numbers: int) -> None:
        needed = images * row_numbers * 4
        free = shutil.disk_usage(tempfile.gettempdir()).free
        self.complete = needed <= min(_BUDGET_BYTES, int(free * _FREE_SHARE))
        self._row_numbers = row_numbers
        self._indices: list[list[NDArray[np.int64]]] = [[] for _ in range(folds)]
        self._files: list[IO[bytes]] = []
        if self.complete:
            self._files = [_temporary() for _ in range(folds)]

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: Any) -> None:
        self._close()

    def write(self, fold: int, indices: NDArray[np.int64], parts: Sequence[Tensor]) -> None:
        """Append images given as nodes `(P, N, c)` per level."""
        if not self.complete:
            return
        rows = torch.cat([part.transpose(0, 1).flatten(1) for part in parts], dim=1)
        try:
            self._files[fold].write(rows.contiguous().numpy().tobytes())
        except OSError:
            self.complete = False
            self._close()
            return
        self._indices[fold].append(indices)

    def read(
        self, fold: int, shapes: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[NDArray[np.int64], list[Tensor]]]:
        """Read a fold back in batches: image indices, and nodes `(P, N, c)` per level.

        Args:
            fold: which file.
            shapes: `(P, c)` per level.
        """
        if not self._indices[fold]:
            return
        indices = np.concatenate(self._indices[fold])
        stream = self._files[fold]
        stream.seek(0)
        sizes = [nodes * channels for nodes, channels in shapes]
        for start in range(0, len(indices), _READ_IMAGES):
            chunk = indices[start : start + _READ_IMAGES]
            buffer = bytearray(stream.read(len(chunk) * self._row_numbers * 4))
            rows = torch.frombuffer(buffer, dtype=torch.float32).view(len(chunk), -1)
            parts = [
                part.reshape(len(chunk), *shape).transpose(0, 1)
                for part, shape in zip(rows.split(sizes, dim=1), shapes, strict=True)
            ]
            yield chunk, parts

    def _close(self) -> None:
        for stream in self._files:
            stream.close()
        self._files = []


def _temporary() -> IO[bytes]:
    return tempfile.TemporaryFile(prefix="anomalib-lite-")
