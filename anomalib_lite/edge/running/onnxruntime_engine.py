"""ONNX Runtime: on the processor, or with one of its providers for other hardware."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anomalib_lite.edge.cpu import checked_threads
from anomalib_lite.edge.errors import SettingsError
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
from anomalib_lite.edge.quiet import import_onnxruntime
from anomalib_lite.edge.running.providers import Provider


class OnnxRuntimeEngine:
    """ONNX Runtime on the CPU, or where a provider computes.

    Args:
        path: edge file.
        threads: threads inside one inference; None takes what the machine allows (`edge.cpu`).
        allow_spinning: whether threads that wait for the next inference keep a core busy: quicker
            by a little, and taken from whatever else runs on the box.
        provider: what computes in place of the processor; None takes the processor.

    Raises:
        ModelFileError: the file is missing, corrupt, or not an edge file of this project.
        SettingsError: the provider cannot start on this machine.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int | None = None,
        allow_spinning: bool = True,
        provider: Provider | None = None,
    ) -> None:
        onnxruntime = import_onnxruntime()
        self.rounding = 1.0 if provider is None else provider.rounding
        self.threads = checked_threads(threads)
        options = session_options(onnxruntime, self.threads, allow_spinning=allow_spinning)
        self._path = path
        file = read_model(path)
        self.metadata = file.metadata[METADATA_KEY]
        self.graph_crc32 = file.graph_crc32
        del file
        wanted: list[Any] = [] if provider is None else [provider.with_options(path)]
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=[*wanted, "CPUExecutionProvider"]
            )
        except Exception as error:
            if provider is not None:
                raise provider.cannot_start(error) from error
            raise cannot_open(path, f"ONNX Runtime {onnxruntime.__version__}", error) from error
        first = self._session.get_providers()[0]
        # ONNX Runtime goes on with the processor where a provider does not start.
        if provider is not None and first != provider.library_name:
            raise provider.cannot_start(None)
        self.name = f"onnxruntime {onnxruntime.__version__} {first}"
        names = [item.name for item in self._session.get_outputs()]
        inputs = [item.name for item in self._session.get_inputs()]
        standard = tuple(names[: len(STANDARD_OUTPUTS)]) == STANDARD_OUTPUTS
        if inputs[:1] != [FRAMES] or not standard:
            raise foreign(path, inputs, names)
        self.inputs = tuple(inputs)
        self._outputs = names
        self.extra_outputs = tuple(names[len(STANDARD_OUTPUTS) :])

    def run(self, prepared: Prepared) -> Outputs:
        """One inference; safe to call from several threads at once."""
        given = prepared if isinstance(prepared, Mapping) else {FRAMES: prepared}
        try:
            score, anomaly_map, *rest = self._session.run(self._outputs, given)
        except Exception as error:
            raise cannot_run(self._path, error) from error
        extra = dict(zip(self.extra_outputs, rest, strict=True))
        return checked_outputs(Outputs(score, anomaly_map, extra), len(given[FRAMES]), self._path)


def session_options(onnxruntime: Any, threads: int, *, allow_spinning: bool = True) -> Any:
    """Session options: quiet, with so many threads, and an arena that grows by what is asked."""
    if not isinstance(allow_spinning, bool):
        raise SettingsError(f"allow_spinning is {allow_spinning!r}; choose True or False")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{pool}.allow_spinning", f"{allow_spinning:d}")
    if shared_allocator(onnxruntime):
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        options.enable_mem_pattern = False
    return options
