"""A model repository for NVIDIA Triton Inference Server: `NAME/config.pbtxt`, `NAME/1/model.onnx`.

The configuration is protobuf text of `inference.ModelConfig` (Triton's `model_config.proto`). The
server runs the graph and gives raw scores; frames are prepared, and scores judged, by its caller.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.files import cannot_write, sha256_file
from anomalib_lite.edge.inputs import FRAMES
from anomalib_lite.edge.model import EdgeModel
from anomalib_lite.edge.outputs import STANDARD_OUTPUTS

MOST_FRAMES = 16
"""Frames that the server may put into one inference."""
LONGEST_WAIT_US = 500
"""How long a frame waits for others, microseconds."""

_TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
}
_LONGEST_NAME = 100


def model_folder(repository: str | Path, edge_file: str | Path) -> Path:
    """Where the model will lie in the repository; its name is the edge file's.

    Raises:
        SettingsError: the repository is a file, or it has a model of this name.
    """
    root = Path(repository)
    if root.exists() and not root.is_dir():
        raise SettingsError(f"{root}: is a file; name a folder for Triton's model repository")
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", Path(edge_file).stem).lstrip(".")[:_LONGEST_NAME]
    folder = root / (name or "part")
    if os.path.lexists(folder):
        raise SettingsError(
            f"{folder}: exists already; remove it, name another repository, or give the edge file "
            "another name"
        )
    return folder


def write_model(edge_file: str | Path, repository: str | Path) -> Path:
    """Put an edge file into a model repository; the folder appears whole or not at all.

    Args:
        edge_file: an exported `.onnx` file; its stem becomes the model's name.
        repository: the folder that Triton is started with (`--model-repository`).

    Returns:
        the model's folder.

    Raises:
        AnomalibLiteError: it exists already, or the disk is full or read-only.
        ModelFileError: the edge file is damaged.
    """
    folder = model_folder(repository, edge_file)
    text = config_pbtxt(edge_file, folder.name)
    draft = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Under another name first: a server that watches the folder must not load half a model.
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        draft.chmod(0o755)
        (draft / "1").mkdir()
        shutil.copyfile(edge_file, draft / "1" / "model.onnx")
        (draft / "config.pbtxt").write_text(text, encoding="utf-8")
        draft.rename(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        if draft is not None and draft.is_dir():
            shutil.rmtree(draft)
    return folder


def config_pbtxt(edge_file: str | Path, name: str) -> str:
    """The configuration of an edge file, by its graph's own tensor names, types and shapes."""
    model = EdgeModel(edge_file, self_test=False)
    blank = model.inputs.blank()
    inputs = blank if isinstance(blank, Mapping) else {FRAMES: blank}
    given = model.run(blank)
    standard = zip(STANDARD_OUTPUTS, (given.score, given.anomaly_map), strict=True)
    outputs = {**dict(standard), **given.extra}
    parameters = {
        "anomalib_lite.threshold": repr(model.threshold),
        "anomalib_lite.map_threshold": repr(model.calibration.map_threshold),
        "anomalib_lite.sha256": sha256_file(edge_file),
    }
    blocks = [
        f"name: {json.dumps(name)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {MOST_FRAMES}",
        f"dynamic_batching {{ max_queue_delay_microseconds: {LONGEST_WAIT_US} }}",
        *(f"input {_tensor(key, values)}" for key, values in inputs.items()),
        *(f"output {_tensor(key, values)}" for key, values in outputs.items()),
        _warm_up(inputs),
        *(
            f"parameters {{ key: {json.dumps(key)} value {{ string_value: {json.dumps(value)} }} }}"
            for key, value in parameters.items()
        ),
    ]
    return "\n".join(blocks) + "\n"


def _tensor(name: str, values: NDArray[Any]) -> str:
    """One input or output; its first axis, the batch, is not written."""
    shape = list(values.shape[1:])
    # A tensor of one number a frame is `[N]`; the server wants at least one axis beside the batch.
    dims = f"dims: {shape}" if shape else "dims: [1] reshape { shape: [] }"
    return f"{{ name: {json.dumps(name)} data_type: {_type(values.dtype)} {dims} }}"


def _warm_up(inputs: Mapping[str, NDArray[Any]]) -> str:
    """A black frame, so that the first part does not wait for what engines do once."""
    entries = " ".join(
        f"inputs {{ key: {json.dumps(name)} value {{ data_type: {_type(values.dtype)} "
        f"dims: {list(values.shape[1:])} zero_data: true }} }}"
        for name, values in inputs.items()
    )
    return f'model_warmup {{ name: "black" batch_size: 1 {entries} }}'


def _type(dtype: np.dtype[Any]) -> str:
    """Triton's word for a number type."""
    try:
        return _TYPES[dtype.name]
    except KeyError as error:
        raise SettingsError(f"Triton's onnxruntime backend has no numbers of {dtype}") from error
