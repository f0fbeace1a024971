"""Intel OpenVINO on the CPU: reads the same ONNX file."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from anomalib_lite.edge.cpu import checked_threads
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.inputs import FRAMES, Prepared
from anomalib_lite.edge.model_files.whole_file import cannot_open, cannot_run, checked_outputs
from anomalib_lite.edge.outputs import STANDARD_OUTPUTS, Outputs
from anomalib_lite.edge.quiet import import_openvino
from anomalib_lite.edge.running.onnxruntime_engine import OnnxRuntimeEngine

_BF16_ROUNDING = 20.0
"""bfloat16 keeps 8 bits: scores agree to about half a percent (docs/benchmarks.md)."""


class OpenVinoEngine:
    """Intel OpenVINO on the CPU: reads the same ONNX file.

    Args:
        path: edge file.
        threads: threads inside one inference; None takes what the machine allows (`edge.cpu`).
        precision: `"f32"` or `"bf16"` (faster where the processor has it, less exact).

    Raises:
        ModelFileError: as for ONNX Runtime.
        SettingsError: OpenVINO is not installed, or this processor cannot compute so.
    """

    def __init__(
        self, path: str | Path, *, threads: int | None = None, precision: str = "f32"
    ) -> None:
        try:
            openvino = import_openvino()
        except ImportError as error:
            raise SettingsError(
                "OpenVINO is not installed; pip install 'anomalib-lite[openvino]', or use "
                "the engine onnxruntime"
            ) from error
        # The description is read by ONNX Runtime, which checks the interface on the way.
        described = OnnxRuntimeEngine(path, threads=1)
        self._path = path
        self.metadata, self.graph_crc32 = described.metadata, described.graph_crc32
        self.inputs, self.extra_outputs = described.inputs, described.extra_outputs
        del described
        self.rounding = _BF16_ROUNDING if precision == "bf16" else 1.0
        self.threads = checked_threads(threads)
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": precision,
        }
        try:
            self._model = openvino.Core().compile_model(str(path), "CPU", config)
            self._idle = deque([self._model.create_infer_request()])
        except RuntimeError as error:
            raise cannot_open(path, f"OpenVINO {openvino.__version__}", error) from error
        if precision == "bf16":
            _require_bf16(self._model)
        self.name = f"openvino {openvino.__version__.split('-')[0]} CPU {precision}"

    def run(self, prepared: Prepared) -> Outputs:
        """One inference; safe to call from several threads at once."""
        given = prepared if isinstance(prepared, Mapping) else {FRAMES: prepared}
        try:
            with self._request() as request:
                result = request.infer(given)
                score, anomaly_map = (np.array(result[name]) for name in STANDARD_OUTPUTS)
                extra = {name: np.array(result[name]) for name in self.extra_outputs}
        except RuntimeError as error:
            raise cannot_run(self._path, error) from error
        return checked_outputs(Outputs(score, anomaly_map, extra), len(given[FRAMES]), self._path)

    @contextmanager
    def _request(self) -> Iterator[Any]:
        """A request of one's own: it holds inputs and results, so two calls must not share one.

        As many are kept as were ever at work at once.
        """
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._model.create_infer_request()
        try:
            yield request
        finally:
            self._idle.append(request)


def _require_bf16(compiled: Any) -> None:
    """Raise `SettingsError` where OpenVINO has fallen back to single precision."""
    found = str(compiled.get_property("INFERENCE_PRECISION_HINT"))
    if "bfloat16" not in found and "bf16" not in found:
        raise SettingsError(
            "the engine openvino-bf16 does not start here: this processor has no bfloat16 "
            f"arithmetic (OpenVINO would compute in {found}); use the engine openvino"
        )
