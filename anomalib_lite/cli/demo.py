"""`anomalib-lite demo`: the whole job on generated parts, offline, in about a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path(
        "demo-out"
    ),
    seed: Annotated[int, typer.Option(help="Same seed, same parts, same files.")] = 0,
) -> None:
    """Generate parts, fit on good ones, calibrate, export, verify, score, draw, report."""
    from anomalib_lite.cli.demo_run import run_demo

    run_demo(out, seed)
