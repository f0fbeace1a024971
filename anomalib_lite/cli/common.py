"""What several commands share: the console, exit statuses, opening a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.edge.model import EdgeModel

CHECK_FAILED = 1
USER_ERROR = 2
UNUSABLE = 3
INTERRUPTED = 130


def console(*, stderr: bool = False) -> Console:
    """A rich console; tables go to stdout, progress and warnings to stderr."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def bold(text: object) -> str:
    """Text in bold, for a console that reads markup; brackets in a path are not markup."""
    from rich.markup import escape

    return f"[bold]{escape(str(text))}[/bold]"


def open_model(
    path: Path,
    *,
    max_false_reject: float | None = None,
    engine: str | None = None,
    threads: int | None = None,
    allow_spinning: bool = True,
    engine_settings: list[str] | None = None,
) -> EdgeModel | Detector:
    """Open an edge file (`.onnx`) or a detector (`.safetensors`).

    Args:
        path: the file.
        max_false_reject: another rate than the stored one.
        engine: what computes an edge file; None is ONNX Runtime.
        threads: set for OpenCV, the engine or torch; None takes what the machine allows.
        allow_spinning: as for `EdgeModel`.
        engine_settings: `NAME=VALUE` each.

    Raises:
        ModelFileError: the file is of another kind, damaged or absent.
        SettingsError: an engine for a detector, which torch computes; a rate out of range.
    """
    from anomalib_lite.edge import cpu
    from anomalib_lite.edge.errors import ModelFileError
    from anomalib_lite.edge.model_files.file_kind import ANY, other_kind

    if path.suffix == ".onnx":
        cpu.use_threads(threads)
        return open_edge_model(
            path,
            max_false_reject=max_false_reject,
            engine=engine,
            allow_spinning=allow_spinning,
            engine_settings=engine_settings,
        )
    if path.suffix == ".safetensors":
        return _open_detector(path, max_false_reject, engine, threads)
    raise other_kind(path, ANY) or ModelFileError(
        f"{path}: expected a .onnx edge file or a .safetensors detector"
        + ("" if path.exists() else " (and there is no such file)")
    )


def open_edge_model(
    path: Path,
    *,
    engine: str | None,
    allow_spinning: bool,
    engine_settings: list[str] | None,
    max_false_reject: float | None = None,
    self_test: bool = True,
) -> EdgeModel:
    """Open an edge file, and say which engine `auto` chose; arguments as for `open_model`."""
    from anomalib_lite.cli.values import parse_engine_settings
    from anomalib_lite.edge.model import EdgeModel

    model = EdgeModel(
        path,
        engine=engine or "onnxruntime",
        allow_spinning=allow_spinning,
        engine_options=parse_engine_settings(engine_settings),
        max_false_reject=max_false_reject,
        self_test=self_test,
    )
    if model.engine_choice is not None:
        console(stderr=True).print(model.engine_choice.explain(), markup=False)
    return model


def _open_detector(
    path: Path, max_false_reject: float | None, engine: str | None, threads: int | None
) -> Detector:
    from anomalib_lite.edge.errors import SettingsError

    if engine is not None:
        raise SettingsError(
            f"--engine {engine}: {path} is computed by torch; export it to .onnx, or leave "
            "--engine out"
        )
    try:
        from anomalib_lite.detector.detector import Detector
        from anomalib_lite.system.threads import use_threads
    except ImportError as error:
        raise SettingsError(
            f"{path}: a .safetensors detector needs torch; pip install "
            "'anomalib-lite[train]', or export it to .onnx where torch is"
        ) from error
    use_threads(threads)
    detector = Detector.load(path)
    if max_false_reject is not None:
        detector.recalibrate(max_false_reject)
    return detector


def check_detector_name(out: Path) -> None:
    """Raise `SettingsError` unless a detector can be written under this name."""
    from anomalib_lite.edge.errors import SettingsError

    if out.suffix != ".safetensors":
        raise SettingsError(f"--out {out}: the detector file must end in .safetensors")
    if out.is_dir():
        raise SettingsError(f"--out {out}: is a folder; name a file in it")
