"""Side by side: a rejected region with its surroundings, and the nearest good patch with its own.

Needs no torch: it draws what `anomalib_lite.detector.explainer` has found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.overlay import as_rgb8, encode_png
from anomalib_lite.edge.runs.scoring import ScoredFrame
from anomalib_lite.report.components import gallery, section
from anomalib_lite.report.heatmaps import flat_name
from anomalib_lite.report.html import Child, Markup, shorten, tag
from anomalib_lite.report.pictures import data_uri, encode_jpeg

if TYPE_CHECKING:
    from anomalib_lite.detector.explainer import Box, Evidence

SIDE_PX = 240
"""Height and width of each half; the longer side of the view fills it."""

_GAP_PX = 8
_PATCHES_AROUND = 7  # patches along the view's side
_LEAST_SHARE = 0.3  # of the picture, so that a person sees where on the part it is
_EMPTY_RGB = (228, 228, 228)
_REJECTED_RGB, _GOOD_RGB = (214, 30, 30), (40, 140, 60)


@dataclass(frozen=True, eq=False)
class PairPicture:
    """One explanation, drawn.

    Attributes:
        pixels: RGB `uint8 (240, 488, 3)`: rejected on the left, good on the right.
        distance: between the two patches.
        image: name or number of the good image.
        note: where its picture comes from, or why there is none.
    """

    pixels: NDArray[np.uint8]
    distance: float
    image: str
    note: str


def draw_pair(evidence: Evidence, frame: Frame, bit_depth: int = 8) -> PairPicture:
    """Draw an explanation.

    Args:
        evidence: what was found.
        frame: the rejected frame.
        bit_depth: of frame and photographs.
    """
    aspect = frame.shape[1] / frame.shape[0]
    left = _view(as_rgb8(frame, bit_depth), evidence.box, aspect, _REJECTED_RGB)
    if evidence.picture is None:
        right = np.full_like(left, _EMPTY_RGB)
    else:
        good = as_rgb8(evidence.picture, bit_depth)
        right = _view(good, evidence.good_box, aspect, _GOOD_RGB)
    gap = np.full((SIDE_PX, _GAP_PX, 3), 255, np.uint8)
    name = evidence.name or f"good image number {evidence.image}"
    pixels = np.concatenate([left, gap, right], axis=1)
    return PairPicture(pixels, evidence.distance, name, evidence.origin)


def write_pairs(
    folder: Path, item: ScoredFrame, pairs: Sequence[PairPicture], source_name: str
) -> list[Path]:
    """Write `folder/<frame>.<number>.png`, numbered from 1; returns the paths."""
    stem = flat_name(item.name, source_name)
    paths = []
    for number, pair in enumerate(pairs, start=1):
        path = folder / f"{stem}.{number}.png"
        write_bytes_atomic(path, encode_png(pair.pixels), durable=False)
        paths.append(path)
    return paths


def explanations(frames: Iterable[tuple[str, Sequence[PairPicture]]]) -> Markup | None:
    """The section of a report, one pair a frame; None when nothing was explained.

    The page stays below its 5 MB: further regions are pictures in the folder.
    """
    shown = [(name, pairs[0]) for name, pairs in frames if pairs]
    if not shown:
        return None
    return section(
        "Why they were rejected",
        tag(
            "p",
            "Left, framed red: the patch where a region of a rejected frame peaks. Right, framed "
            "green: of all good patches that the model keeps, the nearest one. What the left one "
            "has and the right one has not is the reason. One region a frame; further ones are in "
            "the folder explanations.",
        ),
        gallery(_figure(name, pair) for name, pair in shown),
    )


def _figure(name: str, pair: PairPicture) -> Markup:
    height, width = pair.pixels.shape[:2]
    image = tag(
        "img",
        src=data_uri(encode_jpeg(pair.pixels)),
        alt=f"{shorten(name)}: rejected patch beside the nearest good patch",
        width=width,
        height=height,
    )
    caption: list[Child] = [
        f"distance {pair.distance:.4g} to ",
        tag("strong", shorten(pair.image)),
        f" · {pair.note}",
        tag("br"),
        tag("span", shorten(name), class_="file"),
    ]
    # One image that is a pair already: it may fill the column.
    return tag("figure", tag("div", image, class_="whole"), tag("figcaption", caption))


def _view(
    picture: NDArray[np.uint8], box: Box, aspect: float, colour_rgb: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """The surroundings of a box, `uint8 (SIDE_PX, SIDE_PX, 3)`, the box framed.

    Args:
        picture: RGB `(H, W, 3)`; may be stretched.
        box: as shares of the picture.
        aspect: width / height as it should look.
        colour_rgb: of the frame.
    """
    rows, columns = picture.shape[:2]
    patch = max(box.bottom - box.top, (box.right - box.left) * aspect)
    # A square of the part as it looks, its side in heights of the picture.
    side = max(_LEAST_SHARE * min(1.0, aspect), _PATCHES_AROUND * patch)
    high, wide = min(1.0, side), min(1.0, side / aspect)
    top, y_px = _span((box.top + box.bottom) / 2, high, rows)
    left, x_px = _span((box.left + box.right) / 2, wide, columns)
    scale = SIDE_PX / max(high, wide * aspect)
    height, width = max(1, round(high * scale)), max(1, round(wide * aspect * scale))
    window = picture[y_px, x_px]
    shrinks = window.shape[0] > height or window.shape[1] > width
    kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    view = np.ascontiguousarray(cv2.resize(window, (width, height), interpolation=kind))
    corners = [
        (round((x - left) / wide * width), round((y - top) / high * height))
        for x, y in ((box.left, box.top), (box.right, box.bottom))
    ]
    cv2.rectangle(view, corners[0], corners[1], colour_rgb, 2)
    canvas = np.full((SIDE_PX, SIDE_PX, 3), _EMPTY_RGB, np.uint8)
    y, x = (SIDE_PX - height) // 2, (SIDE_PX - width) // 2
    canvas[y : y + height, x : x + width] = view
    return canvas


def _span(centre: float, share: float, pixels: int) -> tuple[float, slice]:
    """A stretch around a centre inside the picture: its start as a share, and its pixels."""
    start = min(max(0.0, centre - share / 2), 1 - share)
    first = min(round(start * pixels), pixels - 1)
    count = max(1, round(share * pixels))
    return first / pixels, slice(first, min(pixels, first + count))
