"""The page of a tuning: accuracy against milliseconds, what was chosen, all that was tried."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.report.axes import Axis
from anomalib_lite.report.components import (
    NO_VALUE,
    Cell,
    card,
    cards,
    colour_key,
    hint,
    page,
    section,
    table,
)
from anomalib_lite.report.html import Child, Markup, shorten, tag
from anomalib_lite.report.svg import Canvas, Margin
from anomalib_lite.report.words import percent

if TYPE_CHECKING:
    from anomalib_lite.tuning.search import Entry, Tuning

HEADS = ("configuration", "engine", "ms", "found", "simulated AUROC", "labelled AUROC", "images",
         "MB", "")  # fmt: skip
_MEANING = (
    "Found: share of simulated defects on held-out good images that score above the highest tenth "
    "of these images. Images: good images of the last trial; figures of one number of images can "
    "be compared. Milliseconds: a prepared frame in the exported file, measured in turns."
)


def write_tuning(tuning: Tuning, source: str, path: str | Path) -> Path:
    """Write a self-contained HTML page of a tuning; returns its path.

    Args:
        tuning: outcome of the search.
        source: name of the good images.
        path: the file.
    """
    write_bytes_atomic(path, render_tuning(tuning, source).encode("utf-8", "replace"))
    return Path(path)


def render_tuning(tuning: Tuning, source: str) -> str:
    """The page as HTML text."""
    rows = [[Cell(text, value) for text, value in row] for row in table_rows(tuning)]
    body: list[Child] = [
        _cards(tuning),
        _early(tuning),
        section("Accuracy against milliseconds", _plot(tuning)),
        section(
            "All that was tried",
            tag("p", _MEANING, class_="note"),
            table(HEADS, rows, numbers_from=2),
        ),
    ]
    failed = [entry for entry in tuning.entries if entry.failed]
    if failed:
        listed = [
            [Cell(entry.configuration.words), Cell(shorten(entry.failed, 240))] for entry in failed
        ]
        why = table(["configuration", "why"], listed, numbers_from=2)
        body.append(section("What came to no end", why))
    lead = (
        f"{shorten(source)}: {len(tuning.entries)} configurations, {tuning.budget_ms:g} ms allowed."
    )
    return page("Tuning", lead, body)


def table_rows(tuning: Tuning) -> list[list[tuple[str, float | None]]]:
    """Cells of `HEADS` as text and value, best first; for the page and for Markdown."""
    return [_row(tuning, entry) for entry in ordered(tuning)]


def ordered(tuning: Tuning) -> list[Entry]:
    """Usable entries: those within the budget best first, then the slower ones, quickest first."""
    within = tuning.within
    slower = [entry for entry in tuning.usable if entry not in within]
    return within + sorted(slower, key=lambda entry: entry.quickest_ms)


def markdown(tuning: Tuning) -> str:
    """The table as Markdown."""
    heads = [*HEADS[:-1], "remark"]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    lines += [f"| {' | '.join(text for text, _ in row)} |" for row in table_rows(tuning)]
    lines += ["", _MEANING]
    lines += [f"\n* {entry.configuration.words}: {entry.failed}" for entry in tuning.entries
              if entry.failed]  # fmt: skip
    return "\n".join(lines) + "\n"


def _row(tuning: Tuning, entry: Entry) -> list[tuple[str, float | None]]:
    last = entry.last
    assert last.judgement is not None  # only usable entries have a row
    labelled = math.nan if last.labelled is None else last.labelled
    return [
        (entry.configuration.words, None),
        (entry.engine, None),
        (f"{entry.quickest_ms:.2f}", entry.quickest_ms),
        (percent(last.judgement.found), last.judgement.found),
        (f"{last.judgement.auroc:.3f}", last.judgement.auroc),
        (NO_VALUE if last.labelled is None else f"{labelled:.3f}", labelled),
        (str(last.images), float(last.images)),
        (f"{last.size_bytes / 1e6:.1f}", float(last.size_bytes)),
        (_remark(tuning, entry), None),
    ]


def _remark(tuning: Tuning, entry: Entry) -> str:
    """Its number on the front, whether it was chosen, whether it is too slow."""
    edge = tuning.front
    words = [f"front {edge.index(entry) + 1}"] if entry in edge else []
    if entry is tuning.best:
        words.insert(0, "chosen")
    if entry.quickest_ms > tuning.budget_ms:
        words.append("too slow")
    return ", ".join(words)


def _cards(tuning: Tuning) -> Markup:
    best, quickest = tuning.best, tuning.quickest
    shown = [
        card(
            "Quickest",
            f"{quickest.quickest_ms:.2f} ms",
            f"{quickest.configuration.words}, {quickest.engine}.",
        )
    ]
    if best is None:
        return cards([card("Chosen", "nothing", f"No file takes {tuning.budget_ms:g} ms or less."),
                      *shown])  # fmt: skip
    judged = best.last.judgement
    assert judged is not None
    chosen = card("Chosen", f"{best.quickest_ms:.2f} ms", f"{best.configuration.words}.")
    found = card(
        "Simulated defects found",
        percent(judged.found),
        f"{len(judged.defects)} on {len(judged.good)} held-out good images; AUROC "
        f"{judged.auroc:.3f}.",
    )
    return cards([chosen, found, *shown])


def _early(tuning: Tuning) -> Markup | None:
    if not tuning.out_of_time:
        return None
    words = " What was found so far counts; --resume with more --minutes goes on."
    return hint("The time was up.", words, "bad")


def _plot(tuning: Tuning) -> Markup:
    entries = tuning.usable
    times = [entry.quickest_ms for entry in entries]
    values = [entry.standing.accuracy for entry in entries]
    label = "share of simulated defects found"
    if any(entry.last.labelled is not None for entry in entries):
        label = "image AUROC on labelled images"
    x = Axis(min([*times, tuning.budget_ms]) / 1.2, max([*times, tuning.budget_ms]) * 1.2,
             "milliseconds a frame (log scale)", log=True)  # fmt: skip
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.05
    canvas = Canvas(1040, 380, x, Axis(low - room, high + room, label), Margin(60, 20, 26, 42))
    canvas.y_axis()
    canvas.x_axis(grid=True, wanted=8)
    canvas.upright(tuning.budget_ms, "threshold", f"budget {tuning.budget_ms:g} ms")
    edge = tuning.front
    canvas.line(
        [entry.quickest_ms for entry in edge], [entry.standing.accuracy for entry in edge], "curve"
    )
    _dots(canvas, tuning, entries)
    alt = f"{label} over milliseconds of {len(entries)} configurations"
    key = [("good", "tried"), ("rejected", "on the front, by its number"), ("wrong", "chosen")]
    return tag("div", canvas.svg(alt), colour_key(key), class_="plot")


def _dots(canvas: Canvas, tuning: Tuning, entries: Iterable[Entry]) -> None:
    edge, best = tuning.front, tuning.best
    for entry in sorted(entries, key=lambda item: (item is best, item in edge)):
        kind = "wrong" if entry is best else "rejected" if entry in edge else "good"
        canvas.dot(entry.quickest_ms, entry.standing.accuracy, kind, 5.0 if kind != "good" else 4.0)
        if entry in edge:
            x, y = canvas.at_x(entry.quickest_ms), canvas.at_y(entry.standing.accuracy)
            canvas.text(x, y - 9, str(edge.index(entry) + 1), "row-note", "middle")
