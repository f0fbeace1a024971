"""Runs graphs that are not files yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.cpu import default_threads
from anomalib_lite.edge.inputs import FRAMES, Prepared
from anomalib_lite.edge.outputs import STANDARD_OUTPUTS, Outputs
from anomalib_lite.edge.quiet import import_onnxruntime
from anomalib_lite.edge.running.onnxruntime_engine import session_options

Run = Callable[[Prepared], Outputs]
_AT_ONCE = 4


def runner(model: Any, *, threads: int | None = None) -> Run:
    """An `onnx.ModelProto` as a function of prepared frames, by ONNX Runtime."""
    onnxruntime = import_onnxruntime()
    options = session_options(onnxruntime, threads or default_threads(), allow_spinning=False)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [item.name for item in session.get_outputs()]

    def run(prepared: Prepared) -> Outputs:
        score, anomaly_map, *rest = session.run(names, {FRAMES: prepared})
        extra = dict(zip(names[len(STANDARD_OUTPUTS) :], rest, strict=True))
        return Outputs(score, anomaly_map, extra)

    return run


def outputs_of(run: Run, frames: NDArray[np.uint8]) -> Outputs:
    """Outputs for frames uint8 `(n, h, w, 3)`, a few at a time."""
    parts = [run(frames[start : start + _AT_ONCE]) for start in range(0, len(frames), _AT_ONCE)]
    return Outputs(
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.anomaly_map for part in parts]),
        {name: np.concatenate([part.extra[name] for part in parts]) for name in parts[0].extra},
    )
