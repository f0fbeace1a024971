"""Inference engines: what runs the exported graph. Each takes and gives the same arrays.

Threads: `run` may be called from any number of threads at once; a call sees its own frames only and
gives arrays that belong to the caller. The engines themselves stand in `running/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from anomalib_lite.edge.errors import SettingsError, did_you_mean
from anomalib_lite.edge.inputs import Prepared
from anomalib_lite.edge.outputs import Outputs
from anomalib_lite.edge.quiet import import_onnxruntime
from anomalib_lite.edge.running import providers
from anomalib_lite.edge.running.onnxruntime_engine import OnnxRuntimeEngine
from anomalib_lite.edge.running.openvino_engine import OpenVinoEngine

__all__ = ["AUTO", "ENGINES", "Engine", "OnnxRuntimeEngine", "OpenVinoEngine", "open_engine"]

AUTO = "auto"
ENGINES = ("onnxruntime", "openvino", "openvino-bf16", *providers.NAMES)


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


def open_engine(
    path: str | Path,
    engine: str,
    *,
    threads: int | None,
    allow_spinning: bool = True,
    engine_options: Mapping[str, Any] | None = None,
) -> Engine:
    """Open an edge file with an engine by name, one of `ENGINES`; nothing falls back to another.

    Args:
        path: edge file.
        engine: its name.
        threads: threads inside one inference; None takes what the machine allows.
        allow_spinning: ONNX Runtime's threads only; OpenVINO's sleep between inferences.
        engine_options: for `cuda` and `tensorrt`, as ONNX Runtime documents them, e.g.
            `{"device_id": 1}`.

    Raises:
        SettingsError: unknown engine, one that is not installed, or options for one that has none.
    """
    if engine in providers.NAMES:
        provider = providers.provider_of(engine, engine_options)
        return OnnxRuntimeEngine(
            path, threads=threads, allow_spinning=allow_spinning, provider=provider
        )
    if engine not in ENGINES:
        meant = did_you_mean(str(engine), (*ENGINES, AUTO))
        raise SettingsError(
            f"unknown engine {engine!r}{meant}; choose {', '.join(ENGINES)} or {AUTO}"
        )
    if engine_options:
        raise SettingsError(
            f"the engine {engine} takes no options (given: {', '.join(engine_options)}); they are "
            f"for {', '.join(providers.NAMES)}"
        )
    if engine == "onnxruntime":
        return OnnxRuntimeEngine(path, threads=threads, allow_spinning=allow_spinning)
    precision = "bf16" if engine == "openvino-bf16" else "f32"
    return OpenVinoEngine(path, threads=threads, precision=precision)


def quick_to_open() -> tuple[str, ...]:
    """Engines that this box has and that open a file in a second: `auto` chooses among them."""
    names = ["onnxruntime"]
    if find_spec("openvino") is not None:
        names += ["openvino", "openvino-bf16"]
    if "CUDAExecutionProvider" in import_onnxruntime().get_available_providers():
        names.append("cuda")
    return tuple(names)
