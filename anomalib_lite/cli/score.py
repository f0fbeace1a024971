"""`anomalib-lite score`: judge frames, one JSON object a frame."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, cast

import typer

from anomalib_lite.cli.common import UNUSABLE, bold, console, open_model
from anomalib_lite.cli.grouped import grouped
from anomalib_lite.cli.options import (
    OUTPUT,
    RUN,
    THRESHOLD,
    EngineOption,
    EngineSettings,
    Heatmaps,
    ModelFile,
    Spinning,
    Threads,
)
from anomalib_lite.cli.progress import progress_bar
from anomalib_lite.cli.reading import Files
from anomalib_lite.cli.trust import Trust

if TYPE_CHECKING:
    from anomalib_lite.detector.explainer import Explainer
    from anomalib_lite.edge.runs.run_record import RunRecord
    from anomalib_lite.edge.runs.scoring import Model, ScoredFrame
    from anomalib_lite.edge.sources import Source
    from anomalib_lite.report.production import ProductionReport

_MOST_WAITING = 4
"""Judged frames that may wait to be written, in memory with their pictures."""


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
    engine_option: EngineSettings = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar="",
            help="Go on after the last frame of a run that was stopped in OUT; same model, source "
            "and options.",
            rich_help_panel=RUN,
        ),
    ] = False,
    threads: Threads = None,
    allow_spinning: Spinning = True,
) -> None:
    """Score frames into OUT/results.jsonl; unreadable frames are listed and give exit status 3."""
    from anomalib_lite.cli.run_file import run_record
    from anomalib_lite.edge.products import StatedProduct
    from anomalib_lite.report.production import production_report

    written.check(model, out)
    trust.check(model)
    opened = open_model(
        model,
        max_false_reject=max_false_reject,
        engine=engine,
        threads=threads,
        allow_spinning=allow_spinning,
        engine_settings=engine_option,
    )
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
    counts = score_to_folder(
        judge,
        frames,
        out,
        record,
        heatmaps=written.heatmaps,
        batch=batch,
        report=page,
        explainer=explainer,
        resume=resume,
    )
    console().print(
        f"{bold(out / 'results.jsonl')}: {counts['scored']} frames, "
        f"{counts['anomalous']} anomalous, {counts['unreadable']} unreadable "
        f"({counts['per_second']:.1f} frames/s)"
    )
    if record.first_unreadable:
        console(stderr=True).print(
            f"unreadable, the first: {record.first_unreadable}", markup=False
        )
    if counts["unreadable"] or counts["lost"]:
        raise typer.Exit(UNUSABLE)


def _frames(model: Model, source: str, files: Files) -> Source:
    """The frames of SOURCE; of a model that sees more than pictures, views of a folder each."""
    from anomalib_lite.edge.source_kinds.paired_source import PairedSource, named_folders

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
    resume: bool = False,
) -> dict[str, float]:
    """Write `results.jsonl` (and pictures) as frames come, then `report.html` and `run.json`.

    Args:
        model: judges.
        source: frames.
        out: folder that the run owns.
        record: counts frames; is written last.
        heatmaps: whether a picture a frame is drawn.
        batch: frames in one inference.
        report: filled, and written whatever ends the run; or None.
        explainer: finds reasons for rejected frames, or None.
        resume: go on with the run that was interrupted in `out`.

    Returns:
        `scored`, `anomalous`, `unreadable`, `lost` (pictures and reports that could not be
        written) and `per_second`.
    """
    from anomalib_lite.cli.results_file import results_file
    from anomalib_lite.cli.run_ending import RunEnding
    from anomalib_lite.edge.runs.behind import Behind
    from anomalib_lite.edge.runs.scoring import score_source
    from anomalib_lite.edge.source_kinds.resumed import resumed
    from anomalib_lite.report.side_outputs import SideOutputs

    side = SideOutputs(out, source.name, model.calibration, heatmaps=heatmaps, explainer=explainer)
    ending = RunEnding(out, record, report, side)
    with (
        results_file(
            out, record.identity(), resume=resume, batch=batch, conclude=ending
        ) as results,
        progress_bar() as progress,
    ):
        names = ending.replay(results, model.spec)
        started, before = time.perf_counter(), record.counts["scored"]

        def write(item: ScoredFrame) -> None:
            drawn, pairs = side.of(item)
            results.write({**record.line(item), **drawn})
            ending.report(item, pairs)

        # Explaining runs the detector's own network, which one thread at a time may do.
        waiting = 0 if explainer is not None else _MOST_WAITING
        with Behind(write, most=waiting) as writer:
            judged = score_source(model, resumed(source, names), batch=batch)
            for done, item in enumerate(judged, start=1 + len(names)):
                writer.put(item)
                progress("scoring frames", done, len(source))
        elapsed = time.perf_counter() - started
    if side.failed:
        console(stderr=True).print(side.explain(), style="red", markup=False)
    per_second = (record.counts["scored"] - before) / elapsed
    return {**record.counts, "lost": side.failed, "per_second": per_second}


def _explainer(opened: Model, good: Path | None) -> Explainer:
    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.detector.explainer import Explainer

    return Explainer(cast(Detector, opened), good)
