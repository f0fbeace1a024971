"""The command `anomalib-lite`. Commands import what they need when they run, so help is quick."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from anomalib_lite import __version__
from anomalib_lite.cli.alone import alone
from anomalib_lite.cli.audit import audit
from anomalib_lite.cli.bench import bench
from anomalib_lite.cli.check import check
from anomalib_lite.cli.common import INTERRUPTED, USER_ERROR
from anomalib_lite.cli.compare import compare
from anomalib_lite.cli.datasets import datasets
from anomalib_lite.cli.demo import demo
from anomalib_lite.cli.distill import distill
from anomalib_lite.cli.evaluate import evaluate
from anomalib_lite.cli.export import export
from anomalib_lite.cli.fit import fit
from anomalib_lite.cli.help import DetectorCommand
from anomalib_lite.cli.info import info
from anomalib_lite.cli.pod import pod
from anomalib_lite.cli.report import report
from anomalib_lite.cli.score import score
from anomalib_lite.cli.score_pool import score_pool
from anomalib_lite.cli.signals import ended_by_signals, ending
from anomalib_lite.cli.simulate import simulate
from anomalib_lite.cli.tune import tune
from anomalib_lite.cli.update import update
from anomalib_lite.cli.usage import one_line, usage_line

_NAME = "anomalib-lite"
app = typer.Typer(
    name=_NAME,
    help="Good images in, one verified edge file out: fit, calibrate, export, score.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Learn from good images": (fit, tune, update, audit),
    "Judge frames": (export, check, score, score_pool, bench, info),
    "Measure on labelled data": (evaluate, compare, pod, report, datasets),
    "Make": (distill, simulate, demo),
}
WITH_DETECTOR = (fit, score_pool, evaluate)
for panel, commands in COMMANDS.items():
    for command in commands:
        kind = DetectorCommand if command in WITH_DETECTOR else None
        app.command(command.__name__.replace("_", "-"), cls=kind, rich_help_panel=panel)(
            alone(command)
        )

_TRAINING_PACKAGES = frozenset({"onnx", "safetensors", "scipy", "sklearn", "timm", "torch"})


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"anomalib-lite {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            callback=_show_version,
            is_eager=True,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    """Industrial anomaly detection from good images only."""


def run() -> NoReturn:
    """Entry point: a user's mistake ends in one line and exit status 2, never in a traceback."""
    warnings.showwarning = _warn_in_one_line
    with ended_by_signals() as received:
        try:
            status = _run(received)
        except BaseException:
            # Before or after the command itself, or as another error: a library that a signal
            # stops while it is loaded says that it cannot be.
            if not received:
                raise
            status = _tell("interrupted; files written so far are complete", ending(received))
    sys.exit(status)


def _run(received: list[int]) -> int:
    """The command's exit status; errors are told on stderr."""
    try:
        status = app(prog_name=_NAME, standalone_mode=False)
    except ImportError as error:
        advice = None if received else _advice(error)
        if advice is None:
            raise
        return _tell(f"error: {advice}")
    except KeyboardInterrupt:
        status = INTERRUPTED
    except SystemExit as stop:
        return _closed_pipe(stop)
    except Exception as error:
        line = None if received else _known(error)
        if line is None:
            raise
        return _tell(f"error: {line}") if line else USER_ERROR
    if status == INTERRUPTED and received:
        return _tell("interrupted; files written so far are complete", ending(received))
    return status if isinstance(status, int) else 0


def _known(error: Exception) -> str | None:
    """One line for what a user can mend; None for a fault of this program."""
    # Not imported above: on a box where OpenCV cannot be loaded, --version must still work.
    errors = sys.modules.get("anomalib_lite.edge.errors")
    if errors is not None and isinstance(error, errors.AnomalibLiteError):
        return one_line(str(error))
    if isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
        return one_line(f"{error.filename}: {reason}" if error.filename else reason)
    return usage_line(error) if hasattr(error, "format_message") else None


def _tell(line: str, status: int = USER_ERROR) -> int:
    print(line, file=sys.stderr)
    return status


def _closed_pipe(stop: SystemExit) -> int:
    """Typer ends with 1 when the reader of the output (`| head`) has gone; nothing has failed."""
    if stop.code == 1:
        sys.stderr.close()
        return 0
    raise stop


def _warn_in_one_line(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _advice(error: ImportError) -> str | None:
    """What to install when a package or a library of the system is missing; None if unknown."""
    package = (error.name or "").split(".")[0]
    if package == "anomalib_lite":
        return None  # a fault of this program, whatever path it names
    if package in _TRAINING_PACKAGES:
        return f"this command needs {error.name}; pip install 'anomalib-lite[train]'"
    if package == "cv2" or ".so" in str(error):
        return (
            f"OpenCV cannot be loaded here ({error}); pip install --force-reinstall "
            "opencv-python-headless, which needs no display libraries"
        )
    return None
