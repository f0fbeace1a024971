"""Engines without their reporters. Nothing is sent: see also `anomalib_lite.QUIET`.

ONNX Runtime's Linux wheel queues events on disk and resolves its maker's host while a session
lives; OpenVINO counts its imports at Google.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from anomalib_lite import QUIET

_OPENVINO_REPORTER = "openvino_telemetry"
_SWITCH = "ORT_DISABLE_TELEMETRY"


def import_onnxruntime() -> Any:
    """ONNX Runtime; where the program imported it before this package, told to report no more."""
    import onnxruntime

    if os.environ.get(_SWITCH) == QUIET[_SWITCH]:
        onnxruntime.disable_telemetry_events()
    return onnxruntime


def import_openvino() -> Any:
    """OpenVINO; its reporter, which is a package of its own, looks absent to it."""
    with _absent(_OPENVINO_REPORTER):
        import openvino
    return openvino


@contextmanager
def _absent(name: str) -> Iterator[None]:
    """Within it, an import of a package fails, unless the program has imported it before."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
