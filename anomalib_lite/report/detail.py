"""One data set and model in detail: histograms, recall, curves, and the frames to look at."""

from __future__ import annotations

import math

import numpy as np

from anomalib_lite.metrics import MetricError, precision_recall_curve, roc_curve
from anomalib_lite.report.axes import Axis
from anomalib_lite.report.components import (
    Cell,
    colour_key,
    facts,
    table,
    together,
    unreadable_list,
)
from anomalib_lite.report.data import Run
from anomalib_lite.report.examples import relative, worst_frames
from anomalib_lite.report.html import Markup, join, tag
from anomalib_lite.report.plots import DEFECT_BARS, GOOD_BARS, CurvePlot, ScoreRow, score_rows
from anomalib_lite.report.promised import promised_table
from anomalib_lite.report.summary import METRIC_HEADS, headline, kept_promise
from anomalib_lite.report.words import counted, figure_text, interval, percent, signed, with_unit

_PIMO_LOWEST = 1e-6


def run_detail(run: Run, pictures: tuple[int, int], *, show_headline: bool) -> Markup:
    """Everything about one run.

    Args:
        run: the run.
        pictures: how many of its false rejects and misses may carry pictures.
        show_headline: whether the headline figures are repeated here.
    """
    return join(
        [
            headline([run]) if show_headline else None,
            kept_promise(run),
            promised_table(run),
            _histograms(run),
            _recall_table(run),
            _curves(run),
            _remarks(run),
            worst_frames(run, pictures),
            _unreadable(run),
            _timing(run),
            _shifts(run),
            _provenance(run),
        ]
    )


def _histograms(run: Run) -> Markup:
    good = counted(run.rejected_good, len(run.good))
    rows = (
        [ScoreRow("good", run.scores(run.good), *GOOD_BARS, f"{good} rejected")] if run.good else []
    )
    for name, rate in run.recall.items():
        parts = tuple(part for part in run.anomalous if part.defect == name)
        words = f"{counted(rate.num_hits, rate.num_samples)} found"
        rows.append(ScoreRow(name, run.scores(parts), *DEFECT_BARS, words))
    spoken = "; ".join(f"{row.name}: {row.note}" for row in rows)
    return together(
        [
            tag("h3", "Scores of good parts and of each defect"),
            colour_key(
                [
                    ("good", "good, accepted"),
                    ("defect", "defective, rejected"),
                    ("wrong", "on the wrong side of the threshold"),
                ]
            ),
            score_rows(rows, run.operating.threshold, f"Score histograms. {spoken}."),
            tag("p", "Each row has its own height scale.", class_="note"),
        ]
    )


def _recall_table(run: Run) -> Markup | None:
    if not run.recall:
        return tag("p", "No part with a defect was tested: recall is not defined.", class_="empty")
    rows = [_recall_row(run, name) for name in run.recall]
    heads = ["defect", "found", "share found", "lowest score", "median score"]
    return join([tag("h3", "Which defects are found"), table(heads, rows, numbers_from=9)])


def _recall_row(run: Run, name: str) -> list[Cell]:
    rate = run.recall[name]
    scores = run.scores(tuple(part for part in run.anomalous if part.defect == name))
    low, middle = float(scores.min()), float(np.median(scores))
    found = counted(rate.num_hits, rate.num_samples)
    limit = run.operating.threshold
    return [
        Cell(name),
        Cell([_bar(rate.value), found], rate.value, left=True),
        Cell(interval(rate.num_hits, rate.num_samples), rate.value, left=True),
        Cell(relative(low, limit), low, left=True),
        Cell(relative(middle, limit), middle, left=True),
    ]


def _bar(share: float) -> Markup:
    """A small bar; the figure beside it says the same."""
    track = tag("rect", width=120, height=9, class_="track")
    filled = tag("rect", width=round(120 * share, 1), height=9, class_="defect")
    return tag("svg", track, filled, width=120, height=9, class_="recall", aria_hidden="true")


def _curves(run: Run) -> Markup | None:
    plots = [*_image_curves(run), *_pixel_curves(run)]
    if not plots:
        return None
    figures = [tag("figure", tag("figcaption", plot.title), plot.svg()) for plot in plots]
    return together(
        [
            tag("h3", "Curves"),
            tag("div", figures, class_="curves"),
            tag(
                "p",
                "The ring is the calibrated threshold. PRO is drawn up to the false-positive rate "
                "of 0.3 that AUPRO counts; AUPIMO averages between 10⁻⁵ and 10⁻⁴."
                if run.curves
                else "The ring is the calibrated threshold.",
                class_="note",
            ),
        ]
    )


def _image_curves(run: Run) -> list[CurvePlot]:
    scores, labels = run.scores(run.parts), [part.label for part in run.parts]
    try:
        roc = roc_curve(scores, labels)
        ranked = precision_recall_curve(scores, labels)
    except MetricError:
        return []
    recall = run.found / len(run.anomalous)
    rejected = run.found + run.rejected_good
    precision = (recall, run.found / rejected) if rejected else None
    return [
        CurvePlot(
            f"ROC: AUROC {figure_text(run.metrics.get('image_auroc'))}",
            roc.fpr.tolist(),
            roc.tpr.tolist(),
            Axis(0, 1, "share of good parts rejected"),
            "share of defects found",
            dot=(run.rejected_good / len(run.good), recall),
            diagonal=True,
        ),
        CurvePlot(
            f"PR: AP {figure_text(run.metrics.get('image_average_precision'))}",
            ranked.recall.tolist(),
            ranked.precision.tolist(),
            Axis(0, 1, "share of defects found"),
            "defects among rejects",
            dot=precision,
        ),
    ]


def _pixel_curves(run: Run) -> list[CurvePlot]:
    plots = []
    pro, pimo = run.curves.get("pro"), run.curves.get("pimo")
    if pro is not None and pro.x:
        plots.append(
            CurvePlot(
                f"PRO: AUPRO {figure_text(run.metrics.get('aupro'))}",
                pro.x,
                pro.y,
                Axis(0, max(0.3, *pro.x), "share of good pixels flagged"),
                "overlap per region",
            )
        )
    if pimo is not None and pimo.x:
        points = [(x, y) for x, y in zip(pimo.x, pimo.y, strict=True) if x >= _PIMO_LOWEST]
        plots.append(
            CurvePlot(
                f"PIMO: AUPIMO {figure_text(run.metrics.get('aupimo'))}",
                [x for x, _ in points],
                [y for _, y in points],
                Axis(_PIMO_LOWEST, 1e-2, "share flagged on good images", log=True),
                "recall per image",
            )
        )
    return plots


def _remarks(run: Run) -> Markup | None:
    absent = [(name, why) for name, why in run.reasons.items() if _concerns(run, name)]
    noted = [(name, why) for name, why in run.remarks.items() if name in METRIC_HEADS]
    grouped: dict[str, list[str]] = {}
    for name, why in absent:
        grouped.setdefault(f"no value: {why}", []).append(METRIC_HEADS[name])
    for name, why in noted:
        grouped.setdefault(why, []).append(METRIC_HEADS[name])
    if not grouped:
        return None
    items = [tag("li", f"{', '.join(names)}: {why}") for why, names in grouped.items()]
    return tag("ul", items, class_="note")


def _concerns(run: Run, name: str) -> bool:
    """AU-sPRO is defined for one data set only; nobody misses it elsewhere."""
    return name in METRIC_HEADS and (name != "au_spro" or run.data.startswith("loco:"))


def _unreadable(run: Run) -> Markup | None:
    if not run.unreadable:
        return None
    return join([tag("h3", "Frames without a score"), unreadable_list(run.unreadable)])


def _timing(run: Run) -> Markup | None:
    if not run.timing:
        return None
    figures = dict(with_unit(name, value) for name, value in run.timing.items())
    return join([tag("h3", "Time and memory"), facts(figures)])


def _shifts(run: Run) -> Markup | None:
    if not run.shifts:
        return None
    rows = [
        [
            Cell(shift.change),
            Cell(
                "–" if shift.spreads is None else signed(shift.spreads),
                math.nan if shift.spreads is None else shift.spreads,
            ),
            Cell(
                f"{counted(shift.rejected, shift.images)} "
                f"({percent(shift.rejected / shift.images)})"
                if shift.images
                else "–",
                shift.rejected / shift.images if shift.images else math.nan,
            ),
        ]
        for shift in run.shifts
    ]
    words = (
        "Good images scored again after a change of lamp, optics or pose. A good model hardly "
        "moves; the middle column counts in spreads of the good images' scores."
    )
    return together(
        [
            tag("h3", "If the lamp or the camera changes"),
            tag("p", words, class_="note"),
            table(["change", "score moves by (spreads)", "good rejected"], rows),
        ]
    )


def _provenance(run: Run) -> Markup | None:
    if not run.provenance:
        return None
    return join([tag("h3", "How this run was made"), facts(run.provenance)])
