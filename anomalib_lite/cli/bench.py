"""`anomalib-lite bench`: where the milliseconds go on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from anomalib_lite.cli.common import console, open_model
from anomalib_lite.cli.grouped import grouped
from anomalib_lite.cli.options import (
    FRAMES,
    AsJson,
    EngineOption,
    EngineSettings,
    ModelFile,
    Spinning,
    Threads,
)
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
    engine_option: EngineSettings = None,
    threads: Threads = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Time the nodes of an edge file's graph in place of the stages (ONNX Runtime).",
        ),
    ] = False,
    allow_spinning: Spinning = True,
    as_json: AsJson = False,
) -> None:
    """Time decode, prepare, network and post-processing of one frame: p50, p99, frames/s."""
    from rich.table import Table

    from anomalib_lite.cli.visible import visible
    from anomalib_lite.edge.benchmark import measure

    if profile:
        trust.check(model)
        _nodes(model, engine, threads, frames, frame_size, as_json=as_json)
        return
    size = None if frame_size is None else parse_size(frame_size)
    trust.check(model)
    opened = open_model(
        model,
        engine=engine,
        threads=threads,
        allow_spinning=allow_spinning,
        engine_settings=engine_option,
    )
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


def _nodes(
    path: Path,
    engine: str | None,
    threads: int | None,
    frames: int,
    frame_size: str | None,
    *,
    as_json: bool,
) -> None:
    """Profile an edge file and print kinds of node and the slowest nodes."""
    from rich.table import Table

    from anomalib_lite.edge.benchmark import example_prepared
    from anomalib_lite.edge.errors import SettingsError
    from anomalib_lite.edge.model import EdgeModel
    from anomalib_lite.edge.profiling import profile_graph

    if engine not in (None, "onnxruntime"):
        raise SettingsError(f"--profile times ONNX Runtime's nodes, not {engine}'s; leave it out")
    if frame_size is not None:
        raise SettingsError(
            "--profile times the graph, which sees prepared frames of one size; leave "
            "--frame-size out"
        )
    opened = open_model(path, threads=threads)
    if not isinstance(opened, EdgeModel):
        raise SettingsError(f"{path} has no graph to profile; export it and give the .onnx file")
    found = profile_graph(path, example_prepared(opened), threads=threads, repeats=frames)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
        return
    kinds = Table("kind of node", "nodes", "ms", "share")
    for item in found.kinds:
        kinds.add_row(item.kind, str(item.nodes), f"{item.ms:.3f}", f"{item.share:.1%}")
    slowest = Table("slowest nodes", "kind", "output", "ms", "GFLOP/s")
    for node in found.slowest:
        shape = "x".join(map(str, node.output))
        speed = "" if node.gflops is None else f"{node.gflops:.0f}"
        slowest.add_row(node.name, node.kind, shape, f"{node.ms:.3f}", speed)
    screen = console()
    screen.print(kinds)
    screen.print(slowest)
    screen.print(
        f"{found.nodes_ms:.2f} ms in all nodes; convolutions and products reached "
        f"{found.gflops:.0f} GFLOP/s, this machine's matrix product {found.machine_gflops:.0f}; "
        f"{found.engine}, {found.threads} threads, medians of {found.repeats} frames"
    )
