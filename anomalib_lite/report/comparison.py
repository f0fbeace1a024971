"""The page of a comparison: the ranking, its intervals as a plot, and every kind of defect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.report.axes import Axis
from anomalib_lite.report.components import Cell, hint, page, section, table
from anomalib_lite.report.html import Child, Markup, shorten, tag
from anomalib_lite.report.svg import Canvas, Margin
from anomalib_lite.report.words import percent

if TYPE_CHECKING:
    from anomalib_lite.tuning.comparison import Comparison
    from anomalib_lite.tuning.ranking import Row

CAVEAT = (
    "Simulated defects rank configurations for simulated defects. How far such a ranking agrees "
    "with one by real defects is measured in docs/compare.md; a lead within the interval is none."
)
_ROW_PX = 24


def write_comparison(found: Comparison, path: str | Path, *, title: str) -> Path:
    """Write a self-contained HTML page; returns its path."""
    write_bytes_atomic(path, render_comparison(found, title=title).encode("utf-8", "replace"))
    return Path(path)


def render_comparison(found: Comparison, *, title: str) -> str:
    """The page as HTML text."""
    words = f"{found.held_out} held-out good images, {found.learnt} learnt from."
    body: list[Child] = [hint("What this ranking is", CAVEAT, "bad"), _ranking(found)]
    if found.rows:
        body += [_plot(found.rows), _kinds(found.rows)]
    if found.failed:
        rows = [[Cell(name), Cell(why)] for name, why in found.failed.items()]
        body.append(section("Not fitted", table(["configuration", "why"], rows, numbers_from=2)))
    return page("Comparison on simulated defects", f"{shorten(title)}: {words}", body)


def _ranking(found: Comparison) -> Markup:
    rows = [
        [
            Cell(row.name),
            Cell(f"{100 * row.auroc:.1f}", row.auroc),
            Cell(f"{100 * row.interval[0]:.1f} to {100 * row.interval[1]:.1f}", row.interval[0]),
            Cell(behind_words(row), row.behind[0]),
            Cell(percent(row.misses), row.misses),
            Cell(percent(row.rejects), row.rejects),
        ]
        for row in found.rows
    ]
    heads = ["configuration", "AUROC", "95 %", "behind the first", "missed", "good rejected"]
    note = "Missed and rejected at the threshold of each. Intervals draw images, paired."
    return section("Ranking", table(heads, rows), tag("p", note, class_="note"))


def behind_words(row: Row) -> str:
    """`1.2 (0.3 to 2.4)` points of AUROC behind the first."""
    distance, low, high = (100 * value for value in row.behind)
    return "first" if row.behind == (0.0, 0.0, 0.0) else f"{distance:.1f} ({low:.1f} to {high:.1f})"


def _plot(rows: list[Row]) -> Markup:
    low = min(row.interval[0] for row in rows)
    axis = Axis(max(0.0, low - 0.02), 1.0 + 1e-6, "AUROC on simulated defects, 95 % interval")
    margin = Margin(left=240, right=20, top=10, bottom=40)
    height = margin.top + margin.bottom + len(rows) * _ROW_PX
    canvas = Canvas(760, height, axis, Axis(0, 1), margin)
    canvas.x_axis(grid=True)
    for index, row in enumerate(rows):
        y = margin.top + (index + 0.5) * _ROW_PX
        ends = [(canvas.at_x(value), y) for value in row.interval]
        canvas.path(ends, "curve")
        share = 1 - (y - margin.top) / (canvas.bottom - margin.top)
        canvas.dot(row.auroc, share, "good", 4.0)
        canvas.text(margin.left - 10, y + 4, shorten(row.name, 36), "row-name", "end")
    words = "; ".join(f"{row.name} {100 * row.auroc:.1f}" for row in rows)
    return tag("div", canvas.svg(f"AUROC on simulated defects: {words}"), class_="plot")


def _kinds(rows: list[Row]) -> Markup:
    kinds = list(rows[0].by_kind)
    cells = [
        [
            Cell(row.name),
            *(
                Cell("–" if np.isnan(value) else f"{100 * value:.1f}", value)
                for value in row.by_kind.values()
            ),
        ]
        for row in rows
    ]
    return section("By kind of defect", table(["configuration", *kinds], cells))
