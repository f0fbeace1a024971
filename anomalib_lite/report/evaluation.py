"""The evaluation report: `ReportData` -> one self-contained HTML page below 5 MB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.report.components import facts, page, section
from anomalib_lite.report.data import ReportData, Run
from anomalib_lite.report.detail import run_detail
from anomalib_lite.report.examples import picture_sizes
from anomalib_lite.report.html import Child, Markup, tag
from anomalib_lite.report.pictures import share_budget
from anomalib_lite.report.summary import overview, results

MOST_BYTES = 5_000_000
_FOR_CAPTIONS = 200_000
_MOST_DETAILED = 60

_GLOSSARY = (
    (
        "Threshold",
        "a raw score, taken from good images that the model did not learn from. A part above it is "
        "rejected. It is fixed before any test part is looked at.",
    ),
    (
        "95 % interval",
        "where the true share may lie, given so few parts. 0 of 20 is not 0 of 2000.",
    ),
    ("AUROC", "chance that a part with a defect scores above a good one; 0.5 is a coin."),
    (
        "AP",
        "area under precision over recall, step by step; depends on how many defects there are.",
    ),
    ("F1-max", "the best F1 of any threshold; chosen on the test parts, so it is an upper bound."),
    (
        "AUPRO, AUPIMO",
        "how much of each defect the map finds while few good pixels are flagged (at most 30 % for "
        "AUPRO, 0.001 to 0.01 % of good images for AUPIMO).",
    ),
    ("p", "share of good parts expected to score at least as high; small is suspicious."),
)


def render_report(data: ReportData) -> str:
    """The page as HTML text; the same data give the same text.

    Pictures are left out, the least important first, where the page would pass `MOST_BYTES`.
    """
    detailed = [group[0] for group in data.groups()][:_MOST_DETAILED]
    without = _page(data, detailed, [(0, 0)] * len(detailed))
    sizes = [sizes for run in detailed for sizes in picture_sizes(run)]
    free = MOST_BYTES - len(without.encode()) - _FOR_CAPTIONS
    taken = share_budget(sizes, max(0, free))
    return _page(data, detailed, list(zip(taken[::2], taken[1::2], strict=True)))


def write_report(data: ReportData, path: str | Path) -> Path:
    """Write the page atomically; raises `AnomalibLiteError` when it cannot be written."""
    write_bytes_atomic(path, render_report(data).encode())
    return Path(path)


def _page(data: ReportData, detailed: Sequence[Run], pictures: Sequence[tuple[int, int]]) -> str:
    body: list[Child] = [overview(data)]
    if data.runs:
        body.append(results(data))
    if len(detailed) > 1:
        body.append(_contents(detailed))
    several = len(detailed) > 1
    for number, (run, counts) in enumerate(zip(detailed, pictures, strict=True)):
        heading = run.title if several else f"In detail: {run.title}"
        seed = tag("p", f"Seed {run.seed}.", class_="note")
        detail = run_detail(run, counts, show_headline=several)
        body.append(section(heading, seed, detail, anchor=f"run-{number}", class_="run"))
    left = len(data.groups()) - len(detailed)
    if left:
        words = f"{left} more rows of the table are not shown in detail."
        body.append(tag("p", words, class_="note"))
    body += [_how_measured(data), _glossary()]
    runs = f"{len(data.runs)} run" + ("" if len(data.runs) == 1 else "s")
    return page(data.title, f"{runs}: {_names(data)}.", body)


def _names(data: ReportData) -> str:
    """Data sets and models in words."""
    sets = list(dict.fromkeys(run.data for run in data.runs))
    models = list(dict.fromkeys(run.model for run in data.runs))
    listed = [
        names[0] if len(names) == 1 else f"{len(names)} {word}"
        for names, word in ((sets, "data sets"), (models, "models"))
        if names
    ]
    return ", ".join(listed) or "nothing measured"


def _contents(detailed: Sequence[Run]) -> Markup:
    items = (
        tag("li", tag("a", run.title, href=f"#run-{number}")) for number, run in enumerate(detailed)
    )
    return tag("nav", tag("h3", "In detail"), tag("ol", items), aria_label="Contents")


def _how_measured(data: ReportData) -> Markup | None:
    if not (data.protocol or data.provenance):
        return None
    rules = tag("ul", (tag("li", sentence) for sentence in data.protocol))
    return section(
        "How it was measured",
        rules if data.protocol else None,
        facts(data.provenance) if data.provenance else None,
    )


def _glossary() -> Markup:
    entries = (tag("li", tag("strong", word), f": {meaning}") for word, meaning in _GLOSSARY)
    return section("How to read this", tag("ul", entries))
