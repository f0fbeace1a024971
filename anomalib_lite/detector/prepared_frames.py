"""Prepared frames, decoded once, for reading in any order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.system.spill import SpillStore

_IN_MEMORY = 512 << 20


class PreparedFrames:
    """The prepared frames of a stream, kept in memory up to 512 MB, else in a temporary file.

    The system's own cache keeps at hand what it has room for.

    Args:
        frames: image index and prepared frame uint8 `(h, w, 3)`, each once.
        most: how many there may be.
        size_hw: of each.

    Attributes:
        indices: indices of the images, in reading order.

    Raises:
        FitError: they fit neither in memory nor on the disk.
    """

    def __init__(
        self,
        frames: Iterable[tuple[int, NDArray[np.uint8]]],
        most: int,
        size_hw: tuple[int, int],
    ) -> None:
        self._store = SpillStore(
            most,
            (*size_hw, 3),
            np.uint8,
            what=f"{most} prepared frames",
            advice="name a larger disk in TMPDIR, or choose a smaller image size",
            memory=_IN_MEMORY,
            needed=True,
        )
        self._rows: dict[int, int] = {}
        for row, (index, prepared) in enumerate(frames):
            self._store.write(np.array([row]), prepared[None])
            self._rows[index] = row

    @property
    def indices(self) -> list[int]:
        return list(self._rows)

    def __contains__(self, index: int) -> bool:
        return index in self._rows

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        frame: NDArray[np.uint8] = self._store.read(np.array([self._rows[index]]))[0]
        return frame
