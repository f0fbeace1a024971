"""`anomalib-lite report`: one offline HTML page from an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anomalib_lite.cli.common import bold, console


def report(
    evaluation: Annotated[
        Path,
        typer.Argument(
            metavar="EVALUATION", help="Folder that 'anomalib-lite evaluate --out' wrote."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write. Default: EVALUATION/report.html."),
    ] = None,
) -> None:
    """Write a self-contained report.html: figures, histograms, curves, worst frames, provenance."""
    from anomalib_lite.report.evaluation import write_report
    from anomalib_lite.report.load import load_evaluation

    data = load_evaluation(evaluation)
    path = write_report(data, out or evaluation / "report.html")
    screen = console()
    size = path.stat().st_size / 1e6
    screen.print(f"{bold(path)}: {len(data.runs)} runs, {size:.1f} MB, opens in any browser")
