"""`anomalib-lite score`: judge frames, one JSON object a frame."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from anomalib_lite.cli.common import console, open_model, progress_bar

if TYPE_CHECKING:
    from anomalib_lite.edge.scoring import Model
    from anomalib_lite.edge.sources import Source
    from anomalib_lite.report.production import ProductionReport

UNREADABLE = 3


def score(
    model: Annotated[Path, typer.Argument(help="Edge file (.onnx) or detector (.safetensors).")],
    source: Annotated[
        str, typer.Argument(help="Folder (with subfolders), glob, image, video or camera:N.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for results.jsonl and heat maps.")],
    heatmaps: Annotated[
        bool, typer.Option("--heatmaps", help="Write a picture with the heat map per frame.")
    ] = False,
    report: Annotated[
        bool,
        typer.Option(
            "--report", help="Write report.html: counts, drift, rejected frames; for production."
        ),
    ] = False,
    batch: Annotated[int, typer.Option(help="Frames in one inference.", min=1, max=256)] = 1,
    max_false_reject: Annotated[
        float | None,
        typer.Option(help="Another false-reject rate than the stored one."),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="onnxruntime, cuda, openvino or openvino-bf16.")
    ] = "onnxruntime",
) -> None:
    """Score frames into OUT/results.jsonl; unreadable frames are listed and give exit status 3."""
    from anomalib_lite.edge.sources import open_source

    opened = open_model(model, max_false_reject=max_false_reject, engine=engine)
    frames = open_source(source, recursive=True, exif=opened.spec.exif)
    with _report(production_report(model, opened, source) if report else None, out) as page:
        counts = score_to_folder(opened, frames, out, heatmaps=heatmaps, batch=batch, report=page)
    console().print(
        f"[bold]{out / 'results.jsonl'}[/bold]: {counts['scored']} frames, "
        f"{counts['anomalous']} anomalous, {counts['unreadable']} unreadable "
        f"({counts['per_second']:.1f} frames/s)"
    )
    if counts["unreadable"]:
        raise typer.Exit(UNREADABLE)


def score_to_folder(
    model: Model,
    source: Source,
    out: Path,
    *,
    heatmaps: bool,
    batch: int,
    report: ProductionReport | None = None,
) -> dict[str, float]:
    """Write `results.jsonl` (and heat maps) as frames come, fill `report`; returns counts."""
    from anomalib_lite.edge.scoring import score_source
    from anomalib_lite.report.heatmaps import write_heatmap

    scored = anomalous = unreadable = 0
    started = time.perf_counter()
    with _results(out) as results, progress_bar() as progress:
        for item in score_source(model, source, batch=batch):
            results.write(json.dumps(item.to_dict()) + "\n")
            results.flush()
            if report is not None:
                report.add(item)
            if item.prediction is None:
                unreadable += 1
            else:
                scored += 1
                anomalous += item.prediction.is_anomalous
                if heatmaps and item.frame is not None:
                    write_heatmap(out / "heatmaps", item, model.calibration, source.name)
            progress("scoring frames", scored + unreadable, len(source))
    elapsed = time.perf_counter() - started
    return {
        "scored": scored,
        "anomalous": anomalous,
        "unreadable": unreadable,
        "per_second": scored / elapsed,
    }


def production_report(file: Path, model: Model, source: str) -> ProductionReport:
    """An empty production report that knows its model."""
    from anomalib_lite.cli.info import describe
    from anomalib_lite.edge.files import sha256_file
    from anomalib_lite.report.production import ProductionReport

    description = describe(file)
    about, calibration = description["about"], model.calibration
    return ProductionReport(
        calibration,
        model.spec,
        source=source,
        model=f"{about['detector']['name']} on {about['backbone']['name']}",
        provenance={
            "file": str(file),
            "file sha256": sha256_file(file),
            "threshold": calibration.threshold,
            "map threshold": calibration.map_threshold,
            "false rejects": calibration.operating.explain(),
            "calibration": calibration.method,
            **about,
        },
    )


@contextmanager
def _report(report: ProductionReport | None, folder: Path) -> Iterator[ProductionReport | None]:
    """`report.html`, if wanted, written whatever happens: a camera is stopped by Ctrl-C."""
    try:
        yield report
    finally:
        if report is not None:
            report.write(folder / "report.html")


@contextmanager
def _results(folder: Path) -> Iterator[IO[str]]:
    """`results.jsonl`, complete lines only: what was computed survives Ctrl-C and errors."""
    from anomalib_lite.edge.errors import AnomalibLiteError

    partial, final = folder / "results.jsonl.part", folder / "results.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("w") as stream:
            try:
                yield stream
            finally:
                stream.flush()
                os.replace(partial, final)
    except OSError as error:
        raise AnomalibLiteError(
            f"cannot write {final}: {error.strerror}; lines already written are complete"
        ) from error
