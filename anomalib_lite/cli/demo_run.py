"""The demo's steps; apart from `demo.py` so that the help stays quick.

The parts are drawn by this project's generator: the demo shows how the job is done, and says
nothing about real parts (docs/results.md does).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from anomalib_lite.cli.common import console
from anomalib_lite.cli.export import report_export
from anomalib_lite.cli.fit import report_fit
from anomalib_lite.cli.progress import progress_bar
from anomalib_lite.cli.run_file import run_record
from anomalib_lite.cli.score import score_to_folder
from anomalib_lite.data.adapters import open_dataset
from anomalib_lite.data.parts import write_dataset
from anomalib_lite.data.sample import Sample
from anomalib_lite.detector.detector import Detector
from anomalib_lite.edge.benchmark import measure
from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.edge.frames import read_frame
from anomalib_lite.edge.model import EdgeModel
from anomalib_lite.edge.overlay import encode_png
from anomalib_lite.edge.prediction import Prediction
from anomalib_lite.edge.promise import percent
from anomalib_lite.edge.sources import open_source
from anomalib_lite.metrics import auroc
from anomalib_lite.report.heatmaps import overlay
from anomalib_lite.report.production import production_report

# An aligned part and a texture have a Gaussian per place; a part that lies freely is compared with
# a bank of good patches from anywhere.
_PRODUCTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("flange", "padim", {}),
    ("weave", "padim", {}),
    ("tablet", "patchcore", {}),
)
_TRAIN, _TEST_GOOD, _PER_DEFECT = 110, 20, 3
_SHOWN = 3
_GAP = 6


@dataclass(frozen=True)
class DemoRow:
    """What the demo measured for one product."""

    product: str
    detector: str
    learnt: int
    good_rejected: str
    defects_found: str
    auroc: float
    promise: str
    frames_per_second: float


def run_demo(out: Path, seed: int) -> None:
    """Run the main job for each product and print what came out."""
    started = time.perf_counter()
    screen = console()
    rows, strips = [], []
    for product, name, settings in _PRODUCTS:
        screen.rule(product)
        row, strip = _run_product(out, product, name, settings, seed)
        rows.append(row)
        strips.append(strip)
    write_bytes_atomic(out / "overview.png", encode_png(np.concatenate(strips, axis=0)))
    screen.rule()
    screen.print(_table(rows))
    screen.print(
        f"pictures: [bold]{out / 'overview.png'}[/bold]; per product: detector, edge file, "
        f"results.jsonl, heat maps and report.html below [bold]{out}[/bold]; "
        f"{time.perf_counter() - started:.0f} s"
    )
    screen.print(
        "Drawn parts and the shipped backbone [bold]pdn_edge[/bold]: this shows how the job is "
        "done. Figures on real parts: docs/results.md"
    )


def _run_product(
    out: Path, product: str, name: str, settings: dict[str, Any], seed: int
) -> tuple[DemoRow, NDArray[np.uint8]]:
    folder, screen = out / product, console()
    with progress_bar() as progress:
        parts = write_dataset(
            out / "parts",
            product,
            seed=seed,
            train=_TRAIN,
            test_good=_TEST_GOOD,
            test_per_defect=_PER_DEFECT,
            progress=lambda done, total: progress("photographing parts", done, total),
        )
        detector = Detector(name, backbone="pdn_edge", seed=seed, **settings)
        detector.fit(parts / "train" / "good", progress=progress)
    detector.save(folder / "part.safetensors")
    report_fit(detector, folder / "part.safetensors")
    report_export(detector.export(folder / "part.onnx"))
    edge = EdgeModel(folder / "part.onnx")
    screen.print("self-test: this machine reproduces the fitted model on the probes in the file")
    source = open_source(parts / "test")
    files = ("results.jsonl", "heatmaps", "report.html")
    record = run_record(folder / "part.onnx", edge, source=source, files=files, options={})
    page = production_report(record.judge, edge, str(parts / "test"))
    counts = score_to_folder(edge, source, folder, record, heatmaps=True, batch=1, report=page)
    screen.print(f"scored {counts['scored']} frames into [bold]{folder / 'results.jsonl'}[/bold]")
    samples = open_dataset(f"mvtec:{out / 'parts'}:{product}").samples("test")
    judged = [(sample, edge.predict(sample.path)) for sample in samples]
    speed = measure(edge, repeats=30).frames_per_second
    return _judge(product, detector, judged, speed), _strip(edge, judged)


def _judge(
    product: str, detector: Detector, judged: list[tuple[Sample, Prediction]], speed: float
) -> DemoRow:
    labels = np.array([sample.label for sample, _ in judged])
    rejected = np.array([verdict.is_anomalous for _, verdict in judged])
    operating = detector.calibration.operating
    return DemoRow(
        product=product,
        detector=detector.scorer.name,
        learnt=detector.data.images,
        good_rejected=f"{int(rejected[labels == 0].sum())} of {int((labels == 0).sum())}",
        defects_found=f"{int(rejected[labels == 1].sum())} of {int((labels == 1).sum())}",
        auroc=auroc(np.array([verdict.score for _, verdict in judged]), labels),
        promise=f"{percent(operating.false_reject_rate)}, ≤ {percent(operating.upper_bound)}",
        frames_per_second=speed,
    )


def _strip(edge: EdgeModel, judged: list[tuple[Sample, Prediction]]) -> NDArray[np.uint8]:
    """A typical good part and the clearest find of a few defects, frame above heat map."""
    ranked = sorted(judged, key=lambda pair: -pair[1].score)
    goods = [pair for pair in ranked if not pair[0].label]
    good = goods[len(goods) // 2]
    best: dict[str, tuple[Sample, Prediction]] = {}
    for sample, verdict in ranked:
        if sample.label:
            best.setdefault(sample.defect, (sample, verdict))
    columns = []
    for sample, verdict in [good, *list(best.values())[:_SHOWN]]:
        frame = read_frame(sample.path)
        column = np.concatenate([frame, overlay(frame, verdict, edge.calibration)], axis=0)
        columns.append(
            cv2.copyMakeBorder(
                column, _GAP, _GAP, _GAP, _GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255)
            )
        )
    return np.concatenate(columns, axis=1)


def _table(rows: list[DemoRow]) -> Table:
    table = Table(
        title="What came out on the test parts",
        caption="rejected: good parts, of all good; found: defective parts, of all defective",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading in (
        "part",
        "detector",
        "learnt",
        "rejected",
        "promised",
        "found",
        "AUROC",
        "fps",
    ):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(
            row.product,
            row.detector,
            str(row.learnt),
            row.good_rejected,
            row.promise,
            row.defects_found,
            f"{row.auroc:.3f}",
            f"{row.frames_per_second:.0f}",
        )
    return table
