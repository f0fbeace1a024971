"""The top of an evaluation report: headline figures and the table of results."""

from __future__ import annotations

import math
from collections.abc import Sequence

from anomalib_lite.metrics import mean_and_sem
from anomalib_lite.report.components import NO_VALUE, Cell, card, cards, hint, section, table
from anomalib_lite.report.data import ReportData, Run
from anomalib_lite.report.html import Child, Markup, join, tag
from anomalib_lite.report.promised import promised_cards, promised_cells, promised_heads
from anomalib_lite.report.statistics import chance_of_rejects
from anomalib_lite.report.words import counted, figure_text, interval, percent, promise

METRIC_HEADS = {
    "image_auroc": "AUROC",
    "image_average_precision": "AP",
    "image_f1_max": "F1‑max",
    "pixel_auroc": "pixel AUROC",
    "pixel_average_precision": "pixel AP",
    "pixel_f1_max": "pixel F1‑max",
    "aupro": "AUPRO",
    "aupimo": "AUPIMO",
    "au_spro": "AU‑sPRO",
}
"""Columns of the results table; one without any value is left out."""

_BROKEN = 0.01
_LATENCY = "latency_ms_batch_1"


def headline(runs: Sequence[Run]) -> Markup:
    """What a production engineer asks first, over the runs of one model."""
    good, rejected = sum(len(run.good) for run in runs), sum(run.rejected_good for run in runs)
    bad, found = sum(len(run.anomalous) for run in runs), sum(run.found for run in runs)
    promised = max((run.operating for run in runs), key=lambda one: one.false_reject_rate)
    aurocs = [value for run in runs if (value := run.metrics.get("image_auroc")) is not None]
    times = [value for run in runs if (value := run.timing.get(_LATENCY)) is not None]
    items = [
        *promised_cards(runs),
        card(
            "Good parts rejected",
            counted(rejected, good) if good else "none tested",
            interval(rejected, good) if good else None,
            f"Promised: {promise(promised.false_reject_rate, promised.upper_bound)}.",
        ),
        card(
            "Defective parts found",
            counted(found, bad) if bad else "none tested",
            interval(found, bad) if bad else None,
            f"{bad - found} passed unnoticed." if bad else None,
        ),
    ]
    if aurocs:
        items.append(
            card(
                "Separation (image AUROC)",
                figure_text(sum(aurocs) / len(aurocs)),
                "Chance that a defective part scores above a good one"
                + (f"; mean of {len(aurocs)} data sets." if len(aurocs) > 1 else "."),
            )
        )
    if times:
        items.append(
            card(
                "Time per frame",
                f"{sum(times) / len(times):.3g} ms",
                "Decoded frame to decision, one at a time, on the machine of the evaluation.",
            )
        )
    return cards(items)


def kept_promise(run: Run) -> Markup | None:
    """Whether the good test parts bear out what the calibration promised."""
    good, rejected = len(run.good), run.rejected_good
    operating = run.operating
    if not good:
        return None
    chance = chance_of_rejects(rejected, good, operating.false_reject_rate, operating.parts)
    if chance < _BROKEN:
        return hint(
            "More good parts are rejected than promised",
            f"{counted(rejected, good)} good test parts were rejected. If they were like the "
            f"{operating.parts} calibration images, so many would be seen with a probability of "
            f"{percent(chance)}. The test parts differ from the images of the fit (lamp, camera, "
            "position, variant): add such images to the fit and calibrate again.",
            "bad",
        )
    if not operating.honoured:
        return hint("Less is promised than was asked for", f"{operating.explain()}.")
    return None


def overview(data: ReportData) -> Markup:
    """Headline figures: of the one model, or of each model over all data sets."""
    groups = data.groups()
    if not groups:
        return hint("Nothing was measured", "The evaluation holds no finished run.", "bad")
    first = [group[0] for group in groups]
    models = list(dict.fromkeys(run.model for run in first))
    blocks: list[Child] = []
    if data.missing:
        words = f"{len(data.missing)} planned runs are missing, first {data.missing[0]}."
        blocks.append(hint("The evaluation is not complete", words, "bad"))
    for model in models:
        runs = [run for run in first if run.model == model]
        count = f" over {len(runs)} data sets" if len(runs) > 1 else f" on {runs[0].data}"
        blocks.append(tag("div", tag("h3", f"{model}{count}"), headline(runs), class_="intro"))
    broken = [run.title for run in first if _is_broken(run)]
    if broken and len(first) > 1:
        shown = "; ".join(broken[:8]) + (f"; and {len(broken) - 8} more" if len(broken) > 8 else "")
        blocks.append(hint("More good parts are rejected than promised in", f"{shown}.", "bad"))
    return join(blocks)


def _is_broken(run: Run) -> bool:
    promised = run.operating
    chance = chance_of_rejects(
        run.rejected_good, len(run.good), promised.false_reject_rate, promised.parts
    )
    return chance < _BROKEN


def results(data: ReportData) -> Markup:
    """One row for each data set and model; figures are means over seeds."""
    groups = data.groups()
    used = [
        name for name in METRIC_HEADS if any(run.metrics.get(name) is not None for run in data.runs)
    ]
    several = any(len(group) > 1 for group in groups)
    heads = ["data", "model", "good rejected", "defects found"]
    heads += [*promised_heads(data.runs), *(METRIC_HEADS[n] for n in used)]
    if several:
        heads.insert(2, "seeds")
    rows = [_row(group, used, several, data.runs) for group in groups]
    remark = (
        "Figures are means over seeds ± standard error; counts name every seed. " if several else ""
    )
    return section(
        "Results",
        tag(
            "p",
            f"{remark}Rejected and found are counted at the threshold of the run, missed at "
            "those of the rates named and, at best, at the highest good test part. AUROC, AP and "
            "F1-max rank scores without a threshold; a dash means that the figure is not "
            "defined here.",
            class_="note",
        ),
        table(heads, rows, numbers_from=2, class_="results"),
        anchor="results",
    )


def _row(
    group: Sequence[Run], metrics: Sequence[str], several: bool, runs: Sequence[Run]
) -> list[Cell]:
    first = group[0]
    cells = [Cell(first.data), Cell(first.model)]
    if several:
        cells.append(Cell(str(len(group)), float(len(group))))
    cells.append(_counts([run.rejected_good for run in group], [len(run.good) for run in group]))
    cells.append(_counts([run.found for run in group], [len(run.anomalous) for run in group]))
    cells += promised_cells(group, runs)
    return cells + [_mean([run.metrics.get(name) for run in group]) for name in metrics]


def _counts(hits: Sequence[int], totals: Sequence[int]) -> Cell:
    if not sum(totals):
        return Cell(NO_VALUE, math.nan)
    same = len(set(hits)) == 1
    low_high = f"{min(hits)} to {max(hits)}" if len(hits) > 4 else ", ".join(map(str, hits))
    words = f"{hits[0] if same else low_high} of {totals[0]}"
    share = sum(hits) / sum(totals)
    return Cell([f"{percent(share)} ", tag("span", f"({words})", class_="sem")], share)


def _mean(values: Sequence[float | None]) -> Cell:
    known = [value for value in values if value is not None]
    if not known:
        return Cell(NO_VALUE, math.nan)
    mean, error = mean_and_sem(known)
    shown: list[Child] = [figure_text(mean)]
    if not math.isnan(error):
        shown.append(tag("span", f" ±\u00a0{error:.3f}", class_="sem"))
    return Cell(shown, mean)
