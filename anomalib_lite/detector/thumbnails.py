"""Small pictures of the good images inside the detector file, for scorers that explain by them.

A bank names the good image that a patch comes from. The photographs may be on another machine by
then, so the file brings a small picture of each along, within a fixed budget.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.frames import Frame

GALLERY_BYTES = 8 << 20
"""All pictures together; some 600 of 256 x 256 pixels. Later images are only named."""

_SIDE_PX = 256
_QUALITY = 85


class GoodImage(NamedTuple):
    """One good image.

    Attributes:
        number: its place in the stream that was fitted, counted on by `partial_fit`.
        id: as in the records.
        name: file name below the folder that was fitted.
        frame_hw: size of the photograph, pixels.
        jpeg: its prepared pixels, at most 256 px a side; empty beyond the budget.
    """

    number: int
    id: str
    name: str
    frame_hw: tuple[int, int]
    jpeg: bytes

    def picture(self) -> Frame | None:
        """RGB `uint8 (h, w, 3)`; None beyond the budget."""
        if not self.jpeg:
            return None
        decoded = cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR)
        if decoded is None:
            return None
        rgb: Frame = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
        return rgb


@dataclass(frozen=True)
class Gallery:
    """The good images that a bank may name.

    Attributes:
        images: by rising number.
        offered: number of images offered to the fit, unreadable ones included: later ones are
            counted from here.
    """

    images: tuple[GoodImage, ...] = field(default=(), repr=False)
    offered: int = 0

    @cached_property
    def _by_number(self) -> dict[int, GoodImage]:
        return {image.number: image for image in self.images}

    def find(self, number: int) -> GoodImage | None:
        """The image that a bank calls by this number."""
        return self._by_number.get(number)

    def joined(self, images: Iterable[GoodImage], offered: int) -> Gallery:
        """With the images of a further stream of so many, its numbers counted on."""
        free = GALLERY_BYTES - sum(len(image.jpeg) for image in self.images)
        added = []
        for image in images:
            jpeg = image.jpeg if len(image.jpeg) <= free else b""
            free -= len(jpeg)
            added.append(image._replace(number=image.number + self.offered, jpeg=jpeg))
        return replace(self, images=self.images + tuple(added), offered=self.offered + offered)

    def header(self) -> dict[str, Any]:
        """Plain JSON types, without the pictures."""
        rows = [
            [image.number, image.id, image.name, list(image.frame_hw), len(image.jpeg)]
            for image in self.images
        ]
        return {"offered": self.offered, "images": rows}

    def pixels(self) -> NDArray[np.uint8]:
        """All pictures, one after the other."""
        return np.frombuffer(b"".join(image.jpeg for image in self.images), np.uint8)

    @classmethod
    def from_parts(cls, header: dict[str, Any], pixels: NDArray[np.uint8]) -> Gallery:
        """Rebuild from `header` and `pixels`; raises on foreign content."""
        data, start, images = pixels.tobytes(), 0, []
        for number, identity, name, (height, width), size in header["images"]:
            jpeg = data[start : start + int(size)]
            frame_hw = (int(height), int(width))
            images.append(GoodImage(int(number), str(identity), str(name), frame_hw, jpeg))
            start += int(size)
        return cls(tuple(images), int(header["offered"]))


class GalleryBuilder:
    """Collects the gallery of a stream, picture by picture, within the budget."""

    def __init__(self) -> None:
        self._images: dict[int, GoodImage] = {}
        self._free = GALLERY_BYTES

    def add(self, image: GoodImage, prepared: NDArray[np.uint8]) -> None:
        """Keep an image; `prepared` is its RGB `uint8 (h, w, 3)`."""
        jpeg = _small_jpeg(prepared) if self._free > 0 else b""
        if len(jpeg) > self._free:
            jpeg, self._free = b"", 0
        self._free -= len(jpeg)
        self._images[image.number] = image._replace(jpeg=jpeg)

    def images(self) -> list[GoodImage]:
        """By rising number."""
        return [self._images[index] for index in sorted(self._images)]


def name_below(name: str, source: str) -> str:
    """What is left of a frame's name below its source: the file must not carry private paths."""
    inside = name.removeprefix(source).lstrip("/\\") if name.startswith(source) else name
    return inside if inside and inside != name else name.replace("\\", "/").split("/")[-1]


def _small_jpeg(prepared: NDArray[np.uint8]) -> bytes:
    rows, columns = prepared.shape[:2]
    scale = min(1.0, _SIDE_PX / max(rows, columns))
    if scale < 1:
        size_wh = max(1, round(columns * scale)), max(1, round(rows * scale))
        prepared = cv2.resize(prepared, size_wh, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    pixels = cv2.cvtColor(prepared, cv2.COLOR_RGB2BGR)
    written: Any = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return bytes(written.tobytes())
