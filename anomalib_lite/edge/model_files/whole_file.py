"""The edge file as a whole, judged before an engine sees it; what to say when it will not do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anomalib_lite.edge.errors import ModelFileError
from anomalib_lite.edge.model_files.file_kind import EDGE_FILE, other_kind
from anomalib_lite.edge.model_files.graph_rules import check_graph
from anomalib_lite.edge.model_files.metadata import METADATA_KEY
from anomalib_lite.edge.model_files.onnx_wire import OnnxFile, read_onnx
from anomalib_lite.edge.outputs import Outputs

_LONGEST_REASON = 300


def read_model(path: str | Path) -> OnnxFile:
    """Read an edge file without computing anything.

    Raises:
        ModelFileError: it is missing, damaged, foreign, or its graph is not of the kind that
            exports write.
    """
    if not Path(path).is_file():
        raise other_kind(path, EDGE_FILE) or ModelFileError(f"{path}: no such file")
    try:
        file = read_onnx(path)
    except (OSError, ValueError) as error:
        raise other_kind(path, EDGE_FILE) or unreadable(path, error) from error
    if METADATA_KEY not in file.metadata:
        raise foreign(path, file.inputs, file.outputs)
    try:
        check_graph(file)
    except ValueError as error:
        raise ModelFileError(
            f"{path}: its graph is refused: {error}; export it again with anomalib_lite"
        ) from error
    return file


def unreadable(path: str | Path, error: Exception) -> ModelFileError:
    """The error for a file that is no ONNX file."""
    return ModelFileError(
        f"{path}: is not a readable ONNX file (corrupt, truncated or foreign: {_reason(error)}); "
        "export it again"
    )


def cannot_open(path: str | Path, engine: str, error: Exception) -> ModelFileError:
    """The error for a whole graph that an engine refuses; its own words tell why."""
    return ModelFileError(
        f"{path}: {engine} cannot open it ({_reason(error)}); the file is whole, so update "
        f"{engine} to the version of the export or later, choose another engine, or export it again"
    )


def foreign(path: str | Path, inputs: list[str], outputs: list[str]) -> ModelFileError:
    """The error for an ONNX file of somebody else."""
    return ModelFileError(
        f"{path}: is an ONNX file, but not one exported by anomalib_lite "
        f"(inputs {inputs[:8]}, outputs {outputs[:8]})"
    )


def cannot_run(path: str | Path, error: Exception) -> ModelFileError:
    """The error for a graph that an engine has loaded and cannot compute."""
    return ModelFileError(
        f"{path}: the engine cannot compute it ({_reason(error)}); export it again, or use less "
        "memory with a smaller batch"
    )


def checked_outputs(outputs: Outputs, frames: int, path: str | Path) -> Outputs:
    """Outputs, after a check of number types and shapes; raises `ModelFileError`."""
    score, anomaly_map = outputs.score, outputs.anomaly_map
    fits = score.shape == (frames,) and anomaly_map.ndim == 3 and len(anomaly_map) == frames
    if not fits or score.dtype != np.float32 or anomaly_map.dtype != np.float32:
        raise ModelFileError(
            f"{path}: its graph gives score {score.dtype} {score.shape} and anomaly_map "
            f"{anomaly_map.dtype} {anomaly_map.shape} for {frames} frames, expected float32 (N,) "
            "and (N, h, w); export it again"
        )
    if not anomaly_map.size and frames:
        raise ModelFileError(f"{path}: its map holds no value; export it again")
    for name, values in outputs.extra.items():
        if not values.ndim or len(values) != frames:
            raise ModelFileError(
                f"{path}: its graph gives {name} {values.shape} for {frames} frames, expected "
                "(N, ...); export it again"
            )
    return outputs


def _reason(error: Exception) -> str:
    """An engine's words in one line of bounded length."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= _LONGEST_REASON else words[: _LONGEST_REASON - 1] + "…"
