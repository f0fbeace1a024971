"""Small pictures for reports: bounded in size and number, made while frames stream by."""

from __future__ import annotations

import base64
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.colour_scale import ColourScale
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.overlay import as_rgb8, paint
from anomalib_lite.edge.prepare import InputSpec, map_to_frame

SIDE_PX = 320
"""Longest side of a picture in a report."""

_MOST_BYTES = 40_000
_QUALITIES = (85, 70, 50, 30, 15)
_OUTLINE_GAP_PX = 11
_OUTLINE_RGB, _OUTLINE_EDGE_RGB = (0, 200, 255), (0, 40, 60)


@dataclass(frozen=True, eq=False)
class Picture:
    """A frame as it is and with its heat map, both JPEG.

    Attributes:
        plain: the frame.
        heat: the frame under its anomaly map; None when the model does not localise.
        width: pixels of both.
        height: pixels of both.
    """

    plain: bytes
    heat: bytes | None
    width: int
    height: int

    @property
    def embedded_bytes(self) -> int:
        """What the picture adds to an HTML file."""
        return sum(len(data) * 4 // 3 + 64 for data in (self.plain, self.heat) if data)


def make_picture(
    frame: Frame,
    network_map: NDArray[np.float32] | None,
    *,
    spec: InputSpec,
    colours: ColourScale,
    mask: NDArray[Any] | None = None,
) -> Picture:
    """Shrink a frame and paint its map over it.

    Args:
        frame: decoded frame `(H, W[, C])`.
        network_map: raw map as the network gives it `(h, w)`; None or 1x1 leaves the heat map out.
        spec: the input declaration.
        colours: anchors the colours.
        mask: true defect `(H, W)`, non-zero inside; drawn as an outline over the heat map.
    """
    rows, columns = frame.shape[:2]
    scale = min(1.0, SIDE_PX / max(rows, columns))
    size_wh = max(1, round(columns * scale)), max(1, round(rows * scale))
    small = cv2.resize(frame, size_wh, interpolation=cv2.INTER_AREA) if scale < 1 else frame
    plain = as_rgb8(small, spec.bit_depth)
    heat = None
    if network_map is not None and network_map.size > 1:
        painted = paint(plain, map_to_frame(network_map, plain.shape[:2], spec), colours)
        heat = encode_jpeg(painted if mask is None else _outlined(painted, mask))
    return Picture(encode_jpeg(plain), heat, size_wh[0], size_wh[1])


def encode_jpeg(picture: NDArray[np.uint8]) -> bytes:
    """JPEG bytes of an RGB picture, at a quality that keeps it below 40 kB where one does."""
    pixels = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    data = b""
    for quality in _QUALITIES:
        data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= _MOST_BYTES:
            break
    return data


def data_uri(jpeg: bytes) -> str:
    """A picture inside its own address, so that the file needs no other file."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def _outlined(picture: NDArray[np.uint8], mask: NDArray[Any]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    flat = (mask if mask.ndim == 2 else mask.max(axis=2)) > 0
    small = cv2.resize(flat.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    # Around the defect and not on it: a thin scratch must stay visible.
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_OUTLINE_GAP_PX, _OUTLINE_GAP_PX))
    around = cv2.dilate((small > 0.1).astype(np.uint8), reach)
    outlines, _ = cv2.findContours(around, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = picture.copy()
    for colour, thick in ((_OUTLINE_EDGE_RGB, 2), (_OUTLINE_RGB, 1)):
        cv2.drawContours(drawn, outlines, -1, colour, thick)
    return drawn


T = TypeVar("T")


class Highest(Generic[T]):
    """The `most` items with the highest rank of a stream; an item is only made if it stays.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[float, int, T]] = []
        self._seen = 0

    def offer(self, rank: float, make: Callable[[], T]) -> None:
        """Keep `make()` if `rank` is among the highest so far; of equal ranks the first stay."""
        self._seen += 1
        if len(self._heap) == self._most and (not self._heap or rank <= self._heap[0][0]):
            return
        entry = (rank, -self._seen, make())
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heapreplace(self._heap, entry)

    def items(self) -> list[T]:
        """What was kept, highest rank first."""
        ordered = sorted(self._heap, key=lambda entry: entry[:2], reverse=True)
        return [item for _, _, item in ordered]


def share_budget(sizes: Sequence[Sequence[int]], budget: int) -> list[int]:
    """How many pictures of each group fit: first one of each, then a second of each, and so on.

    Args:
        sizes: for each group the sizes of its pictures, most important first.
        budget: for all together.

    Returns:
        For each group how many of its first pictures are taken.
    """
    taken = [0] * len(sizes)
    for turn in range(max(map(len, sizes), default=0)):
        for group, group_sizes in enumerate(sizes):
            if taken[group] == turn < len(group_sizes) and group_sizes[turn] <= budget:
                budget -= group_sizes[turn]
                taken[group] += 1
    return taken
