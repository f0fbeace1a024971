"""Where torch computes: choosing a device, and putting modules and tensors there.

A device is chosen when a detector is made. Files and results do not depend on it: tensors are saved
from the CPU, and statistics in float64 stay on the CPU where a device has no float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from anomalib_lite.edge.errors import SettingsError

AUTO = "auto"
CPU = torch.device("cpu")
_KINDS = ("cpu", "cuda", "mps")
_WITHOUT_FLOAT64 = ("mps",)

M = TypeVar("M", bound=nn.Module)


def choose_device(wanted: str | torch.device = AUTO) -> torch.device:
    """The device to compute on.

    `"auto"` takes CUDA where torch finds it, else the CPU. Apple's `"mps"` has no float64 and is
    taken on request only.

    Args:
        wanted: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:1"` or `"mps"`.

    Raises:
        SettingsError: no such device here, or not understood.
    """
    if wanted == AUTO:
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in _KINDS:
        said = wanted or repr(wanted)
        raise SettingsError(f"device {said}: not understood; choose auto, cpu, cuda, cuda:1 or mps")
    if device.type == "cpu":
        return CPU
    count = torch.cuda.device_count() if device.type == "cuda" else int(_has_mps())
    if count == 0:
        name = "CUDA" if device.type == "cuda" else "Apple MPS"
        raise SettingsError(f"device {wanted}: torch sees no {name} device here; choose cpu")
    if (device.index or 0) >= count:
        last = f"{device.type}:{count - 1}"
        raise SettingsError(f"device {wanted}: torch sees {count} here; choose up to {last}")
    return _ready(device)


def statistics_device(device: torch.device) -> torch.device:
    """Where float64 statistics of a module on this device accumulate."""
    return CPU if device.type in _WITHOUT_FLOAT64 else device


def put(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; float64 stays on the CPU where the device has none."""
    return tensor.to(statistics_device(device) if tensor.dtype == torch.float64 else device)


def put_inputs(
    prepared: Tensor | Mapping[str, Tensor], device: torch.device
) -> Tensor | Mapping[str, Tensor]:
    """Prepared frames, or prepared inputs by name, on a device."""
    if isinstance(prepared, Tensor):
        return prepared.to(device)
    return {name: values.to(device) for name, values in prepared.items()}


def put_module(module: M, device: torch.device) -> M:
    """Move a module in place, by the rule of `put`; returns it."""
    module._apply(lambda tensor: put(tensor, device))  # type: ignore[no-untyped-call]
    return module


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def _ready(device: torch.device) -> torch.device:
    """The device by its number, set to full precision.

    float32 means float32: TF32 would round to 10 bits, and the export gate allows 1e-4.
    """
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        device = torch.device("cuda", index)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return device
