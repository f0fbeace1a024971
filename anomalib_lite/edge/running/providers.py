"""ONNX Runtime's providers for NVIDIA hardware, by name: what to ask of them, what they lack here.

Where a provider cannot start, ONNX Runtime by itself goes on with the processor and says so in a
log. Here that is an error: a box that was bought for its GPU should not judge at a tenth of its
speed unnoticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.files import sha256_file
from anomalib_lite.edge.quiet import import_onnxruntime
from anomalib_lite.edge.running.cache import cache_folder

_FP16_ROUNDING = 20.0
_REASON = 160


@dataclass(frozen=True)
class Provider:
    """What computes in place of the processor.

    Attributes:
        engine: the name that people give.
        library_name: the name that ONNX Runtime gives.
        options: for that provider, as ONNX Runtime documents them.
        rounding: as `Engine.rounding`.
        keeps_engines: whether what it builds of a file is kept for the next start.
    """

    engine: str
    library_name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    rounding: float = 1.0
    keeps_engines: bool = False

    def with_options(self, path: str | Path) -> tuple[str, dict[str, str]]:
        """As ONNX Runtime takes it; the cache of built engines is the file's own."""
        options: dict[str, Any] = {}
        if self.keeps_engines:
            folder = cache_folder() / "tensorrt" / sha256_file(path)[:32]
            options = {
                "trt_engine_cache_enable": True,
                "trt_engine_cache_path": str(folder),
                "trt_timing_cache_enable": True,
                "trt_timing_cache_path": str(folder),
            }
        options.update(self.options)
        if self.keeps_engines:
            _make(Path(options["trt_engine_cache_path"]))
        return self.library_name, {name: str(value) for name, value in options.items()}

    def cannot_start(self, error: Exception | None) -> SettingsError:
        """The error for hardware or libraries that are missing, or an option that is wrong."""
        reason = " ".join(str(error or "").split())[:_REASON]
        words = f" ({reason})" if reason else ""
        return SettingsError(
            f"the engine {self.engine} does not start here{words}; this needs an NVIDIA GPU, its "
            "driver and the libraries that onnxruntime-gpu names, and options that it knows; or "
            "use the engine onnxruntime"
        )


_KNOWN = {
    "cuda": Provider("cuda", "CUDAExecutionProvider", {"use_tf32": 0}),
    "tensorrt": Provider("tensorrt", "TensorrtExecutionProvider", keeps_engines=True),
    "tensorrt-fp16": Provider(
        "tensorrt-fp16",
        "TensorrtExecutionProvider",
        {"trt_fp16_enable": True},
        _FP16_ROUNDING,
        keeps_engines=True,
    ),
}
"""TF32 keeps 10 bits of a factor: off, so that `cuda` computes what was fitted."""

NAMES = tuple(_KNOWN)


def provider_of(engine: str, options: Mapping[str, Any] | None = None) -> Provider:
    """The provider behind the name of an engine, with a user's options over the usual ones.

    Raises:
        SettingsError: this build of ONNX Runtime lacks it.
    """
    known = _KNOWN[engine]
    if known.library_name not in import_onnxruntime().get_available_providers():
        short = known.library_name.removesuffix("ExecutionProvider")
        raise SettingsError(
            f"engine {engine}: this ONNX Runtime has no {short}; install onnxruntime-gpu in place "
            "of onnxruntime, or use the engine onnxruntime"
        )
    return replace(known, options={**known.options, **(options or {})})


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"{folder}: cannot keep built engines there ({error.strerror}); set "
            "ANOMALIB_LITE_CACHE to a folder that can be written"
        ) from error
