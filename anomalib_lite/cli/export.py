"""`anomalib-lite export`: a fitted detector -> one verified edge file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalib_lite.cli.common import bold, console
from anomalib_lite.cli.options import OUTPUT, Threads
from anomalib_lite.cli.progress import progress_bar

if TYPE_CHECKING:
    from anomalib_lite.export import ExportReport


def export(
    detector: Annotated[
        Path, typer.Argument(metavar="DETECTOR", help="Detector written by fit (.safetensors).")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Edge file to write (.onnx).")],
    triton: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Also write a model for NVIDIA Triton into this model repository.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    threads: Threads = None,
) -> None:
    """Compile a detector to ONNX; written only if it is proven to be the fitted model."""
    from anomalib_lite.edge.errors import ModelFileError, SettingsError
    from anomalib_lite.edge.files import ensure_writable

    if out.suffix != ".onnx":
        raise SettingsError(f"{out}: the edge file must end in .onnx")
    if detector.suffix == ".onnx":
        raise ModelFileError(f"{detector}: is an edge file already; give the .safetensors of fit")
    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.export.triton import model_folder, write_model
    from anomalib_lite.system.threads import use_threads

    if triton is not None:
        model_folder(triton, out)  # refused now rather than after the export
    use_threads(threads)
    fitted = Detector.load(detector)
    ensure_writable(out)
    with progress_bar() as progress:
        progress("compiling and proving", 0, 0)
        report = fitted.export(out)
    report_export(report)
    if triton is not None:
        console().print(f"{bold(write_model(out, triton))}: model for Triton, version 1")


def report_export(report: ExportReport) -> None:
    """Print the size of the file and how close it is to the fitted model."""
    parity = report.parity
    console().print(
        f"{bold(report.path)}: {report.size_bytes / 1e6:.1f} MB; {parity.probes} probe "
        f"frames agree with the fitted model (scores within {parity.score_difference:.1e}, "
        f"maps within {parity.map_difference:.1e}, allowed {parity.tolerance:.0e}), "
        "no verdict flipped"
    )
