"""`anomalib-lite bench`: where the milliseconds go on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from anomalib_lite.cli.common import console, open_model, parse_size


def bench(
    model: Annotated[Path, typer.Argument(help="Edge file (.onnx) or detector (.safetensors).")],
    frame_size: Annotated[
        str | None, typer.Option(help="Size of the frames, HxW; default: as fitted.")
    ] = None,
    frames: Annotated[int, typer.Option(help="Timed frames.", min=5)] = 200,
    engine: Annotated[
        str, typer.Option(help="onnxruntime, cuda, openvino or openvino-bf16.")
    ] = "onnxruntime",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Time decode, prepare, network and post-processing of one frame: p50, p99, frames/s."""
    from rich.table import Table

    from anomalib_lite.edge.benchmark import measure

    opened = open_model(model, engine=engine)
    size = parse_size(frame_size) if frame_size else None
    result = measure(opened, frame_hw=size, repeats=frames)
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
