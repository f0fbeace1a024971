"""A pool judged into a folder: results, report and, where labels are known, figures."""

from __future__ import annotations

import json
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_lite.data.adapters import Dataset, list_kinds, open_dataset
from anomalib_lite.data.sample import Sample
from anomalib_lite.edge.errors import AnomalibLiteError
from anomalib_lite.edge.files import ensure_writable, write_bytes_atomic
from anomalib_lite.edge.frames import Exif
from anomalib_lite.edge.runs.ownership import owned
from anomalib_lite.edge.runs.run_record import RUN_FILE
from anomalib_lite.edge.runs.stale_outputs import (
    outputs_of_earlier_runs,
    remove_drafts,
    remove_stale,
    take_drafts,
)
from anomalib_lite.edge.sources import FileSource, Source
from anomalib_lite.report.pool import PoolPage
from anomalib_lite.report.pool_record import PoolRecord
from anomalib_lite.report.side_outputs import SideOutputs

if TYPE_CHECKING:  # reports load where no torch is
    from anomalib_lite.evaluation.pool import PoolMeasure
    from anomalib_lite.scorers import Progress
    from anomalib_lite.transductive.pool import Pool, PoolReport

WORK = "pool-work"
"""Folder below the output that holds what was computed until all files are written."""


@dataclass(frozen=True)
class PoolSource:
    """Frames that judge each other.

    Attributes:
        frames: the pool.
        labelled: data set and samples where the source names a data set; labels only measure.
    """

    frames: Source
    labelled: tuple[Dataset, list[Sample]] | None = None


@dataclass(frozen=True)
class PoolOutput:
    """What is written.

    Attributes:
        folder: for `results.jsonl`, `pool.json`, `run.json`, `<stem>.html` and `metrics.json`.
        heatmaps: whether a picture a frame is written, too.
        stem: name of the page.
        title: heading of the page.
        options: of the command, for `run.json`.
    """

    folder: Path
    heatmaps: bool = False
    stem: str = "report"
    title: str = "A pool judged by itself"
    options: Mapping[str, Any] = field(default_factory=dict)

    def files(self, figures: Mapping[str, Any] | None) -> list[str]:
        """What is written beside `run.json`; `figures` are known where there are labels."""
        names = ["results.jsonl", "pool.json", f"{self.stem}.html"]
        names += ["heatmaps"] if self.heatmaps else []
        return names if figures is None else [*names, "metrics.json"]


def open_pool(
    source: str, open_frames: Callable[[str], Source], exif: Exif, max_megapixels: float | None
) -> PoolSource:
    """Open a folder, glob or video, or a data set `kind:path:category`.

    Args:
        source: as on the command line.
        open_frames: opens what is no data set.
        exif: how pictures of a data set are turned.
        max_megapixels: larger pictures of a data set are refused.
    """
    kind = source.partition(":")[0].lower()
    if kind == source or kind not in {info.kind for info in list_kinds()}:
        return PoolSource(open_frames(source))
    from anomalib_lite.evaluation.pool import pool_of

    dataset = open_dataset(source)
    samples = pool_of(dataset)
    home = str(next(iter(dataset.sources.values())))
    frames = FileSource(
        [sample.path for sample in samples],
        name=home,
        exif=exif,
        max_megapixels=max_megapixels,
        split_pages=False,
    )
    return PoolSource(frames, (dataset, samples))


def judge_to_folder(
    pool: Pool,
    source: PoolSource,
    output: PoolOutput,
    *,
    resume: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> tuple[PoolReport, dict[str, Any] | None]:
    """Judge a source and write its files; returns the report, and figures where labels are known.

    Args:
        pool: judges.
        source: what is judged.
        output: what is written.
        resume: continue an interrupted run.
        progress: called with stage, frames done, frames in total.

    Raises:
        AnomalibLiteError: a file cannot be written; the scores are kept for `resume`.
        SettingsError: another process is writing there.
    """
    with owned(output.folder):
        return _judge(pool, source, output, resume, progress)


def _judge(
    pool: Pool, source: PoolSource, output: PoolOutput, resume: bool, progress: Progress
) -> tuple[PoolReport, dict[str, Any] | None]:
    ensure_writable(output.folder / "results.jsonl")
    work, record = output.folder / WORK, PoolRecord.begin(source.frames, output.options)
    report = pool.score(source.frames, folder=work, resume=resume, keep=True, progress=progress)
    try:
        figures = _write_all(pool, report, source, output, progress)
        record.write(output.folder, report, output.files(figures))
    except AnomalibLiteError as error:
        raise type(error)(
            f"{error}; the scores are kept in {work}, --resume writes them"
        ) from error
    shutil.rmtree(work, ignore_errors=True)
    return report, figures


def _write_all(
    pool: Pool, report: PoolReport, source: PoolSource, output: PoolOutput, progress: Progress
) -> dict[str, Any] | None:
    """Everything that is made of the scores; returns figures where labels are known."""
    if source.labelled is None:
        figures = _write(pool, report, source.frames, output, None, progress)
    else:
        from anomalib_lite.evaluation.pool import PoolMeasure

        with PoolMeasure(*source.labelled, pool.spec, output.folder) as measure:
            figures = _write(pool, report, source.frames, output, measure, progress)
    listing = report.to_dict() if figures is None else {**report.to_dict(), **figures}
    _write_json(output.folder / "pool.json", listing)
    return figures


def _write(
    pool: Pool,
    report: PoolReport,
    frames: Source,
    output: PoolOutput,
    measure: PoolMeasure | None,
    progress: Progress,
) -> dict[str, Any] | None:
    """One pass over the frames for everything that shows them."""
    page, lines, folder = PoolPage(report, output.title), [], output.folder
    side = SideOutputs(folder, frames.name, report.calibration, heatmaps=output.heatmaps)
    remove_drafts(folder)
    for position, item in enumerate(pool.results(report, frames)):
        drawn, _ = side.of(item)
        lines.append(json.dumps({**item.to_dict(), **drawn}) + "\n")
        page.add(item)
        if measure is not None:
            measure.add(position, item)
        progress("writing results", position + 1, len(frames))
    _replace_results(folder, "".join(lines).encode())
    if side.failed:
        warnings.warn(side.explain(), stacklevel=2)
    figures = None if measure is None else measure.figures()
    page.write(folder / f"{output.stem}.html", figures)
    if figures is not None:
        _write_json(folder / "metrics.json", {"protocol": report.facts["protocol"], **figures})
    return figures


def _replace_results(folder: Path, data: bytes) -> None:
    """Put the lines in place; what an earlier run wrote beside its own goes with those."""
    earlier = outputs_of_earlier_runs(folder, folder / RUN_FILE)
    write_bytes_atomic(folder / "results.jsonl", data)
    remove_stale(folder, earlier, time.time_ns())
    (folder / RUN_FILE).unlink(missing_ok=True)
    take_drafts(folder)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_bytes_atomic(path, (json.dumps(content, indent=1) + "\n").encode())
