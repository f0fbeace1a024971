"""What a frame gets: a raw score, its p-value, the verdict, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.colour_scale import ColourScale
from anomalib_lite.edge.drawing import Drawable
from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.prepare import InputSpec, map_to_frame

_UNPAINTED = ColourScale(np.inf)


@dataclass(frozen=True)
class Region:
    """A connected set of map cells above the map threshold, in frame coordinates.

    Attributes:
        x: left edge, pixels.
        y: top edge, pixels.
        width: pixels.
        height: pixels.
        area: covered frame area, square pixels.
        peak: largest raw map value inside.
    """

    x: int
    y: int
    width: int
    height: int
    area: float
    peak: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "x": self.x,
            "y": self.y,
            "width": self.width,
            "height": self.height,
            "area": round(self.area, 1),
            "peak": self.peak,
        }


@dataclass(frozen=True, eq=False, repr=False)
class Prediction(Drawable):
    """The result for one frame.

    Attributes:
        score: raw image score, higher = more anomalous.
        p_value: share of good frames expected to score at least this high.
        is_anomalous: whether the score is above the calibrated threshold.
        regions: where, largest peak first; empty when the scorer does not localise.
        network_map: raw anomaly map as the network gives it, float32 `(h, w)`.
        frame_hw: size of the frame `(H, W)`.
        spec: the input declaration, for the way back to frame coordinates.
        colours: map values that anchor the colours of pictures.
        name: what the source calls the frame, or empty.
        origin: the frame itself where it was asked to be kept, the file to read it from again, or
            None.
        extra: the scorer's further outputs for this frame by name, each `(...)`.
    """

    error: ClassVar[str] = ""
    """Empty: there is a result; `predict` of many frames also gives `Unusable`, which has one."""

    score: float
    p_value: float
    is_anomalous: bool
    regions: tuple[Region, ...]
    network_map: NDArray[np.float32]
    frame_hw: tuple[int, int]
    spec: InputSpec
    colours: ColourScale = _UNPAINTED
    name: str = ""
    origin: Frame | Path | None = None
    extra: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def map_threshold(self) -> float:
        """Raw map value above which a pixel belongs to a region."""
        return self.colours.threshold

    @cached_property
    def anomaly_map(self) -> NDArray[np.float32]:
        """Raw anomaly map in frame coordinates, float32 `(H, W)`; computed when first asked."""
        return map_to_frame(self.network_map, self.frame_hw, self.spec)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, without what is a map: extra outputs only where they are numbers."""
        fields: dict[str, Any] = {
            "score": self.score,
            "p_value": self.p_value,
            "is_anomalous": self.is_anomalous,
            "regions": [region.to_dict() for region in self.regions],
        }
        numbers = {name: item.tolist() for name, item in self.extra.items() if item.ndim <= 1}
        return {**fields, "extra": numbers} if numbers else fields


def make_prediction(
    score: float,
    network_map: NDArray[np.float32],
    frame_hw: tuple[int, int],
    *,
    calibration: Calibration,
    spec: InputSpec,
    extra: dict[str, NDArray[Any]] | None = None,
) -> Prediction:
    """Turn the network's outputs for one frame into a `Prediction`.

    Args:
        score: raw image score.
        network_map: float32 `(h, w)`.
        frame_hw: size of the original frame, pixels.
        calibration: decides threshold and p-value.
        spec: the input declaration.
        extra: the frame's extra outputs.

    Raises:
        FrameError: an output is not finite.
    """
    extra = extra or {}
    if not (np.isfinite(score) and all(map(_finite, (network_map, *extra.values())))):
        raise FrameError("the network's output is NaN or infinite for this frame")
    return Prediction(
        score=float(score),
        p_value=calibration.p_value(score),
        is_anomalous=bool(score > calibration.threshold),
        regions=find_regions(network_map, calibration.map_threshold, frame_hw),
        network_map=network_map,
        frame_hw=frame_hw,
        spec=spec,
        colours=calibration.colours,
        extra=extra,
    )


def _finite(values: NDArray[Any]) -> bool:
    return bool(np.isfinite(values).all())


def find_regions(
    network_map: NDArray[np.float32], threshold: float, frame_hw: tuple[int, int]
) -> tuple[Region, ...]:
    """8-connected components of `network_map > threshold`, boxes in frame pixels.

    A 1x1 map has no place in it and gives no region.
    """
    rows, columns = network_map.shape
    if rows == columns == 1:
        return ()
    above = (network_map > threshold).astype(np.uint8)
    if not above.any():
        return ()
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    scale_y, scale_x = frame_hw[0] / rows, frame_hw[1] / columns
    regions = []
    for label in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[label])
        window = (slice(top, top + height), slice(left, left + width))
        x0, y0 = int(left * scale_x), int(top * scale_y)
        x1 = min(frame_hw[1], int(np.ceil((left + width) * scale_x)))
        y1 = min(frame_hw[0], int(np.ceil((top + height) * scale_y)))
        peak = float(network_map[window][labels[window] == label].max())
        regions.append(Region(x0, y0, x1 - x0, y1 - y0, area * scale_x * scale_y, peak))
    return tuple(sorted(regions, key=lambda region: -region.peak))
