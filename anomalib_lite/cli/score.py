"""`anomalib-lite score`: judge frames, one JSON object a frame."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, ClassVar, cast

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
from anomalib_lite.cli.trust import Trust

if TYPE_CHECKING:
    from anomalib_lite.detector.explainer import Evidence, Explainer
    from anomalib_lite.edge.run_record import RunRecord
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
    timestamps: Annotated[
        bool,
        typer.Option(
            "--timestamps",
            metavar="",
            help="Say in each line of results.jsonl when the frame was judged; a camera's lines "
            "always do.",
        ),
    ] = False
    good: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="With --explain: folder of the good images, for full-size pictures.",
        ),
    ] = None

    def files(self) -> tuple[str, ...]:
        """What a run writes into its folder."""
        wanted = {
            "results.jsonl": True,
            "heatmaps": self.heatmaps,
            "explanations": self.explain,
            "report.html": self.report,
        }
        return tuple(name for name, written in wanted.items() if written)

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
    trust: Trust,
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
    from anomalib_lite.cli.run_file import run_record
    from anomalib_lite.edge.products import StatedProduct
    from anomalib_lite.report.production import production_report

    written.check(model, out)
    trust.check(model)
    opened = open_model(model, max_false_reject=max_false_reject, engine=engine, threads=threads)
    explainer = _explainer(opened, written.good) if written.explain else None
    judge = opened if product is None else StatedProduct(opened, product)
    frames = _frames(opened, source, files)
    record = run_record(
        model,
        opened,
        source=frames,
        files=written.files(),
        product=product,
        timestamps=written.timestamps,
        options={
            "max_false_reject": max_false_reject,
            "product": product,
            "batch": batch,
            "engine": engine,
            "threads": threads,
            **asdict(files),
            **asdict(written),
        },
    )
    page = production_report(record.judge, judge, source) if written.report else None
    with _report(page, out):
        counts = score_to_folder(
            judge,
            frames,
            out,
            record,
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
    record: RunRecord,
    *,
    heatmaps: bool,
    batch: int,
    report: ProductionReport | None = None,
    explainer: Explainer | None = None,
) -> dict[str, float]:
    """Write `results.jsonl` (and heat maps) as frames come, then `run.json`; fill `report`.

    Returns:
        `scored`, `anomalous`, `unreadable` and `per_second`.
    """
    from anomalib_lite.edge.scoring import score_source
    from anomalib_lite.report.heatmaps import write_heatmap

    started = time.perf_counter()
    with _results(out, record) as results, progress_bar() as progress:
        for item in score_source(model, source, batch=batch):
            line = record.line(item)
            pairs: list[PairPicture] = []
            if explainer is not None:
                line["explanations"], pairs = _explained(explainer, item, out, source.name)
            results.write(json.dumps(line) + "\n")
            results.flush()
            if report is not None:
                report.add(item, pairs)
            if heatmaps and item.prediction is not None and item.frame is not None:
                write_heatmap(out / "heatmaps", item, model.calibration, source.name)
            seen = record.counts["scored"] + record.counts["unreadable"]
            progress("scoring frames", seen, len(source))
    per_second = record.counts["scored"] / (time.perf_counter() - started)
    return {**record.counts, "per_second": per_second}


def _explainer(opened: Model, good: Path | None) -> Explainer:
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
def _results(folder: Path, record: RunRecord) -> Iterator[IO[str]]:
    """`results.jsonl`, complete lines only, and its record: both survive Ctrl-C and errors."""
    from anomalib_lite.cli.run_file import ended
    from anomalib_lite.edge.errors import AnomalibLiteError

    partial, final = folder / "results.jsonl.part", folder / "results.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("w") as stream, ended(record, folder):
            try:
                yield stream
            finally:
                stream.flush()
                os.replace(partial, final)
    except OSError as error:
        raise AnomalibLiteError(
            f"cannot write {final}: {error.strerror}; lines already written are complete"
        ) from error
