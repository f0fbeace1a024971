"""`anomalib-lite check`: does this machine reproduce the fitted model?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anomalib_lite.cli.common import CHECK_FAILED, console, open_edge_model
from anomalib_lite.cli.grouped import grouped
from anomalib_lite.cli.options import EngineOption, EngineSettings, Spinning, Threads
from anomalib_lite.cli.trust import Trust


@grouped
def check(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Edge file (.onnx).")],
    trust: Trust,
    engine: EngineOption = None,
    engine_option: EngineSettings = None,
    threads: Threads = None,
    allow_spinning: Spinning = True,
) -> None:
    """Run the probe frames inside the file on this machine; exit status 1 when they differ."""
    from rich.table import Table

    from anomalib_lite.edge.cpu import use_threads
    from anomalib_lite.edge.errors import ModelFileError

    if model.suffix == ".safetensors":
        raise ModelFileError(
            f"{model}: is a detector; check proves an edge file, so export it to .onnx first"
        )
    trust.check(model)
    use_threads(threads)
    edge = open_edge_model(
        model,
        engine=engine,
        allow_spinning=allow_spinning,
        engine_settings=engine_option,
        self_test=False,
    )
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
        raise typer.Exit(CHECK_FAILED)
