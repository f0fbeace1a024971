"""`anomalib-lite score`: judge frames, one JSON object a frame."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from anomalib_lite.cli.common import UNUSABLE, bold, console, open_model
from anomalib_lite.cli.grouped import grouped
from anomalib_lite.cli.options import (
    OUTPUT,
    RUN,
    THRESHOLD,
    EngineOption,
    Heatmaps,
    ModelFile,
    Threads,
)
from anomalib_lite.cli.progress import progress_bar
from anomalib_lite.cli.reading import Files

if TYPE_CHECKING:
    from anomalib_lite.detector.explainer import Evidence, Explainer
    from anomalib_lite.edge.scoring import Model, ScoredFrame
    from anomalib_lite.edge.sources import Source
    from anomalib_lite.report.explain import PairPicture
    from anomalib_lite.report.production import ProductionReport


@dataclass(frozen=True, kw_only=True)
class Written:
    """What is written beside `results.jsonl`."""

    panel: ClassVar[str] = OUTPUT
    heatmaps: Heatmaps = False
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            metavar="",
            help="Write report.html: counts, drift, rejected frames; for production.",
        ),
    ] = False
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            metavar="",
            help="For each region of a rejected frame the nearest good patch, side by side "
            "(OUT/explanations, results.jsonl, report); needs the .safetensors of a bank.",
        ),
    ] = False
    good: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="With --explain: folder of the good images, for full-size pictures.",
        ),
    ] = None

    def check(self, model: Path, out: Path) -> None:
        """Raise `SettingsError` where options do not go together, or with the model."""
        from anomalib_lite.edge.errors import SettingsError

        if out.exists() and not out.is_dir():
            raise SettingsError(f"--out {out}: is a file; name a folder")
        if self.explain and model.suffix == ".onnx":
            raise SettingsError(
                f"{model}: an edge file holds no good images to explain with; give the "
                ".safetensors that it was exported from"
            )
        if self.good is not None and not self.explain:
            raise SettingsError("--good is for --explain; add it, or leave --good out")
        if self.good is not None and not self.good.is_dir():
            raise SettingsError(f"--good {self.good}: no such folder; give that of the good images")


@grouped
def score(
    model: ModelFile,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="Folder (with subfolders), glob, image, video or camera:N."
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for results.jsonl and heat maps.")
    ],
    written: Written,
    files: Files,
    max_false_reject: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Another false-reject rate than the stored one, between 0 and 1.",
            rich_help_panel=THRESHOLD,
        ),
    ] = None,
    product: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which product the frames show, for a model of several.",
            rich_help_panel=THRESHOLD,
        ),
    ] = None,
    batch: Annotated[
        int,
        typer.Option(
            metavar="N", help="Frames in one inference.", min=1, max=256, rich_help_panel=RUN
        ),
    ] = 1,
    engine: EngineOption = None,
    threads: Threads = None,
) -> None:
    """Score frames into OUT/results.jsonl; unreadable frames are listed and give exit status 3."""
    from anomalib_lite.edge.products import StatedProduct

    written.check(model, out)
    opened = open_model(model, max_false_reject=max_false_reject, engine=engine, threads=threads)
    explainer = _explainer(opened, written.good) if written.explain else None
    judge = opened if product is None else StatedProduct(opened, product)
    frames = _frames(opened, source, files)
    with _report(production_report(model, judge, source) if written.report else None, out) as page:
        counts = score_to_folder(
            judge,
            frames,
            out,
            heatmaps=written.heatmaps,
            batch=batch,
            report=page,
            explainer=explainer,
        )
    console().print(
        f"{bold(out / 'results.jsonl')}: {counts['scored']} frames, "
        f"{counts['anomalous']} anomalous, {counts['unreadable']} unreadable "
        f"({counts['per_second']:.1f} frames/s)"
    )
    if counts["unreadable"]:
        raise typer.Exit(UNUSABLE)


def _frames(model: Model, source: str, files: Files) -> Source:
    """The frames of SOURCE; of a model that sees more than pictures, views of a folder each."""
    from anomalib_lite.edge.paired_source import PairedSource, named_folders

    if model.inputs.measured:
        return PairedSource(named_folders(source, model.inputs), model.inputs)
    return files.reading(model.spec.exif).open(source)


def score_to_folder(
    model: Model,
    source: Source,
    out: Path,
    *,
    heatmaps: bool,
    batch: int,
    report: ProductionReport | None = None,
    explainer: Explainer | None = None,
) -> dict[str, float]:
    """Write `results.jsonl` (and heat maps) as frames come, fill `report`; returns counts."""
    from anomalib_lite.edge.scoring import score_source
    from anomalib_lite.report.heatmaps import write_heatmap

    scored = anomalous = unreadable = 0
    started = time.perf_counter()
    with _results(out) as results, progress_bar() as progress:
        for item in score_source(model, source, batch=batch):
            line = item.to_dict()
            pairs: list[PairPicture] = []
            if explainer is not None:
                line["explanations"], pairs = _explained(explainer, item, out, source.name)
            results.write(json.dumps(line) + "\n")
            results.flush()
            if report is not None:
                report.add(item, pairs)
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


def _explainer(opened: Model, good: Path | None) -> Explainer:
    from typing import cast

    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.detector.explainer import Explainer

    return Explainer(cast(Detector, opened), good)


def _explained(
    explainer: Explainer, item: ScoredFrame, out: Path, source_name: str
) -> tuple[list[dict[str, Any]], list[PairPicture]]:
    """What `results.jsonl` says of a rejected frame, and the pictures, written to `out`."""
    from anomalib_lite.report.explain import draw_pair, write_pairs

    if item.frame is None or item.prediction is None or not item.prediction.is_anomalous:
        return [], []
    found: list[Evidence] = explainer.explain(item.frame, item.prediction)
    depth = item.prediction.spec.bit_depth
    pairs = [draw_pair(evidence, item.frame, depth) for evidence in found]
    paths = write_pairs(out / "explanations", item, pairs, source_name)
    lines = [
        {**evidence.to_dict(item.prediction.frame_hw), "picture": str(path.relative_to(out))}
        for evidence, path in zip(found, paths, strict=True)
    ]
    return lines, pairs


def production_report(file: Path, model: Model, source: str) -> ProductionReport:
    """An empty production report that knows its model."""
    from anomalib_lite.edge.describe import describe_file
    from anomalib_lite.edge.files import sha256_file
    from anomalib_lite.report.production import ProductionReport

    description = describe_file(file)
    about, calibration = description["about"], model.calibration
    return ProductionReport(
        calibration,
        model.spec,
        source=source,
        model=f"{about['detector']['name']} on {about['backbone']['name']}"
        + (f" ({model.protocol})" if model.protocol else ""),
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
            from anomalib_lite.report.production_page import write_production

            write_production(report, folder / "report.html")


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
