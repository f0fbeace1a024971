"""The record of a run (`edge.run_record`), begun and ended by a command."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from anomalib_lite.cli.common import INTERRUPTED, UNUSABLE, USER_ERROR

if TYPE_CHECKING:
    from anomalib_lite.edge.runs.run_record import RunRecord
    from anomalib_lite.edge.runs.scoring import Model
    from anomalib_lite.edge.sources import Source


def run_record(
    file: Path,
    model: Model,
    *,
    source: Source,
    files: tuple[str, ...],
    options: Mapping[str, Any],
    product: str | None = None,
    timestamps: bool = False,
) -> RunRecord:
    """Begin the record of a run.

    Args:
        file: the model file.
        model: what judges; where a product is stated, its calibration is taken.
        source: the frames; those that come only once are always given a time.
        files: what the run writes into its folder.
        options: of the command.
        product: as stated.
        timestamps: whether each line says when its frame was judged.
    """
    from anomalib_lite.edge.describe import describe_file
    from anomalib_lite.edge.files import sha256_file
    from anomalib_lite.edge.runs.run_record import Judge, RunRecord
    from anomalib_lite.system.versions import installed_versions

    calibration = model.calibration
    judge = Judge(
        file,
        sha256_file(file),
        calibration if product is None else calibration.for_group(product),
        describe_file(file)["about"],
        product,
        str(getattr(model, "engine", "torch")),
    )
    listing = getattr(source, "listing", None)
    return RunRecord(
        judge,
        source.name,
        {name: str(given) if isinstance(given, Path) else given for name, given in options.items()},
        installed_versions(),
        files,
        listing.explain() if listing is not None else "",
        timestamps or not source.rereadable,
    )


def ending_of(error: BaseException | None, record: RunRecord, lost: int) -> tuple[int, str]:
    """Exit status of a run, and why it ended early or an empty string.

    Args:
        error: what ended it, or None.
        record: knows what could not be read.
        lost: pictures and reports that could not be written.
    """
    if error is None:
        return (UNUSABLE if record.counts["unreadable"] or lost else 0), ""
    return _ending(error)


def _ending(error: BaseException) -> tuple[int, str]:
    """Exit status and reason of a run that ends early; as `cli.main` ends it."""
    from anomalib_lite.edge.errors import AnomalibLiteError

    if isinstance(error, KeyboardInterrupt):
        return getattr(error, "status", INTERRUPTED), "interrupted"
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1, "stopped"
    if isinstance(error, typer.Exit):
        return error.exit_code, "stopped"
    known = isinstance(error, (AnomalibLiteError, OSError))
    return USER_ERROR if known else 1, str(error) or type(error).__name__
