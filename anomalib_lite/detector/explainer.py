"""Why was this frame rejected? For each region, the nearest good patch: which image, and where.

Any scorer with the ability `Explain` serves. Boxes are shares of a picture's height and width, so
that they fit the frame, the good photograph and the small picture in the detector file alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_lite.detector.detector import Detector
from anomalib_lite.detector.image_stream import fingerprint
from anomalib_lite.detector.thumbnails import GoodImage
from anomalib_lite.detector.training_record import image_id
from anomalib_lite.edge.errors import FrameError, SettingsError
from anomalib_lite.edge.frames import Frame, read_frame
from anomalib_lite.edge.prediction import Prediction, Region
from anomalib_lite.edge.prepare import prepare
from anomalib_lite.scorers import Explain, scorers_with

MOST_REGIONS = 3
"""Regions of a frame that are explained: those with the highest peaks."""

FROM_PHOTOGRAPH = "the photograph itself"
FROM_DETECTOR = "small picture in the detector file"
NO_PICTURE = "no picture: give the good images with --good FOLDER"


class Box(NamedTuple):
    """A rectangle as shares of a picture's height and width, in [0, 1]."""

    top: float
    left: float
    bottom: float
    right: float

    def pixels(self, height: int, width: int) -> dict[str, int]:
        """In a picture of this size, rounded."""
        x, y = round(self.left * width), round(self.top * height)
        right, bottom = round(self.right * width), round(self.bottom * height)
        return {"x": x, "y": y, "width": right - x, "height": bottom - y}


@dataclass(frozen=True, eq=False)
class Evidence:
    """The good patch nearest to the peak of a region.

    Attributes:
        region: what it explains; None when the frame as a whole was rejected without a region.
        cell: map cell `(row, column)` of the region's peak.
        peak: raw map value there.
        box: the patch around it in the frame.
        distance: between the two patches, in the units of the scorer.
        image: number of the good image, in the order in which they were learnt.
        name: its file name below the folder that was fitted; None where the file tells none.
        good_cell: its grid cell `(row, column)`.
        good_box: the patch in the good image.
        good_hw: size of the good photograph, pixels; None where unknown.
        picture: the good image, `uint8`/`uint16 (H, W[, C])`; None where none is left.
        origin: where `picture` comes from, or why there is none.
    """

    region: Region | None
    cell: tuple[int, int]
    peak: float
    box: Box
    distance: float
    image: int
    name: str | None
    good_cell: tuple[int, int]
    good_box: Box
    good_hw: tuple[int, int] | None
    picture: Frame | None
    origin: str

    def to_dict(self, frame_hw: tuple[int, int]) -> dict[str, Any]:
        """Plain JSON types; boxes in pixels of the frame and of the good photograph."""
        good = None if self.good_hw is None else self.good_box.pixels(*self.good_hw)
        return {
            "region": None if self.region is None else self.region.to_dict(),
            "cell": list(self.cell),
            "box": self.box.pixels(*frame_hw),
            "distance": self.distance,
            "good_image": self.name,
            "good_index": self.image,
            "good_cell": list(self.good_cell),
            "good_box": good,
            "good_picture": self.origin,
        }


class Explainer:
    """Explains the rejections of a detector.

    Args:
        detector: fitted; its scorer must have the ability `Explain`.
        good: folder with the good images, for pictures in full size; without it the small ones in
            the detector file are shown.

    Raises:
        FitError: the detector is not fitted yet.
        SettingsError: the scorer cannot explain, or there is no such folder.
    """

    def __init__(self, detector: Detector, good: str | Path | None = None) -> None:
        if not detector.scorer.can(Explain):
            able = ", ".join(scorers_with(Explain))
            raise SettingsError(f"{detector.scorer.name} cannot explain; these can: {able}")
        if detector.measured:
            raise SettingsError("explanations show pictures only; this detector sees more")
        self.good = None if good is None else Path(good)
        if self.good is not None and not self.good.is_dir():
            raise SettingsError(f"--good {good}: no such folder; name that of the good images")
        _ = detector.data
        self.detector = detector

    def explain(
        self, frame: Frame, prediction: Prediction, most: int = MOST_REGIONS
    ) -> list[Evidence]:
        """Evidence for the regions with the highest peaks, highest first.

        A frame without a region (only its score is above the threshold) is explained at the
        peak of its map.

        Args:
            frame: as it was judged.
            prediction: its result.
            most: regions at most.
        """
        scorer = cast(Explain, self.detector.scorer)
        prepared = torch.from_numpy(prepare(frame, self.detector.spec)[None])
        prepared = prepared.to(self.detector.device)
        with torch.no_grad():
            backbone = self.detector.backbone
            features = backbone(backbone.normalise(prepared))
            peaks = _peaks(prediction)[:most]
            found = [(*each, scorer.explain(features, each[1])) for each in peaks]
        return [self._evidence(prediction, *each) for each in found]

    def _evidence(
        self,
        prediction: Prediction,
        region: Region | None,
        cell: tuple[int, int],
        found: dict[str, Any],
    ) -> Evidence:
        height, width = self.detector.spec.size_hw
        top, left, bottom, right = found["box"]
        good_box = Box(top / height, left / width, bottom / height, right / width)
        index = int(found["image"])
        known = self.detector.data.gallery.find(index)
        picture, origin = self._picture(known)
        return Evidence(
            region,
            cell,
            float(prediction.network_map[cell]),
            _around(cell, prediction.network_map.shape, good_box),
            float(found["distance"]),
            index,
            None if known is None else known.name,
            (int(found["cell"][0]), int(found["cell"][1])),
            good_box,
            None if known is None else known.frame_hw,
            picture,
            origin,
        )

    def _picture(self, known: GoodImage | None) -> tuple[Frame | None, str]:
        """The photograph if it is still the one that was learnt, else the small picture."""
        if known is None:
            return None, NO_PICTURE
        if self.good is not None:
            frame = self._photograph(self.good / known.name, known.id)
            if frame is not None:
                return frame, FROM_PHOTOGRAPH
        small = known.picture()
        return small, NO_PICTURE if small is None else FROM_DETECTOR

    def _photograph(self, path: Path, identity: str) -> Frame | None:
        try:
            frame = read_frame(path, exif=self.detector.spec.exif)
            prepared = prepare(frame, self.detector.spec)
        except FrameError:
            return None
        return frame if image_id(fingerprint(prepared)) == identity else None


def _peaks(prediction: Prediction) -> list[tuple[Region | None, tuple[int, int]]]:
    """Each region with the map cell of its peak, highest first."""
    network_map = prediction.network_map
    if not prediction.regions:
        return [(None, _highest(network_map, 0, 0))]
    (rows, columns), (height, width) = network_map.shape, prediction.frame_hw
    peaks: list[tuple[Region | None, tuple[int, int]]] = []
    for region in prediction.regions:
        top, bottom = _cells(region.y, region.height, rows / height)
        left, right = _cells(region.x, region.width, columns / width)
        window = network_map[top:bottom, left:right]
        # A neighbour's higher peak may lie inside the box.
        own = np.where(window <= np.float32(region.peak), window, -np.inf)
        peaks.append((region, _highest(own, top, left)))
    return peaks


def _cells(start: int, length: int, scale: float) -> tuple[int, int]:
    first = int(start * scale)
    return first, max(first + 1, int(np.ceil((start + length) * scale)))


def _highest(values: NDArray[Any], top: int, left: int) -> tuple[int, int]:
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return int(row) + top, int(column) + left


def _around(cell: tuple[int, int], shape: tuple[int, ...], size: Box) -> Box:
    """A box of the same size around a map cell, inside the picture."""
    spans = []
    for place, cells, length in zip(
        cell, shape, (size.bottom - size.top, size.right - size.left), strict=True
    ):
        start = min(max(0.0, (place + 0.5) / cells - length / 2), 1 - length)
        spans.append((start, start + length))
    (top, bottom), (left, right) = spans
    return Box(top, left, bottom, right)
