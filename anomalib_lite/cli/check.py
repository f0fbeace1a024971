"""`anomalib-lite check`: does this machine reproduce the fitted model?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anomalib_lite.cli.common import console

FAILED = 1


def check(
    model: Annotated[Path, typer.Argument(help="Edge file (.onnx).")],
    engine: Annotated[
        str, typer.Option(help="onnxruntime, cuda, openvino or openvino-bf16.")
    ] = "onnxruntime",
) -> None:
    """Run the probe frames inside the file on this machine; exit status 1 when they differ."""
    from rich.table import Table

    from anomalib_lite.edge.model import EdgeModel

    edge = EdgeModel(model, engine=engine, self_test=False)
    results = edge.check()
    table = Table("probe frame", "fitted model", "this machine", "difference", "")
    for result in results:
        mark = "[green]ok[/green]" if result.passed else "[red]FAILED[/red]"
        table.add_row(
            result.name,
            f"{result.expected:.6g}",
            f"{result.measured:.6g}",
            f"{result.relative_difference:.1e}",
            mark,
        )
    screen = console()
    screen.print(table)
    if edge.protocol:
        screen.print(f"protocol: {edge.protocol}", markup=False)
    passed = all(result.passed for result in results)
    screen.print(
        f"{edge.engine}, {edge.threads} threads: "
        + ("[green]reproduces the fitted model[/green]" if passed else "[red]does not[/red]")
    )
    if not passed:
        raise typer.Exit(FAILED)
