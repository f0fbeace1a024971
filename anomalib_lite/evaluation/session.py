"""The whole evaluation: plan, run what is missing, keep the summary up to date."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from anomalib_lite.edge.errors import AnomalibLiteError
from anomalib_lite.edge.files import write_bytes_atomic, write_json
from anomalib_lite.edge.pictures.file import limited_megapixels
from anomalib_lite.edge.runs.ownership import owned
from anomalib_lite.evaluation.execute import execute
from anomalib_lite.evaluation.plan import PlannedRun, make_plan
from anomalib_lite.evaluation.settings import EvaluationSettings
from anomalib_lite.evaluation.store import RunStore, read_record
from anomalib_lite.evaluation.summary import summarise, to_csv
from anomalib_lite.evaluation.tables import to_markdown
from anomalib_lite.scorers import Progress
from anomalib_lite.scorers.base import no_progress
from anomalib_lite.system.devices import AUTO, choose_device

OnRun = Callable[[PlannedRun, dict[str, Any], bool], None]
"""Called with a run, its record, and whether it was there already."""


def _silent(run: PlannedRun, record: dict[str, Any], resumed: bool) -> None:
    pass


def evaluate(
    settings: EvaluationSettings,
    out: str | Path,
    *,
    resume: bool = False,
    device: str = AUTO,
    progress: Progress = no_progress,
    on_run: OnRun = _silent,
) -> dict[str, Any]:
    """Fit and measure every combination of category, detector, backbone and seed.

    Killed at any moment and called again with `resume`, it gives the same files, byte for byte,
    on the same machine with the same number of threads; only `timing.json` differs.

    Args:
        settings: what to measure.
        out: folder; see `store` for its files.
        resume: keep finished runs; otherwise they are made again.
        device: where torch computes, as for `Detector`.
        progress: called with stage, items done, items in total.
        on_run: called after each run.

    Returns:
        the content of `metrics.json`.

    Raises:
        SettingsError: a setting is impossible, or `out` holds runs of other settings or is being
            written by another process.
        SourceError: a data set cannot be opened.
        FitError: a fit cannot be done; runs finished so far stay.
    """
    choose_device(device)
    with limited_megapixels(settings.max_megapixels):
        plan = make_plan(settings, progress)
        with owned(out) as folder:
            return _run_all(settings, plan, RunStore(folder), resume, progress, on_run, device)


def _run_all(
    settings: EvaluationSettings,
    plan: list[PlannedRun],
    store: RunStore,
    resume: bool,
    progress: Progress,
    on_run: OnRun,
    device: str,
) -> dict[str, Any]:
    present = store.finished(plan)
    records: dict[str, dict[str, Any]] = present if resume else {}
    for done, run in enumerate(plan):
        progress("runs", done, len(plan))
        resumed = run.key in records
        if not resumed:
            try:
                store.write(run.key, execute(run, store.folder, progress, device))
            except AnomalibLiteError as error:
                raise type(error)(f"{run.label}: {error}") from error
            records[run.key] = read_record(store.runs / f"{run.key}.json")
            _write_summary(settings, plan, records, store)
        on_run(run, records[run.key], resumed)
    progress("runs", len(plan), len(plan))
    return _write_summary(settings, plan, records, store)


def _write_summary(
    settings: EvaluationSettings,
    plan: list[PlannedRun],
    records: dict[str, dict[str, Any]],
    store: RunStore,
) -> dict[str, Any]:
    summary = summarise(settings, plan, records)
    finished = [records[run.key] for run in plan if run.key in records]
    write_json(store.folder / "metrics.json", summary)
    write_bytes_atomic(store.folder / "metrics.csv", to_csv(finished).encode())
    write_bytes_atomic(store.folder / "metrics.md", to_markdown(summary).encode())
    return summary
