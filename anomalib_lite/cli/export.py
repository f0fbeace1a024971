"""`anomalib-lite export`: a fitted detector -> one verified edge file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from anomalib_lite.cli.common import bold, console
from anomalib_lite.cli.grouped import grouped
from anomalib_lite.cli.options import OUTPUT, Threads
from anomalib_lite.cli.progress import progress_bar

if TYPE_CHECKING:
    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.export import ExportReport
    from anomalib_lite.export.lowering.lower import Lowered


@dataclass(frozen=True, kw_only=True)
class Precision:
    """In which precision the file computes, and what that may cost."""

    panel: ClassVar[str] = "Precision"
    precision: Annotated[
        Literal["fp32", "fp16", "bf16", "int8"],
        typer.Option(
            help="fp32: as fitted. fp16: weights rounded to half the size. bf16: for the engine "
            "openvino-bf16. int8: quantised. All but fp32 are judged against the float graph and "
            "get a threshold of their own."
        ),
    ] = "fp32"
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="GOOD",
            help="Good frames to choose, judge and calibrate by; best some that the fit has not "
            "seen. Default: those that the detector keeps.",
        ),
    ] = None
    max_auroc_loss: Annotated[
        float,
        typer.Option(metavar="LOSS", help="Of image AUROC on simulated defects.", min=0, max=1),
    ] = 0.005
    max_aupro_loss: Annotated[
        float, typer.Option(metavar="LOSS", help="Of AUPRO on their masks.", min=0, max=1)
    ] = 0.01
    max_more_misses: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="Further simulated defects that may pass.", min=0, max=1
        ),
    ] = 0.02

    def limits(self) -> dict[str, float]:
        """As `Detector.export` takes them."""
        return {
            "auroc": self.max_auroc_loss,
            "aupro": self.max_aupro_loss,
            "misses": self.max_more_misses,
        }


@grouped
def export(
    detector: Annotated[
        Path, typer.Argument(metavar="DETECTOR", help="Detector written by fit (.safetensors).")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Edge file to write (.onnx).")],
    wanted: Precision,
    triton: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Also write a model for NVIDIA Triton into this model repository.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    pod: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Keep the figures of this pod.json in the file; info shows them."
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
    if wanted.frames is not None and wanted.precision == "fp32":
        raise SettingsError("--frames is for a lower precision; add --precision, or leave it out")
    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.export.triton import model_folder, write_model
    from anomalib_lite.system.threads import use_threads

    if triton is not None:
        model_folder(triton, out)  # refused now rather than after the export
    use_threads(threads)
    fitted = Detector.load(detector)
    figures = None if pod is None else _figures(pod, fitted, wanted.precision)
    ensure_writable(out)
    with progress_bar() as progress:
        progress("compiling and proving", 0, 0)
        report = fitted.export(
            out,
            precision=wanted.precision,
            frames=wanted.frames,
            limits=wanted.limits(),
            pod=figures,
            progress=progress,
        )
    report_export(report)
    if report.lowered is not None:
        _report_precision(report.lowered)
    if triton is not None:
        console().print(f"{bold(write_model(out, triton))}: model for Triton, version 1")


def _figures(path: Path, fitted: Detector, precision: str) -> dict[str, Any]:
    """The figures of a study of this detector; raises what `read_pod` and its check raise."""
    from anomalib_lite.edge.errors import SettingsError
    from anomalib_lite.evaluation.pod import read_pod, require_pod_of

    if precision != "fp32":
        raise SettingsError(
            f"--pod {path}: was measured in single precision, and {precision} has a threshold of "
            "its own; leave --pod out, and measure the edge file with pod"
        )
    figures = read_pod(path)
    fingerprint, threshold = fitted.data.fingerprint, fitted.threshold
    require_pod_of(figures, fingerprint=fingerprint, threshold=threshold, path=path)
    return figures


def report_export(report: ExportReport) -> None:
    """Print the size of the file and how close it is to the fitted model."""
    parity = report.parity
    whose = "" if report.lowered is None else "of the float graph "
    console().print(
        f"{bold(report.path)}: {report.size_bytes / 1e6:.1f} MB; {parity.probes} probe "
        f"frames {whose}agree with the fitted model (scores within {parity.score_difference:.1e}, "
        f"maps within {parity.map_difference:.1e}, allowed {parity.tolerance:.0e}), "
        "no verdict flipped"
    )


def _report_precision(lowered: Lowered) -> None:
    """Print what a lower precision changes, and what its own threshold promises."""
    from rich.table import Table

    precision, drift = lowered.request.precision, lowered.drift
    screen = console()
    table = Table("", "float", precision)
    for name, pair in (
        (f"AUROC, {drift.defects} simulated defects", drift.auroc),
        ("AUPRO on their masks", drift.aupro),
    ):
        if pair is not None:
            table.add_row(name, *(f"{value:.4f}" for value in pair))
    table.add_row("of them missed", *(f"{100 * value:.1f} %" for value in drift.misses))
    rejects = (f"{100 * value:.1f} %" for value in drift.false_rejects)
    table.add_row(f"rejected of {drift.good} good frames", *rejects)
    screen.print(table)
    screen.print(
        f"{precision}: maps drift by {100 * drift.map_drift:.2f} %, scores by at most "
        f"{100 * drift.score_drift:.2f} % (95 % of frames), "
        f"{100 * drift.verdicts_changed:.1f} % of verdicts changed"
    )
    choice = lowered.choice
    if choice.lowered or choice.kept:
        total = len(choice.lowered) + len(choice.kept)
        screen.print(
            f"{len(choice.lowered)} of {total} parts in {precision}; in float, as too sensitive: "
            f"{', '.join(choice.kept) or 'none'}",
            markup=False,
        )
    if lowered.engine:
        screen.print(f"calibrated for --engine {lowered.engine}, and for no other")
    screen.print(lowered.recalibrated.explain(), markup=False)
