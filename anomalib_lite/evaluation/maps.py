"""Anomaly maps of a whole test set: on disk at the network's size, enlarged when they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.masks import read_mask_file
from anomalib_lite.data.sample import Sample
from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.prepare import InputSpec, map_to_frame
from anomalib_lite.system.spill import SpillStore

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]

_HALF = 0.5


class MapStore:
    """Network maps `(h, w)` float32, all of one size, in a temporary file.

    Args:
        folder: where the file lies; it has no name and vanishes with the process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store: SpillStore | None = None
        self._count = 0

    def __enter__(self) -> MapStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._store is not None:
            self._store.close()

    def __len__(self) -> int:
        return self._count

    def append(self, network_map: Map) -> int:
        """Keep one map; returns its number.

        Raises:
            FitError: the folder cannot be written, or the disk is full.
        """
        if self._store is None:
            self._store = SpillStore(
                None,
                network_map.shape,
                np.float32,
                what="the anomaly maps",
                advice="free space there or name another --out",
                folder=self._folder,
            )
        self._store.write(np.array([self._count]), network_map[None])
        self._count += 1
        return self._count - 1

    def __getitem__(self, number: int) -> Map:
        if self._store is None:
            raise IndexError(number)
        found: Map = self._store.read(np.array([number]))[0]
        return found


@dataclass(frozen=True)
class TestFrame:
    """One scored test frame; its map lies in a `MapStore` under `index`.

    Attributes:
        index: place among the scored frames, and number of its map.
        name: path below the data set's root.
        sample: where it and its masks lie.
        frame_hw: original size, pixels.
        score, p_value, is_anomalous: the detector's result.
    """

    __test__ = False

    index: int
    name: str
    sample: Sample
    frame_hw: tuple[int, int]
    score: float
    p_value: float
    is_anomalous: bool

    def to_dict(self) -> dict[str, Any]:
        """The line of `<key>.scores.jsonl`."""
        return {
            "frame": self.name,
            "label": self.sample.label,
            "defect": self.sample.defect,
            "score": self.score,
            "p_value": self.p_value,
            "is_anomalous": self.is_anomalous,
        }


@dataclass(eq=False)
class PixelView:
    """Maps and masks of some frames, side by side at one resolution, streamed at each call.

    Attributes:
        frames: which, in order.
        store: their maps.
        spec: the way back to frame coordinates.
        at_frame: True enlarges maps to the frame, False shrinks masks to the map.
        unusable: mask name -> why its frame is left out of pixel figures; filled while reading.
    """

    frames: Sequence[TestFrame]
    store: MapStore
    spec: InputSpec
    at_frame: bool = True
    unusable: dict[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> NDArray[np.int64]:
        """1 = anomalous `(N,)`."""
        return np.array([frame.sample.label for frame in self.frames], np.int64)

    def maps(self) -> Iterator[Map]:
        """One map a frame, float32."""
        for frame in self.frames:
            network_map = self.store[frame.index]
            if self.at_frame:
                network_map = map_to_frame(network_map, frame.frame_hw, self.spec)
            yield network_map

    def masks(self) -> Iterator[Mask]:
        """One mask a frame, the size of its map; empty where no usable truth exists."""
        for frame in self.frames:
            mask = self._mask(frame)
            if not self.at_frame:
                mask = shrink_mask(mask, self.store[frame.index].shape)
            yield mask

    def channels(self) -> Iterator[list[Frame]]:
        """The separate masks of each frame as stored, values kept (MVTec LOCO).

        Raises:
            FrameError: a mask cannot be read or is not the size of its frame.
        """
        for frame in self.frames:
            yield [read_mask(path, frame.frame_hw) for path in frame.sample.mask_paths]

    def _mask(self, frame: TestFrame) -> Mask:
        union = np.zeros(frame.frame_hw, np.bool_)
        for path in frame.sample.mask_paths:
            try:
                union |= read_mask(path, frame.frame_hw) > 0
            except FrameError as error:
                self.unusable[frame.name] = str(error).removeprefix(f"{path}: ")
                return np.zeros(frame.frame_hw, np.bool_)
        return union


def read_mask(path: Path, frame_hw: tuple[int, int]) -> Frame:
    """A mask `(H, W)` as stored; of several colour channels the largest value, alpha dropped.

    Raises:
        FrameError: it cannot be read or is not the size of its frame.
    """
    mask = read_mask_file(path)
    if mask.shape != frame_hw:
        rows, columns = mask.shape
        raise FrameError(
            f"{path}: the mask is {rows}x{columns}, its frame {frame_hw[0]}x{frame_hw[1]}"
        )
    return mask


def shrink_mask(mask: Mask, size_hw: tuple[int, ...]) -> Mask:
    """Bring a mask to another size: a pixel is a defect where at least half of it is."""
    if mask.shape == size_hw:
        return mask
    share = cv2.resize(
        mask.astype(np.float32), (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA
    )
    return np.asarray(share >= _HALF)
