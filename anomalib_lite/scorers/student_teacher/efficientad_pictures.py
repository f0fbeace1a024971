"""Penalty pictures: what a student must stay silent on (EfficientAD, section 3.2).

The paper takes ImageNet. Here it is a folder of the user's choice, or procedural pictures: they
carry no foreign licence, and are there offline.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.pictures import procedural_picture
from anomalib_lite.edge.errors import FrameError, SettingsError
from anomalib_lite.edge.prepare import InputSpec, prepare
from anomalib_lite.edge.sources import Job, open_source
from anomalib_lite.scorers.training.loop import step_seed

PROCEDURAL_COUNT = 400
GREY_SHARE = 0.3
_ZOOM = 2
_CACHE_BYTES = 256 << 20


class PenaltyPictures:
    """One picture per training step, a pure function of seed and step.

    A file is resized to twice the input and its centre is cut out, as in the paper; a procedural
    picture is made at the input's size. Three in ten lose their colour.

    Args:
        folder: pictures, read recursively; None makes them.
        size_hw: the network's input `(height, width)`.
        seed: fixes which picture is seen when.

    Raises:
        SettingsError: the folder is missing or holds no picture.
    """

    def __init__(self, folder: str | Path | None, size_hw: tuple[int, int], seed: int) -> None:
        self.size_hw = size_hw
        self.seed = seed
        self._jobs: list[Job] = []
        if folder is not None:
            if not Path(folder).is_dir():
                raise SettingsError(f"penalty_pictures is {folder}: no such folder")
            self._jobs = list(open_source(str(folder)).jobs())
        self.count = len(self._jobs) or PROCEDURAL_COUNT
        height, width = (_ZOOM * side for side in size_hw)
        self._spec = InputSpec(height=height, width=width, alpha="ignore")
        self._cache: dict[int, NDArray[np.uint8]] = {}

    def __getitem__(self, step: int) -> NDArray[np.uint8]:
        """uint8 RGB `(h, w, 3)` for a step; raises `SettingsError` when no file can be read."""
        rng = np.random.default_rng(step_seed(self.seed, step, "penalty picture"))
        picture = self._picture(int(rng.integers(self.count)))
        if rng.random() < GREY_SHARE:
            grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
            picture = np.repeat(grey[:, :, None], 3, axis=2)
        return picture

    def _picture(self, index: int) -> NDArray[np.uint8]:
        if index not in self._cache:
            picture = self._read(index) if self._jobs else self._make(index)
            if (len(self._cache) + 1) * picture.nbytes > _CACHE_BYTES:
                return picture
            self._cache[index] = picture
        return self._cache[index]

    def _make(self, index: int) -> NDArray[np.uint8]:
        seed = step_seed(self.seed, index, "procedural picture")
        return procedural_picture(np.random.default_rng(seed), self.size_hw)

    def _read(self, index: int) -> NDArray[np.uint8]:
        """The file at an index, or the next one that can be read."""
        for offset in range(self.count):
            job = self._jobs[(index + offset) % self.count]
            try:
                large = prepare(job.load(), self._spec)
            except FrameError:
                continue
            height, width = self.size_hw
            top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
            return np.ascontiguousarray(large[top : top + height, left : left + width])
        raise SettingsError(f"none of the {self.count} penalty pictures can be read")
