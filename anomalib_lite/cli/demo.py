"""`anomalib-lite demo`: the whole job on generated parts, offline, in about a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anomalib_lite.cli.options import Seed, Threads


def demo(
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for everything the demo makes.")
    ] = Path("demo-out"),
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Generate parts, fit on good ones, calibrate, export, verify, score, draw, report."""
    from anomalib_lite.cli.demo_run import run_demo
    from anomalib_lite.edge.runs.ownership import owned
    from anomalib_lite.system.threads import use_threads

    use_threads(threads)
    with owned(out):
        run_demo(out, seed)
