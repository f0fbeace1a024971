"""Prepared frames, decoded once, for reading in any order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import DTypeLike, NDArray

from anomalib_lite.edge.inputs import FRAMES, Inputs, Prepared
from anomalib_lite.system.spill import SpillStore

_IN_MEMORY = 512 << 20


class PreparedFrames(Mapping[int, Prepared]):
    """The prepared frames of a stream by index, in memory up to 512 MB, else in a temporary file.

    The system's own cache keeps at hand what it has room for.

    Args:
        frames: image index and prepared frame uint8 `(h, w, 3)`, or view by name, each once.
        most: how many there may be.
        inputs: what is prepared.
        memory: bytes up to which they are in memory.

    Attributes:
        indices: indices of the images, in reading order.

    Raises:
        FitError: they fit neither in memory nor on the disk.
    """

    def __init__(
        self,
        frames: Iterable[tuple[int, Prepared]],
        most: int,
        inputs: Inputs,
        *,
        memory: int = _IN_MEMORY,
    ) -> None:
        self._store = _store(most, (*inputs.frames.size_hw, 3), np.uint8, "frames", memory)
        self._measured = {
            name: _store(most, spec.shape, np.float32, name, memory)
            for name, spec in inputs.measured.items()
        }
        self._rows: dict[int, int] = {}
        for row, (index, prepared) in enumerate(frames):
            named = prepared if isinstance(prepared, Mapping) else {FRAMES: prepared}
            self._store.write(np.array([row]), named[FRAMES][None])
            for name, store in self._measured.items():
                store.write(np.array([row]), named[name][None])
            self._rows[index] = row

    @property
    def indices(self) -> list[int]:
        return list(self._rows)

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, index: object) -> bool:
        return index in self._rows

    def __getitem__(self, index: int) -> Prepared:
        row = np.array([self._rows[index]])
        frame: NDArray[np.uint8] = self._store.read(row)[0]
        if not self._measured:
            return frame
        measured = {name: store.read(row)[0] for name, store in self._measured.items()}
        return {FRAMES: frame, **measured}


def prepared_bytes(inputs: Inputs) -> int:
    """Bytes of one prepared image, what is measured beside it included."""
    measured = sum(4 * math.prod(spec.shape) for spec in inputs.measured.values())
    return 3 * math.prod(inputs.frames.size_hw) + measured


def _store(
    most: int, shape: tuple[int, ...], dtype: DTypeLike, name: str, memory: int
) -> SpillStore:
    return SpillStore(
        most,
        shape,
        dtype,
        what=f"{most} prepared {name}",
        advice="name a larger disk in TMPDIR, or choose a smaller image size",
        memory=memory,
        needed=True,
    )
