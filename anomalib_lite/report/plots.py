"""The report's plots: score histograms, metric curves, scores in order, p-values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.report.axes import Axis, score_axis
from anomalib_lite.report.html import Markup, shorten, tag
from anomalib_lite.report.svg import Canvas, Margin

_BINS = 64
_ROW_PX, _ROW_GAP_PX = 46, 12
_WIDTH_PX = 1040.0
_MOST_ROWS = 24
_MOST_COLUMNS = 400


GOOD_BARS, DEFECT_BARS, UNLABELLED_BARS = (
    ("good", "wrong"),
    ("wrong", "defect"),
    ("good", "rejected"),
)
"""CSS classes of bars up to the threshold and above it."""


@dataclass(frozen=True, eq=False)
class ScoreRow:
    """One row of histograms.

    Attributes:
        name: what the parts are.
        scores: their scores `(n,)`, finite.
        accepted: CSS class of bars up to the threshold.
        rejected: CSS class of bars above it.
        note: counts in words, written behind the row.
    """

    name: str
    scores: NDArray[np.float64]
    accepted: str
    rejected: str
    note: str


def score_rows(rows: Sequence[ScoreRow], threshold: float, alt: str) -> Markup:
    """Histograms one below the other on one score axis, with the threshold through all of them.

    Each row has its own height scale, because ten parts with a defect would vanish beside a
    thousand good ones.
    """
    shown = rows[:_MOST_ROWS]
    values = np.concatenate([row.scores for row in shown] or [np.zeros(0)])
    axis = score_axis([float(values.min()), float(values.max())] if values.size else [], threshold)
    margin = Margin(left=150, right=150, top=24, bottom=40)
    height = margin.top + margin.bottom + len(shown) * (_ROW_PX + _ROW_GAP_PX)
    canvas = Canvas(_WIDTH_PX, height, axis, Axis(0, 1), margin)
    canvas.x_axis(grid=True, wanted=8)
    edges = np.asarray(axis.edges_through(threshold, _BINS))
    for index, row in enumerate(shown):
        base = margin.top + (index + 1) * (_ROW_PX + _ROW_GAP_PX)
        _draw_row(canvas, row, edges, threshold, base)
    canvas.upright(threshold, "threshold", f"threshold {threshold:.4g}")
    return tag("div", canvas.svg(alt), class_="plot")


def _draw_row(
    canvas: Canvas, row: ScoreRow, edges: NDArray[np.float64], threshold: float, base: float
) -> None:
    counts = _count(row.scores, edges)
    share = counts / max(1, int(counts.max(initial=0)))
    rejected = edges[1:] > threshold
    ends = edges.tolist()
    canvas.path([(canvas.margin.left, base), (canvas.right, base)], "base")
    for class_, side in ((row.accepted, ~rejected), (row.rejected, rejected)):
        canvas.bars(ends, np.where(side, share, 0).tolist(), class_, base=base, room=_ROW_PX)
    canvas.text(canvas.margin.left - 10, base - 4, shorten(row.name, 22), "row-name", "end")
    canvas.text(canvas.right + 10, base - 4, row.note, "row-note")


def _count(scores: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Scores in each bin `(left, right]`, as a score at the threshold is accepted."""
    places = np.searchsorted(edges, scores, side="left") - 1
    return np.bincount(places.clip(0, edges.size - 2), minlength=edges.size - 1)


@dataclass(frozen=True, eq=False)
class CurvePlot:
    """A metric curve.

    Attributes:
        title: metric and value, written above.
        x: values along the x axis.
        y: values along the y axis, 0 to 1.
        x_axis: horizontal axis.
        y_label: what y is.
        dot: the operating point `(x, y)`, or None.
        diagonal: whether chance is the diagonal.
    """

    title: str
    x: Sequence[float]
    y: Sequence[float]
    x_axis: Axis
    y_label: str
    dot: tuple[float, float] | None = None
    diagonal: bool = False

    def svg(self) -> Markup:
        """The plot."""
        canvas = Canvas(258, 236, self.x_axis, Axis(0, 1, self.y_label), Margin(46, 12, 10, 38))
        canvas.y_axis()
        canvas.x_axis(wanted=4)
        if self.diagonal:
            canvas.line([0, 1], [0, 1], "chance")
        canvas.line(self.x, self.y, "curve")
        if self.dot is not None:
            canvas.dot(*self.dot, "operating")
        return canvas.svg(f"{self.title}: {self.y_label} over {self.x_axis.label}")


def scores_in_order(scores: NDArray[np.float64], threshold: float, alt: str) -> Markup:
    """Scores as they came: every frame when there are few, else median and highest of groups."""
    groups = np.array_split(scores, min(scores.size, _MOST_COLUMNS)) if scores.size else []
    starts = np.cumsum([0, *(group.size for group in groups)]) + 1
    highest = [float(group.max()) for group in groups]
    middle = [float(np.median(group)) for group in groups]
    y = score_axis([*highest, *middle], threshold)
    x = Axis(0.5, max(2.0, scores.size + 0.5), "frame, in order of arrival")
    canvas = Canvas(_WIDTH_PX, 240, x, y, Margin(60, 110, 14, 40))
    canvas.y_axis()
    canvas.x_axis(wanted=8)
    if scores.size > _MOST_COLUMNS:
        canvas.line([float(start) for start in starts[:-1]], middle, "curve")
    for start, value in zip(starts, highest, strict=False):
        canvas.dot(float(start), value, "rejected" if value > threshold else "good", 2.0)
    level = canvas.at_y(threshold)
    canvas.path([(canvas.margin.left, level), (canvas.right, level)], "threshold")
    canvas.text(canvas.right + 6, level + 4, "threshold", "threshold-label")
    return tag("div", canvas.svg(alt), class_="plot")


def share_bars(shares: Sequence[float], expected: float, x: Axis, alt: str) -> Markup:
    """Shares in equally wide bins on `x`, with a line at the share that is expected of each."""
    top = max([*shares, expected]) * 1.1
    canvas = Canvas(420, 220, x, Axis(0, top, "share of frames"), Margin(52, 12, 14, 40))
    canvas.y_axis(wanted=4)
    edges = [x.value(index / len(shares)) for index in range(len(shares) + 1)]
    room = canvas.bottom - canvas.margin.top
    heights = [share / top for share in shares]
    canvas.bars(edges, heights, "good", base=canvas.bottom, room=room)
    canvas.x_axis(wanted=5)
    level = canvas.at_y(expected)
    canvas.path([(canvas.margin.left, level), (canvas.right, level)], "threshold")
    return canvas.svg(alt)
