"""Prepared frames, decoded once, for reading in any order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import DTypeLike, NDArray

from anomalib_lite.edge.inputs import FRAMES, Inputs, Prepared
from anomalib_lite.system.spill import SpillStore

_IN_MEMORY = 512 << 20


class PreparedFrames:
    """The prepared frames of a stream, kept in memory up to 512 MB, else in a temporary file.

    The system's own cache keeps at hand what it has room for.

    Args:
        frames: image index and prepared frame uint8 `(h, w, 3)`, or view by name, each once.
        most: how many there may be.
        inputs: what is prepared.

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
    ) -> None:
        self._store = _store(most, (*inputs.frames.size_hw, 3), np.uint8, "frames")
        self._measured = {
            name: _store(most, spec.shape, np.float32, name)
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

    def __contains__(self, index: int) -> bool:
        return index in self._rows

    def __getitem__(self, index: int) -> Prepared:
        row = np.array([self._rows[index]])
        frame: NDArray[np.uint8] = self._store.read(row)[0]
        if not self._measured:
            return frame
        measured = {name: store.read(row)[0] for name, store in self._measured.items()}
        return {FRAMES: frame, **measured}


def _store(most: int, shape: tuple[int, ...], dtype: DTypeLike, name: str) -> SpillStore:
    return SpillStore(
        most,
        shape,
        dtype,
        what=f"{most} prepared {name}",
        advice="name a larger disk in TMPDIR, or choose a smaller image size",
        memory=_IN_MEMORY,
        needed=True,
    )
