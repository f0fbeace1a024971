"""Small reports to test with, and a reader for what they look like."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import numpy as np

from anomalib_lite.edge.calibration import Calibration, Operating
from anomalib_lite.edge.colour_scale import ColourScale
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.metrics import auroc, average_precision
from anomalib_lite.report.data import CurveData, Example, Part, Run
from anomalib_lite.report.pictures import Picture, make_picture

NASTY = '<script>alert("x")</script><img src=x onerror=y>.png'
SPEC = InputSpec(height=64, width=64)
VOID = {"br", "img", "meta"}


@dataclass
class Page(HTMLParser):
    """What a browser would find in a page."""

    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: str = ""
    open_tags: list[str] = field(default_factory=list)
    cells: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    @classmethod
    def of(cls, html: str) -> Page:
        page = cls()
        page.feed(html)
        page.close()
        page.text = re.sub(r"\s+", " ", page.text.replace("\u00a0", " "))
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open_tags.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th") and self.cells:
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open_tags and self.open_tags[-1] in ("script", "style"):
            return
        self.text += data + " "
        if self.cells and {"td", "th"} & set(self.open_tags):
            self.cells[-1][-1] += data.replace("\u00a0", " ")

    def all(self, name: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag == name]

    def row(self, first: str) -> list[str]:
        return next(row for row in self.cells if row and row[0] == first)


def part(name: str, label: int, defect: str, score: float, threshold: float = 1.0) -> Part:
    return Part(name, label, defect, score, 0.5, score > threshold)


def picture(seed: int = 0, size: int = 48) -> Picture:
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, (size, size, 3), np.uint8)
    network_map = rng.random((8, 8), np.float32) * 2
    return make_picture(frame, network_map, spec=SPEC, colours=ColourScale(1.0))


PARTS = (
    part("good/0.png", 0, "good", 0.2),
    part("good/1.png", 0, "good", 0.4),
    part("good/2.png", 0, "good", 0.6),
    part("good/3.png", 0, "good", 1.3),
    part("dent/0.png", 1, "dent", 2.0),
    part("dent/1.png", 1, "dent", 0.7),
    part(NASTY, 1, "scratch", 3.0),
)


def run(parts: tuple[Part, ...] = PARTS, **changes: Any) -> Run:
    scores, labels = [p.score for p in parts], [p.label for p in parts]
    both = len(set(labels)) == 2
    metrics: dict[str, float | None] = {
        "image_auroc": auroc(scores, labels) if both else None,
        "image_average_precision": average_precision(scores, labels) if both else None,
        "aupro": 0.87654 if both else None,
        "pixel_auroc": None,
    }
    good = sorted((p for p in parts if not p.label), key=lambda p: -p.score)
    bad = sorted((p for p in parts if p.label), key=lambda p: p.score)
    fields: dict[str, Any] = {
        "key": "k",
        "data": "folder:thing",
        "detector": "padim",
        "backbone": "filters",
        "seed": 0,
        "operating": Operating(1.0, 0.01, 0.01, 99),
        "parts": parts,
        "metrics": metrics,
        "reasons": {"pixel_auroc": "no test image has a mask"},
        "curves": {"pro": CurveData((0.0, 0.1, 0.3), (0.0, 0.8, 1.0))},
        "false_rejects": tuple(Example(p, picture(1)) for p in good[:2]),
        "misses": tuple(Example(p, picture(2)) for p in bad[:2]),
        "timing": {"fit_seconds": 2.5, "latency_ms_batch_1": 12.5},
        "provenance": {"detector": {"name": "padim"}},
    }
    return Run(**{**fields, **changes})


def calibration(count: int = 60, seed: int = 0) -> Calibration:
    scores = np.random.default_rng(seed).normal(1.0, 0.1, count)
    return Calibration.from_scores(scores, scores, max_false_reject=0.05, method="holdout")
