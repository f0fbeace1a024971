"""`anomalib-lite tune`: the best detector for these images that this machine computes in time."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalib_lite.cli.common import UNUSABLE, bold, console
from anomalib_lite.cli.grouped import grouped
from anomalib_lite.cli.options import (
    OUTPUT,
    Device,
    Frames,
    GroupBy,
    MaxFalseReject,
    Seed,
    Threads,
)
from anomalib_lite.cli.progress import progress_bar
from anomalib_lite.cli.reading import Files
from anomalib_lite.cli.tune_options import Axes, Budget

if TYPE_CHECKING:
    from anomalib_lite.data.sample import Sample
    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.edge.sources import Source
    from anomalib_lite.tuning.grid import Grid
    from anomalib_lite.tuning.search import Entry, Tuning
    from anomalib_lite.tuning.trials import Bench


@grouped
def tune(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Good images: a folder, a glob, a video.")
    ],
    budget: Budget,
    axes: Axes,
    frames: Frames,
    files: Files,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="For part.onnx, part.safetensors, tune.json, tune.md and report.html.",
            rich_help_panel=OUTPUT,
        ),
    ] = Path("tuned"),
    labelled: Annotated[
        str | None,
        typer.Option(
            metavar="KIND:PATH",
            help="Labelled images to judge by in place of simulated defects, kind:path:category. "
            "See anomalib-lite datasets.",
            rich_help_panel="What is judged by",
        ),
    ] = None,
    max_false_reject: MaxFalseReject = 0.01,
    group_by: GroupBy = "auto",
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Find the best detector for good images that this machine computes within a budget.

    Tries detectors, backbones and input sizes on few images, times the exported files, tries the
    better half on more, fits the winner on all images and exports it. No defect images are needed.
    """
    from anomalib_lite.edge.runs.ownership import owned
    from anomalib_lite.system.threads import use_threads

    budget.check()
    use_threads(threads)
    started = time.monotonic()
    opened = files.reading(frames.exif).open_good(source)
    bench, grid = _bench(opened, axes, frames, labelled, group_by, seed, device)
    with owned(out):
        tuning = _search(bench, grid, out, budget, budget.until(started), threads)
        _write(tuning, opened.name, out)
        best = _require_best(tuning)
        fitted = _fit(
            best, bench, opened, group_by=group_by, max_false_reject=max_false_reject, out=out
        )
    _tell(best, out)
    if fitted.data.skipped:
        raise typer.Exit(UNUSABLE)


def _bench(
    source: Source,
    axes: Axes,
    frames: Frames,
    labelled: str | None,
    group_by: str,
    seed: int,
    device: str,
) -> tuple[Bench, Grid]:
    """What the trials share, and what is tried."""
    from anomalib_lite.tuning.good_frames import look_at_sizes, read_good_frames
    from anomalib_lite.tuning.halving import RUNG_IMAGES
    from anomalib_lite.tuning.held_out import MOST_HELD_OUT
    from anomalib_lite.tuning.trials import Bench

    samples = () if labelled is None else _labelled(labelled)
    frame_hw, same_aspect = look_at_sizes(source)
    grid = axes.grid(frame_hw, same_aspect=same_aspect)
    largest = max(grid.sizes, key=lambda size: size[0] * size[1])
    with progress_bar() as progress:
        progress("reading good images", 0, 0)
        good = read_good_frames(
            source, frames.spec(largest), most=RUNG_IMAGES[-1] + MOST_HELD_OUT, group_by=group_by
        )
    return Bench(good, frames.spec, largest, samples, axes.weights, device, seed), grid


def _labelled(spec: str) -> Sequence[Sample]:
    from anomalib_lite.data.adapters import open_dataset
    from anomalib_lite.edge.errors import SourceError

    samples = tuple(open_dataset(spec).samples("test"))
    if len({sample.label for sample in samples}) < 2:
        raise SourceError(f"{spec}: has no good or no defective test images to judge by")
    return samples


def _search(
    bench: Bench, grid: Grid, out: Path, budget: Budget, until: float, threads: int | None
) -> Tuning:
    from anomalib_lite.system.versions import installed_versions
    from anomalib_lite.tuning.search import search
    from anomalib_lite.tuning.trial_store import TrialStore

    configurations = grid.configurations()
    settings = {
        "grid": [item.to_dict() for item in configurations],
        "engines": list(grid.engines),
        "good_images": bench.fingerprint,
        "labelled": [str(sample.path) for sample in bench.labelled],
        "seed": bench.seed,
        "versions": installed_versions(),
    }
    store = TrialStore(out, settings, resume=budget.resume)
    with progress_bar() as progress:
        return search(
            bench,
            configurations,
            grid.engines,
            store,
            budget_ms=budget.budget_ms,
            until=until,
            threads=threads,
            progress=progress,
        )


def _write(tuning: Tuning, name: str, out: Path) -> None:
    """`tune.json`, `tune.md` and the page; the table goes to the screen, too."""
    from rich.table import Table

    from anomalib_lite.edge.files import write_bytes_atomic
    from anomalib_lite.report.components import NO_VALUE
    from anomalib_lite.report.tuning import HEADS, markdown, table_rows, write_tuning

    text = json.dumps(tuning.to_dict(), indent=1, allow_nan=False)
    write_bytes_atomic(out / "tune.json", (text + "\n").encode())
    write_bytes_atomic(out / "tune.md", markdown(tuning).encode())
    write_tuning(tuning, name, out / "report.html")
    rows = [[words for words, _ in row] for row in table_rows(tuning)]
    told = [number for number in range(len(HEADS)) if {row[number] for row in rows} != {NO_VALUE}]
    table = Table()
    for number in told:
        table.add_column(HEADS[number], overflow="fold")
    for row in rows:
        table.add_row(*(row[number] for number in told))
    console().print(table)
    for entry in tuning.entries:
        if entry.failed:
            console(stderr=True).print(
                f"{entry.configuration.words}: {entry.failed}", style="yellow", markup=False
            )


def _require_best(tuning: Tuning) -> Entry:
    from anomalib_lite.edge.errors import SettingsError

    best, quickest = tuning.best, tuning.quickest
    if best is None:
        raise SettingsError(
            f"nothing takes {tuning.budget_ms:g} ms or less on this machine; the quickest is "
            f"{quickest.configuration.words} with {quickest.quickest_ms:.2f} ms in "
            f"{quickest.engine}; --resume with a larger --budget-ms keeps what was tried"
        )
    return best


def _fit(
    best: Entry,
    bench: Bench,
    source: Source,
    *,
    group_by: str,
    max_false_reject: float,
    out: Path,
) -> Detector:
    """Fit the winner on all images, calibrate, save and export behind the parity gate."""
    from anomalib_lite.cli.export import report_export
    from anomalib_lite.cli.fit import report_fit

    wanted = best.configuration
    fitted = wanted.create(
        weights=bench.weights,
        image_size=bench.spec_at(wanted.size_hw),
        max_false_reject=max_false_reject,
        seed=bench.seed,
        device=bench.device,
    )
    with progress_bar() as progress:
        fitted.fit(source, progress=progress, group_by=group_by)
    fitted.save(out / "part.safetensors")
    report_fit(fitted, out / "part.safetensors")
    frames = source if wanted.precision != "fp32" else None
    written = fitted.export(out / "part.onnx", precision=wanted.precision, frames=frames)
    report_export(written)
    return fitted


def _tell(best: Entry, out: Path) -> None:
    screen, engine = console(), best.engine
    flag = "" if engine == "onnxruntime" else f" --engine {engine}"
    screen.print(
        f"chosen: {best.configuration.words}, {best.quickest_ms:.2f} ms a frame in {engine}: "
        f"score {out / 'part.onnx'}{flag}",
        markup=False,
    )
    screen.print(f"{bold(out / 'report.html')}, tune.json, tune.md")
