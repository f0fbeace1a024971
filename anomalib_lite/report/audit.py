"""The page of a training-set audit: the images that stand out, with heat maps, and the ranking."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.edge.sources import Source
from anomalib_lite.report.components import (
    Cell,
    card,
    cards,
    colour_legend,
    figure,
    gallery,
    hint,
    page,
    section,
    table,
    unreadable_list,
)
from anomalib_lite.report.html import Child, Markup, shorten, tag
from anomalib_lite.report.pictures import Picture, make_picture
from anomalib_lite.statistics.outliers import EXCLUDED

if TYPE_CHECKING:
    from anomalib_lite.curation.model_audit import AuditEntry, AuditReport

MOST_PICTURES = 40
_MOST_ROWS = 200


def write_audit(report: AuditReport, source: Source, path: str | Path) -> Path:
    """Write a self-contained HTML page; returns its path.

    Args:
        report: what the audit found.
        source: where its images come from, for the pictures.
        path: the file.
    """
    write_bytes_atomic(path, render_audit(report, source).encode("utf-8", "replace"))
    return Path(path)


def render_audit(report: AuditReport, source: Source) -> str:
    """The page as HTML text."""
    shown = [entry for entry in report.entries if not entry.trusted][:MOST_PICTURES]
    body: list[Child] = [_headline(report), _advice(report), _gallery(report, source, shown)]
    rows = [
        [
            Cell(shorten(entry.name)),
            Cell(f"{entry.score:.4g}", entry.score),
            Cell(f"{entry.robust_z:z.1f}", entry.robust_z),
            Cell(f"{entry.p_value:.2g}", entry.p_value),
            Cell(f"{entry.weight:.2f}", entry.weight),
        ]
        for entry in report.entries[:_MOST_ROWS]
    ]
    left = len(report.entries) - len(rows)
    body.append(
        section(
            "Most anomalous first",
            table(["image", "score", "robust z", "adjusted p", "weight"], rows),
            tag("p", f"and {left} more: see the .json file", class_="note") if left else None,
        )
    )
    if report.skipped:
        body.append(section("Not readable", unreadable_list(report.skipped)))
    lead = f"{shorten(report.source)}: {report.how}."
    return page("Audit of the training images", lead, body)


def _headline(report: AuditReport) -> Markup:
    doubtful = sum(0 < entry.weight < 1 for entry in report.entries)
    return cards(
        [
            card("Images", str(len(report.entries)), f"{len(report.skipped)} not readable."),
            card("Suspects", str(len(report.suspects)), f"Adjusted p at most {EXCLUDED}."),
            card("Doubtful", str(doubtful), "They stand out, but chance may explain them."),
        ]
    )


def _advice(report: AuditReport) -> Markup:
    if not report.suspects:
        return hint("No image stands out", "Look at the first of the ranking all the same.", "fine")
    return hint(
        "Look at the suspects",
        "A suspect is rare, which is not the same as bad: a good part of a rare kind belongs in "
        "the training set, a defective or wrongly placed one does not. Only a person can tell.",
        "bad",
    )


def _gallery(report: AuditReport, source: Source, shown: list[AuditEntry]) -> Markup | None:
    if not shown:
        return None
    pictures = _pictures(report, source, shown)
    painted = any(picture is not None and picture.heat for picture in pictures.values())
    return section(
        report.apart,
        colour_legend() if painted else None,
        gallery(_figure(entry, pictures.get(entry.position)) for entry in shown),
    )


def _pictures(
    report: AuditReport, source: Source, shown: list[AuditEntry]
) -> dict[int, Picture | None]:
    """Pictures by index of the image; None where a frame cannot be read any more."""
    pictures: dict[int, Picture | None] = {}
    indices = sorted(entry.position for entry in shown)
    for index, item in zip(indices, report.results(source, shown), strict=True):
        if item.frame is None or item.prediction is None:
            pictures[index] = None
            continue
        pictures[index] = make_picture(
            item.frame,
            item.prediction.network_map if report.localises else None,
            spec=item.prediction.spec,
            colours=report.calibration.colours,
        )
    return pictures


def _figure(entry: AuditEntry, picture: Picture | None) -> Markup:
    name = shorten(entry.name)
    caption: list[Child] = [
        tag("strong", "suspect" if entry.weight == 0 else "doubtful"),
        f" · score {entry.score:.4g} · robust z {entry.robust_z:z.1f}",
        f" · adjusted p\u00a0=\u00a0{entry.p_value:.2g}",
        tag("br"),
        tag("span", name, class_="file"),
    ]
    return figure(picture, name, caption)
