"""`anomalib-lite audit`: look through a folder that should be good, before anything is fitted."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from anomalib_lite.cli.common import console
from anomalib_lite.cli.grouped import grouped, option_names
from anomalib_lite.cli.options import ResumePool, Seed, Threads
from anomalib_lite.cli.reading import Files
from anomalib_lite.cli.score_pool import PoolNetwork, judge, tell_unreadable

_TOP_SHOWN = 10
_JUDGE = "musc"


@grouped
def audit(
    folder: Annotated[
        str,
        typer.Argument(metavar="FOLDER", help="Images that should be good: a folder or a glob."),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder for audit.html, pool.json, results.jsonl."),
    ],
    network: PoolNetwork,
    files: Files,
    resume: ResumePool = False,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Rank a supposedly good folder; suspects are shown beside the images most like them.

    The images judge each other, so it needs no detector. `fit --contamination audit` asks the
    detector itself; when both name an image, look at it first.
    """
    from rich.markup import escape
    from rich.table import Table

    from anomalib_lite.report.pool_folder import PoolOutput
    from anomalib_lite.system.threads import use_threads

    use_threads(threads)
    pool = network.pool(_JUDGE, seed, option_names(audit))
    title = "Audit of a folder that should be good"
    options = {"threads": threads, **asdict(files)}
    output = PoolOutput(out, stem="audit", title=title, options=options)
    report, _ = judge(pool, folder, files, output, resume)
    screen = console()
    screen.print(
        f"audit: {len(report.suspects)} of {len(report.names)} images stand out, see "
        f"{out / 'audit.html'}; protocol {report.facts['protocol']}",
        markup=False,
    )
    shown = Table("image", "score", "robust z", "most similar")
    for row in report.ranking[:_TOP_SHOWN]:
        near = ", ".join(Path(report.names[other]).name for other in report.neighbours(row, 2))
        shown.add_row(
            escape(report.names[row]),
            f"{report.scores.image[row]:.4g}",
            f"{report.oddness.robust_z[row]:z.1f}",
            escape(near),
        )
    screen.print(shown)
    tell_unreadable(report)
