"""`anomalib-lite bench`: where the milliseconds go on this machine."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from anomalib_lite.cli.common import console, open_model
from anomalib_lite.cli.grouped import grouped
from anomalib_lite.cli.options import FRAMES, AsJson, EngineOption, ModelFile, Threads
from anomalib_lite.cli.progress import progress_bar
from anomalib_lite.cli.trust import Trust
from anomalib_lite.cli.values import parse_size


@grouped
def bench(
    model: ModelFile,
    trust: Trust,
    frame_size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Size of the frames, e.g. 1024x1280. Default: as fitted.",
            rich_help_panel=FRAMES,
        ),
    ] = None,
    frames: Annotated[
        int,
        typer.Option(
            metavar="N", help="Timed frames.", min=5, max=1_000_000, rich_help_panel=FRAMES
        ),
    ] = 200,
    engine: EngineOption = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Time decode, prepare, network and post-processing of one frame: p50, p99, frames/s."""
    from rich.table import Table

    from anomalib_lite.cli.visible import visible
    from anomalib_lite.edge.benchmark import measure

    size = None if frame_size is None else parse_size(frame_size)
    trust.check(model)
    opened = open_model(model, engine=engine, threads=threads)
    with progress_bar() as progress:
        result = measure(
            opened,
            frame_hw=size,
            repeats=frames,
            progress=lambda done, total: progress("timing frames", done, total),
        )
    if as_json:
        typer.echo(json.dumps(result.to_dict(), indent=2))
        return
    table = Table("stage", "p50 ms", "p99 ms")
    for stage in result.stages:
        table.add_row(stage.name, f"{stage.p50_ms:.2f}", f"{stage.p99_ms:.2f}")
    screen = console()
    screen.print(table)
    height, width = result.frame_hw
    screen.print(
        f"{result.frames_per_second:.1f} frames/s, one after the other, {height}x{width} frames; "
        f"{result.engine}, {result.threads} threads"
    )
    for line in visible(opened.spec, result.frame_hw):
        screen.print(line, markup=False)
