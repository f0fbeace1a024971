"""Let timm import where torchvision's compiled operators do not load.

timm imports torchvision, and torchvision describes its operators `nms` and `qnms` at import.
Beside a CPU build of torch a CUDA build of torchvision cannot load its library, the operators are
then missing and the import ends with `operator torchvision::nms does not exist`. Nothing here
uses these operators, so their schemas are declared, without implementation, only when they are
absent.
"""

from __future__ import annotations

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library: torch.library.Library | None = None


def declare_missing_operators() -> None:
    """Declare `torchvision::nms` and `torchvision::qnms` unless torchvision brings its own.

    Call before the first import of timm. Safe to call again.
    """
    global _library
    if _library is not None or _real_operators_load():
        return
    _library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        _library.define(operator + _SCHEMA)


def _real_operators_load() -> bool:
    try:
        import torchvision  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        _forget_half_import()
        return False
    return True


def _forget_half_import() -> None:
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
