"""The page of a judged pool: what stands out, beside the images most like it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.edge.runs.scoring import ScoredFrame
from anomalib_lite.report.components import (
    Cell,
    card,
    cards,
    colour_key,
    colour_legend,
    facts,
    figure,
    gallery,
    hint,
    page,
    section,
    table,
    unreadable_list,
)
from anomalib_lite.report.html import Child, Markup, join, shorten, tag
from anomalib_lite.report.pictures import Picture, make_picture
from anomalib_lite.report.plots import UNLABELLED_BARS, ScoreRow, score_rows

if TYPE_CHECKING:
    from anomalib_lite.transductive.pool import PoolReport

MOST_SHOWN = 20
"""Images with a picture: the highest scores."""

NEIGHBOURS = 2
_MOST_ROWS = 200
_FIGURES = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "aupro": "AUPRO@0.3"}


class PoolPage:
    """Collects the pictures of a pool while its frames stream by; `write` when all were added.

    Args:
        report: the judged pool.
        title: heading of the page.
    """

    def __init__(self, report: PoolReport, title: str = "A pool judged by itself") -> None:
        self._report, self._title = report, title
        self._shown = report.ranking[:MOST_SHOWN]
        self._near = {row: report.neighbours(row, NEIGHBOURS) for row in self._shown}
        wanted = {*self._shown, *(other for near in self._near.values() for other in near)}
        self._wanted = {report.names[row]: row for row in wanted}
        self._pictures: dict[int, Picture] = {}

    def add(self, item: ScoredFrame) -> None:
        """Take a frame; only those that will be shown are kept, as small pictures."""
        row = self._wanted.get(item.name)
        if row is None or item.frame is None or item.prediction is None:
            return
        self._pictures[row] = make_picture(
            item.frame,
            item.prediction.network_map,
            spec=item.prediction.spec,
            colours=self._report.calibration.colours,
        )

    def html(self, figures: Mapping[str, Any] | None = None) -> str:
        """The page as text; `figures` are metrics where labels are known."""
        report = self._report
        body: list[Child] = [self._headline(figures), _advice(report), self._scores()]
        body += [self._gallery(), self._ranking()]
        if report.skipped:
            body.append(section("Not readable", unreadable_list(report.skipped)))
        body.append(section("How it was made", facts(report.facts)))
        lead = (
            f"{shorten(report.source)}. Protocol {report.facts['protocol']}: no image is known to "
            "be good; each is judged by the others, and its score means nothing outside this pool."
        )
        return page(self._title, lead, body)

    def write(self, path: Path, figures: Mapping[str, Any] | None = None) -> Path:
        """Write the page atomically; returns its path."""
        write_bytes_atomic(path, self.html(figures).encode("utf-8", "replace"))
        return path

    def _headline(self, figures: Mapping[str, Any] | None) -> Markup:
        report = self._report
        judges = f"Each judged by {report.scores.judges} others or more."
        shown = [
            card("Images", str(len(report.names)), judges, f"{len(report.skipped)} not readable."),
            card("Stand out", str(len(report.suspects)), "Adjusted p at most 0.05."),
        ]
        for name, words in _FIGURES.items():
            value = (figures or {}).get("metrics", {}).get(name)
            if value is not None:
                shown.append(card(words, f"{100 * value:.1f} %", "Labels were used only here."))
        return cards(shown)

    def _scores(self) -> Markup:
        scores = self._report.scores.image.astype(np.float64)
        note = f"{len(self._report.suspects)} of {scores.size} stand out"
        row = ScoreRow("this pool", scores, *UNLABELLED_BARS, note)
        return section(
            "Scores",
            colour_key([("good", "ordinary"), ("rejected", "stands out")]),
            score_rows([row], self._report.calibration.threshold, f"Score histogram: {note}"),
        )

    def _gallery(self) -> Markup:
        return section(
            "Most anomalous first, beside the most similar images",
            colour_legend("Here the threshold is the largest map value that does not stand out."),
            join(self._with_neighbours(row) for row in self._shown),
        )

    def _with_neighbours(self, row: int) -> Markup:
        own = figure(self._pictures.get(row), self._name(row), self._caption(row))
        near = [
            figure(
                self._pictures.get(other),
                self._name(other),
                [
                    f"most similar, no. {place} · score {self._report.scores.image[other]:.4g}",
                    tag("br"),
                    tag("span", self._name(other), class_="file"),
                ],
            )
            for place, other in enumerate(self._near[row], 1)
        ]
        return gallery([own, *near])

    def _caption(self, row: int) -> list[Child]:
        oddness = self._report.oddness
        words = "stands out" if oddness.weight[row] == 0 else "ordinary or doubtful"
        return [
            tag("strong", words),
            f" · score {self._report.scores.image[row]:.4g}",
            f" · robust z {oddness.robust_z[row]:z.1f}",
            tag("br"),
            tag("span", self._name(row), class_="file"),
        ]

    def _ranking(self) -> Markup:
        report = self._report
        rows = [
            [
                Cell(self._name(row)),
                Cell(f"{report.scores.image[row]:.4g}", float(report.scores.image[row])),
                Cell(f"{report.scores.map_peak[row]:.4g}", float(report.scores.map_peak[row])),
                Cell(f"{report.oddness.robust_z[row]:z.1f}", float(report.oddness.robust_z[row])),
                Cell(f"{report.oddness.p_value[row]:.2g}", float(report.oddness.p_value[row])),
            ]
            for row in report.ranking[:_MOST_ROWS]
        ]
        left = len(report.names) - len(rows)
        return section(
            "Ranking",
            table(["image", "score", "largest of map", "robust z", "adjusted p"], rows),
            tag("p", f"and {left} more: see the .json file", class_="note") if left else None,
        )

    def _name(self, row: int) -> str:
        return shorten(self._report.names[row])


def _advice(report: PoolReport) -> Markup:
    if not report.suspects:
        return hint(
            "No image stands out",
            "Look at the first of the ranking all the same: a defect that many images share does "
            "not stand out of its pool.",
        )
    return hint(
        "Look at what stands out",
        "Rare is not the same as bad, and common is not the same as good: a good part of a rare "
        "kind stands out, a defect that many images share does not. Only a person can tell.",
        "bad",
    )
