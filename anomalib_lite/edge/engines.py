"""Inference engines: what runs the exported graph. Each takes and gives the same arrays.

Threads: `run` may be called from any number of threads at once; a call sees its own frames only and
gives arrays that belong to the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from anomalib_lite.edge.cpu import checked_threads
from anomalib_lite.edge.errors import SettingsError, did_you_mean
from anomalib_lite.edge.footprint import shared_allocator
from anomalib_lite.edge.inputs import FRAMES, Prepared
from anomalib_lite.edge.model_files.metadata import METADATA_KEY
from anomalib_lite.edge.model_files.whole_file import (
    cannot_open,
    cannot_run,
    checked_outputs,
    foreign,
    read_model,
)
from anomalib_lite.edge.outputs import STANDARD_OUTPUTS, Outputs
from anomalib_lite.edge.quiet import import_onnxruntime, import_openvino


class Engine(Protocol):
    """Runs the graph: `uint8 [N, h, w, 3]`, or inputs by name -> `Outputs`."""

    @property
    def name(self) -> str:
        """Engine and version, for reports."""

    @property
    def threads(self) -> int:
        """Number of threads used inside one inference."""

    @property
    def rounding(self) -> float:
        """How much coarser this engine computes than float32; widens the self-test."""

    @property
    def metadata(self) -> str:
        """The JSON document stored in the file."""

    @property
    def graph_crc32(self) -> str:
        """Checksum of the graph in the file."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's inputs, `frames` first."""

    @property
    def extra_outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs beyond the standard two."""

    def run(self, prepared: Prepared) -> Outputs:
        """One inference; safe to call from several threads at once."""


_BF16_ROUNDING = 20.0
"""bfloat16 keeps 8 bits: scores agree to about half a percent (docs/benchmarks.md)."""


class OnnxRuntimeEngine:
    """ONNX Runtime on the CPU (or CUDA where that build is installed).

    Args:
        path: edge file.
        threads: threads inside one inference; None takes what the machine allows (`edge.cpu`).
        providers: ONNX Runtime execution providers; None takes the CPU.

    Raises:
        ModelFileError: the file is missing, corrupt, or not an edge file of this project.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int | None = None,
        providers: list[str] | None = None,
    ) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self.rounding = 1.0
        self.threads = checked_threads(threads)
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        if shared_allocator(onnxruntime):
            options.add_session_config_entry("session.use_env_allocators", "1")
            options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
            options.enable_mem_pattern = False
        self._path = path
        file = read_model(path)
        self.metadata = file.metadata[METADATA_KEY]
        self.graph_crc32 = file.graph_crc32
        del file
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=providers or ["CPUExecutionProvider"]
            )
        except Exception as error:
            raise cannot_open(path, f"ONNX Runtime {onnxruntime.__version__}", error) from error
        self.name = f"onnxruntime {onnxruntime.__version__} {self._session.get_providers()[0]}"
        names = [item.name for item in self._session.get_outputs()]
        inputs = [item.name for item in self._session.get_inputs()]
        standard = tuple(names[: len(STANDARD_OUTPUTS)]) == STANDARD_OUTPUTS
        if inputs[:1] != [FRAMES] or not standard:
            raise foreign(path, inputs, names)
        self.inputs = tuple(inputs)
        self._outputs = names
        self.extra_outputs = tuple(names[len(STANDARD_OUTPUTS) :])

    def run(self, prepared: Prepared) -> Outputs:
        given = prepared if isinstance(prepared, Mapping) else {FRAMES: prepared}
        try:
            score, anomaly_map, *rest = self._session.run(self._outputs, given)
        except Exception as error:
            raise cannot_run(self._path, error) from error
        extra = dict(zip(self.extra_outputs, rest, strict=True))
        return checked_outputs(Outputs(score, anomaly_map, extra), len(given[FRAMES]), self._path)


class OpenVinoEngine:
    """Intel OpenVINO on the CPU: reads the same ONNX file.

    Args:
        path: edge file.
        threads: threads inside one inference; None takes what the machine allows (`edge.cpu`).
        precision: `"f32"` or `"bf16"` (faster where the processor has it, less exact).

    Raises:
        ModelFileError: as for ONNX Runtime.
        SettingsError: OpenVINO is not installed.
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
        self.name = f"openvino {openvino.__version__.split('-')[0]} CPU {precision}"

    def run(self, prepared: Prepared) -> Outputs:
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


def open_engine(path: str | Path, engine: str, *, threads: int | None) -> Engine:
    """Open an edge file with an engine by name: `onnxruntime`, `cuda`, `openvino`, `openvino-bf16`.

    Raises:
        SettingsError: unknown engine, or one that is not installed.
    """
    if engine == "onnxruntime":
        return OnnxRuntimeEngine(path, threads=threads)
    if engine == "cuda":
        if "CUDAExecutionProvider" not in import_onnxruntime().get_available_providers():
            raise SettingsError("this ONNX Runtime has no CUDA; install onnxruntime-gpu")
        return OnnxRuntimeEngine(
            path, threads=threads, providers=["CUDAExecutionProvider", "CPUExecutionProvider"]
        )
    if engine == "openvino":
        return OpenVinoEngine(path, threads=threads)
    if engine == "openvino-bf16":
        return OpenVinoEngine(path, threads=threads, precision="bf16")
    meant = did_you_mean(str(engine), ("onnxruntime", "cuda", "openvino", "openvino-bf16"))
    raise SettingsError(
        f"unknown engine {engine!r}{meant}; choose onnxruntime, cuda, openvino or openvino-bf16"
    )
