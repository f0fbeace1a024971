"""What several commands share: the console, progress bars, opening a model, parsing sizes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.edge.model import EdgeModel
    from anomalib_lite.scorers import Progress

WEIGHTS: Any = typer.Option(
    help="Weights of the backbone (.safetensors); default: the folder in ANOMALIB_LITE_WEIGHTS, "
    "then the hub."
)


def console(*, stderr: bool = False) -> Console:
    """A rich console; tables go to stdout, progress and warnings to stderr."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress call-back that draws bars with the time left on stderr."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    screen = console(stderr=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def advance(stage: str, done: int, total: int) -> None:
            name = stage.partition(" | ")[0]
            if name not in tasks:
                tasks[name] = bars.add_task(stage, total=total or None)
            bars.update(tasks[name], description=stage, completed=done, total=total or None)

        yield advance


def open_model(
    path: Path, *, max_false_reject: float | None = None, engine: str = "onnxruntime"
) -> EdgeModel | Detector:
    """Open an edge file (`.onnx`) or a detector (`.safetensors`)."""
    from anomalib_lite.edge.errors import ModelFileError, SettingsError

    if path.suffix == ".onnx":
        from anomalib_lite.edge.model import EdgeModel

        return EdgeModel(path, engine=engine, max_false_reject=max_false_reject)
    if path.suffix == ".safetensors":
        try:
            from anomalib_lite.detector.detector import Detector
        except ImportError as error:
            raise SettingsError(
                f"{path}: a .safetensors detector needs torch; pip install "
                "'anomalib-lite[train]', or export it to .onnx where torch is"
            ) from error
        detector = Detector.load(path)
        if max_false_reject is not None:
            detector.recalibrate(max_false_reject)
        return detector
    raise ModelFileError(
        f"{path}: expected a .onnx edge file or a .safetensors detector"
        + ("" if path.exists() else " (and there is no such file)")
    )


def parse_size(text: str) -> tuple[int, int]:
    """`"256"` -> (256, 256), `"256x320"` -> height 256, width 320."""
    from anomalib_lite.edge.errors import SettingsError

    sides = text.lower().split("x")
    if not all(side.strip().isdecimal() for side in sides) or len(sides) > 2:
        raise SettingsError(f"size {text!r} is not understood; write 256 or HxW such as 256x320")
    values = [int(side) for side in sides]
    return values[0], values[-1]


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """`["sigma=3", "components=low"]` -> settings; values are read as JSON, else as text."""
    from anomalib_lite.edge.errors import SettingsError

    settings: dict[str, Any] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise SettingsError(f"setting {pair!r} is not understood; write name=value")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings
