"""The command `anomalib-lite`. Commands import what they need when they run, so help is quick."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer

from anomalib_lite import __version__
from anomalib_lite.cli.audit import audit
from anomalib_lite.cli.bench import bench
from anomalib_lite.cli.check import check
from anomalib_lite.cli.datasets import datasets
from anomalib_lite.cli.demo import demo
from anomalib_lite.cli.distill import distill
from anomalib_lite.cli.evaluate import evaluate
from anomalib_lite.cli.export import export
from anomalib_lite.cli.fit import fit
from anomalib_lite.cli.info import info
from anomalib_lite.cli.report import report
from anomalib_lite.cli.score import score
from anomalib_lite.cli.score_pool import score_pool
from anomalib_lite.cli.update import update

app = typer.Typer(
    name="anomalib-lite",
    help="Good images in, one verified edge file out: fit, calibrate, export, score.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
COMMANDS: tuple[Callable[..., None], ...] = (
    fit,
    update,
    export,
    check,
    info,
    score,
    score_pool,
    bench,
    evaluate,
    report,
    audit,
    datasets,
    distill,
    demo,
)
for command in COMMANDS:
    app.command()(command)

INTERRUPTED = 130
USER_ERROR = 2
_TRAINING_PACKAGES = frozenset({"onnx", "safetensors", "scipy", "sklearn", "timm", "torch"})


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"anomalib-lite {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Industrial anomaly detection from good images only."""


def run() -> None:
    """Entry point: a user's mistake ends in one line and exit status 2, never in a traceback."""
    previous = signal.signal(signal.SIGINT, _interrupt_once)
    warnings.showwarning = _warn_in_one_line
    try:
        app()
    except ImportError as error:
        advice = _advice(error)
        if advice is None:
            raise
        print(f"error: {advice}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        print("interrupted; files written so far are complete", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        # Not imported above: on a box where OpenCV cannot be loaded, --version must still work.
        errors = sys.modules.get("anomalib_lite.edge.errors")
        if errors is None or not isinstance(error, errors.AnomalibLiteError):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    finally:
        if signal.getsignal(signal.SIGINT) is _interrupt_once:
            signal.signal(signal.SIGINT, previous)


def _warn_in_one_line(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _advice(error: ImportError) -> str | None:
    """What to install when a package or a library of the system is missing; None if unknown."""
    package = (error.name or "").split(".")[0]
    if package in _TRAINING_PACKAGES:
        return f"this command needs {error.name}; pip install 'anomalib-lite[train]'"
    if package == "cv2" or ".so" in str(error):
        return (
            f"OpenCV cannot be loaded here ({error}); pip install --force-reinstall "
            "opencv-python-headless, which needs no display libraries"
        )
    return None


def _interrupt_once(number: int, frame: object) -> None:
    """The first Ctrl-C ends the command; more of them must not disturb it while it tidies up.

    A second one could leave decoding threads running into the interpreter's end, which aborts.
    """
    del number, frame
    signal.signal(signal.SIGINT, lambda *_: None)
    raise KeyboardInterrupt
