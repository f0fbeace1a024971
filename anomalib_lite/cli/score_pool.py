"""`anomalib-lite score-pool`: unlabelled frames judge each other; nothing is fitted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomalib_lite.cli.common import WEIGHTS, console, parse_settings, parse_size, progress_bar
from anomalib_lite.cli.reading import DEFAULT_MEGAPIXELS, MAX_MEGAPIXELS, RECURSIVE, Reading

if TYPE_CHECKING:
    from anomalib_lite.data.adapters import Dataset
    from anomalib_lite.data.sample import Sample
    from anomalib_lite.edge.sources import Source
    from anomalib_lite.evaluation.pool import PoolMeasure
    from anomalib_lite.transductive.pool import Pool, PoolReport

UNREADABLE = 3
WORK = "pool-work"
_MAY_INTERRUPT = "Ctrl-C may interrupt it, --resume continues"


def score_pool(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder (with subfolders), glob or video; or a data set as kind:path:category, "
            "whose test images are the pool and whose labels only measure."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for results.jsonl, pool.json, report.html.")],
    detector: Annotated[str, typer.Option(help="A detector that judges pools: musc.")] = "musc",
    backbone: Annotated[
        str | None,
        typer.Option(help="A vision transformer is best, e.g. vit_tiny_patch16_224."),
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Backbone layers, comma-separated; default: its own choice.")
    ] = None,
    weights: Annotated[Path | None, WEIGHTS] = None,
    image_size: Annotated[
        str, typer.Option(help="What the network sees, pixels: 224 or HxW.")
    ] = "224",
    heatmaps: Annotated[
        bool, typer.Option("--heatmaps", help="Write a picture with the heat map per frame.")
    ] = False,
    recursive: Annotated[bool, RECURSIVE] = True,
    max_megapixels: Annotated[float, MAX_MEGAPIXELS] = DEFAULT_MEGAPIXELS,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run in OUT.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same images: same bytes.")] = 0,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Setting of the detector: --set judges=100 for pools of many hundreds."
        ),
    ] = None,
) -> None:
    """Rank unlabelled frames by how little they resemble the others; no good images are needed."""
    from anomalib_lite.transductive.pool import Pool

    pool = Pool(
        detector,
        backbone=backbone,
        layers=layers.split(",") if layers else None,
        weights=weights,
        image_size=parse_size(image_size),
        seed=seed,
        **parse_settings(setting or []),
    )
    report, figures = judge_to_folder(
        pool,
        source,
        out,
        recursive=recursive,
        max_megapixels=max_megapixels,
        heatmaps=heatmaps,
        resume=resume,
    )
    screen = console()
    screen.print(
        f"{out / 'report.html'}: {len(report.names)} images, {len(report.suspects)} stand out of "
        f"their pool; protocol {report.facts['protocol']}",
        markup=False,
    )
    if figures is not None:
        values = figures["metrics"]
        shown = [f"{name} {100 * value:.1f}" for name, value in values.items() if value is not None]
        screen.print(f"measured with the labels: {', '.join(shown)}", markup=False)
    tell_unreadable(report)


def judge_to_folder(
    pool: Pool,
    source: str,
    out: Path,
    *,
    recursive: bool = True,
    max_megapixels: float = DEFAULT_MEGAPIXELS,
    heatmaps: bool = False,
    resume: bool = False,
    title: str = "A pool judged by itself",
    stem: str = "report",
) -> tuple[PoolReport, dict[str, Any] | None]:
    """Judge a source and write its files; returns the report, and figures where labels are known.

    What was computed stays in `pool-work` until all files are written.

    Args:
        pool: judges.
        source: as on the command line.
        out: folder for `results.jsonl`, `pool.json`, `<stem>.html` and `metrics.json`.
        recursive, max_megapixels: as on the command line.
        heatmaps: whether a picture a frame is written, too.
        resume: continue an interrupted run.
        title: heading of the page.
        stem: name of the page.
    """
    from anomalib_lite.edge.errors import AnomalibLiteError
    from anomalib_lite.edge.files import ensure_writable

    labelled = _labelled(source)
    frames = _frames(source, labelled, Reading(pool.spec.exif, recursive, max_megapixels))
    ensure_writable(out / "results.jsonl")
    cost = pool.cost(max(2, len(frames)))
    console(stderr=True).print(f"{cost}; {_MAY_INTERRUPT}", markup=False)
    work = out / WORK
    with progress_bar() as progress:
        report = pool.score(frames, folder=work, resume=resume, keep=True, progress=progress)
    try:
        figures = _write_all(pool, report, frames, out, labelled, heatmaps, (stem, title))
    except AnomalibLiteError as error:
        raise type(error)(
            f"{error}; the scores are kept in {work}, --resume writes them"
        ) from error
    shutil.rmtree(work, ignore_errors=True)
    return report, figures


def tell_unreadable(report: PoolReport) -> None:
    """List what could not be used, and end with status 3 if there is anything."""
    if not report.skipped:
        return
    screen = console()
    screen.print(f"{len(report.skipped)} image(s) could not be used:", style="red")
    for name, why in list(report.skipped.items())[:20]:
        screen.print(f"  {name}: {why}", markup=False)
    raise typer.Exit(UNREADABLE)


def _labelled(source: str) -> tuple[Dataset, list[Sample]] | None:
    """Data set and samples when the source names a kind of data set, else None."""
    from anomalib_lite.data.adapters import list_kinds, open_dataset
    from anomalib_lite.evaluation.pool import pool_of

    kind = source.partition(":")[0].lower()
    if kind == source or kind not in {info.kind for info in list_kinds()}:
        return None
    dataset = open_dataset(source)
    return dataset, pool_of(dataset)


def _frames(source: str, labelled: tuple[Dataset, list[Sample]] | None, reading: Reading) -> Source:
    from anomalib_lite.edge.sources import FileSource

    if labelled is None:
        return reading.open(source)
    dataset, samples = labelled
    home = str(next(iter(dataset.sources.values())))
    return FileSource(
        [sample.path for sample in samples],
        name=home,
        exif=reading.exif,
        max_megapixels=reading.max_megapixels,
    )


def _write_all(
    pool: Pool,
    report: PoolReport,
    frames: Source,
    out: Path,
    labelled: tuple[Dataset, list[Sample]] | None,
    heatmaps: bool,
    page: tuple[str, str],
) -> dict[str, Any] | None:
    """Everything that is made of the scores; returns figures where labels are known."""
    from anomalib_lite.edge.files import write_bytes_atomic

    if labelled is None:
        figures = _write(pool, report, frames, out, None, heatmaps, page)
    else:
        from anomalib_lite.evaluation.pool import PoolMeasure

        with PoolMeasure(labelled[0], labelled[1], pool.spec, out) as measure:
            figures = _write(pool, report, frames, out, measure, heatmaps, page)
    listing = report.to_dict() if figures is None else {**report.to_dict(), **figures}
    write_bytes_atomic(out / "pool.json", (json.dumps(listing, indent=1) + "\n").encode())
    return figures


def _write(
    pool: Pool,
    report: PoolReport,
    frames: Source,
    out: Path,
    measure: PoolMeasure | None,
    heatmaps: bool,
    page: tuple[str, str],
) -> dict[str, Any] | None:
    """One pass over the frames for everything that shows them."""
    from anomalib_lite.edge.files import write_bytes_atomic
    from anomalib_lite.report.heatmaps import write_heatmap
    from anomalib_lite.report.pool import PoolPage

    shown, lines = PoolPage(report, page[1]), []
    with progress_bar() as progress:
        for position, item in enumerate(pool.results(report, frames)):
            lines.append(json.dumps(item.to_dict()) + "\n")
            shown.add(item)
            if measure is not None:
                measure.add(position, item)
            if heatmaps and item.prediction is not None:
                write_heatmap(out / "heatmaps", item, report.calibration, frames.name)
            progress("writing results", position + 1, len(frames))
    write_bytes_atomic(out / "results.jsonl", "".join(lines).encode())
    figures = None if measure is None else measure.figures()
    shown.write(out / f"{page[0]}.html", figures)
    if figures is not None:
        facts = {"protocol": report.facts["protocol"], **figures}
        write_bytes_atomic(out / "metrics.json", (json.dumps(facts, indent=1) + "\n").encode())
    return figures
