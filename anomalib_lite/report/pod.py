"""The page of a study: how small a simulated defect may be, and where it is missed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.overlay import as_rgb8
from anomalib_lite.report.axes import Axis
from anomalib_lite.report.components import Cell, card, cards, hint, page, section, table
from anomalib_lite.report.html import Child, Markup, tag
from anomalib_lite.report.pictures import data_uri, encode_jpeg
from anomalib_lite.report.svg import Canvas, Margin

if TYPE_CHECKING:
    from anomalib_lite.evaluation.pod.result import FamilyResult, PodStudy

_BAND_POINTS = 25
_SIDE_PX = 480
_RED, _STRONGEST, _LEAST_SHOWN = (214, 30, 30), 0.4, 0.08


def write_pod_report(study: PodStudy, path: str | Path, *, title: str, threshold: str) -> Path:
    """Write a self-contained HTML page; returns its path.

    Args:
        study: what was found.
        path: the file.
        title: what was measured, in words.
        threshold: at which threshold, in words.
    """
    text = render_pod(study, title=title, threshold=threshold)
    write_bytes_atomic(path, text.encode("utf-8", "replace"))
    return Path(path)


def render_pod(study: PodStudy, *, title: str, threshold: str) -> str:
    """The page as HTML text."""
    photographs = study.photographs
    body: list[Child] = [
        cards(
            [
                card("Good images", str(len(photographs.usable)), "Defects were put on these."),
                card(
                    "Rejected without a defect",
                    f"{len(photographs.rejected)} of {photographs.judged}",
                    "They take no part; a model that rejects everything finds everything.",
                ),
                card("Threshold", threshold, "Found means: the image is rejected at it."),
            ]
        ),
        hint("What this cannot promise", study.promise, "bad"),
    ]
    if photographs.warning:
        body.append(hint("Images that the model knows", photographs.warning, "bad"))
    body += [_table(study), _curves(study), _places(study)]
    if study.left_out:
        rows = [[Cell(kind), Cell(why)] for kind, why in study.left_out.items()]
        body.append(section("Not tried", table(["kind", "why"], rows, numbers_from=2)))
    return page("Probability of detection", title, body)


def _table(study: PodStudy) -> Markup:
    rows = []
    for result in study.families:
        sizes = [result.a50, result.a90, result.a90_95]
        share = result.hits / len(result.trials)
        rows.append(
            [
                Cell(result.kind),
                Cell(*_contrast(result)),
                *(_size(result, size, study.mm_per_pixel) for size in sizes),
                Cell(f"{result.hits} of {len(result.trials)}", share),
                Cell(result.verdict(study.mm_per_pixel)),
            ]
        )
    heads = ["kind", "contrast", "a50", "a90", "a90/95", "found", "in words"]
    note = (
        "a90 is the size found in nine of ten cases, a90/95 its upper bound with 95 % confidence "
        "(profile likelihood with Firth's penalty; trials on one image count as alike). Sizes are "
        "diameters, or width x length; contrast is grey levels of 255."
    )
    return section("How small it may be", table(heads, rows), tag("p", note, class_="note"))


def _size(result: FamilyResult, size: float | None, mm_per_pixel: float | None) -> Cell:
    return Cell(result.size_words(size, mm_per_pixel), np.nan if size is None else size)


def _contrast(result: FamilyResult) -> tuple[str, float]:
    return (
        ("as it comes", np.nan)
        if result.contrast is None
        else (
            f"{result.contrast:g}",
            result.contrast,
        )
    )


def _curves(study: PodStudy) -> Markup:
    figures = []
    for result in study.families:
        contrast = "" if result.contrast is None else f", contrast {result.contrast:g}"
        name = f"{result.kind}{contrast}"
        figures.append(tag("figure", _curve(result, name), tag("figcaption", name)))
    note = "Line: probability. Dashed: lower 95 % bound. Dots: trials, found above, missed below."
    return section("Curves", tag("div", figures, class_="curves"), tag("p", note, class_="note"))


def _curve(result: FamilyResult, name: str) -> Markup:
    low, high = result.tried
    axis = Axis(low * 0.95, high * 1.05, "size, px", log=True)
    canvas = Canvas(258, 236, axis, Axis(-0.04, 1.04, "found"), Margin(46, 12, 10, 38))
    canvas.y_axis()
    canvas.x_axis(wanted=4)
    for trial in result.trials:
        canvas.dot(trial.size, float(trial.hit), "good" if trial.hit else "wrong", 2.0)
    if result.curve.usable:
        sizes = np.exp(np.linspace(np.log(low), np.log(high), _BAND_POINTS))
        canvas.line(sizes.tolist(), result.curve.probability(sizes).tolist(), "curve")
        lower = [result.curve.lower_probability(float(size)) for size in sizes]
        canvas.line(sizes.tolist(), lower, "chance")
    if result.a90 is not None:
        canvas.dot(result.a90, 0.9, "operating")
    return canvas.svg(f"{name}: {result.verdict()}")


def _places(study: PodStudy) -> Markup:
    grid = study.blind_map()
    frame = study.photographs.usable[0].frame
    picture, (height, width) = _painted(frame, grid)
    largest = float(grid.max())
    said = (
        f"Nowhere are clearly more defects missed than their size explains (at most {largest:.0%})."
        if largest < _LEAST_SHOWN
        else f"Red: more are missed than their size explains, at most {largest:.0%} more."
    )
    note = (
        "Places in the picture, all families together, over the first image. Where parts lie "
        "differently in each picture, it shows the picture, not the part."
    )
    image = tag(
        "img", src=data_uri(picture), alt=f"Map over an image: {said}", width=width, height=height
    )
    shown = tag("div", image, class_="pair one")
    return section("Where they are missed", tag("p", said), shown, tag("p", note, class_="note"))


def _painted(frame: Frame, grid: NDArray[np.float64]) -> tuple[bytes, tuple[int, int]]:
    rgb = as_rgb8(frame, 16 if frame.dtype == np.uint16 else 8)
    scale = min(1.0, _SIDE_PX / max(rgb.shape[:2]))
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.float32)
    wide = cv2.resize(grid.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    cover = np.clip(np.asarray(wide) / _STRONGEST, 0, 1)[:, :, None] * 0.8
    cover = np.where(np.asarray(wide)[:, :, None] < _LEAST_SHOWN, 0, cover)
    painted = small * (1 - cover) + np.array(_RED, np.float32) * cover
    return encode_jpeg(np.rint(painted).astype(np.uint8)), (size[1], size[0])
