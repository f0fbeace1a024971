"""The machine a figure was made on, and how much memory a run took."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def hardware(device: str = "cpu") -> dict[str, str | int]:
    """CPU model, cores this process may use, torch's threads, memory in bytes, and the device.

    In a container the memory is its limit. Figures can differ in the last digits between
    numbers of threads.
    """
    return {
        "cpu": _cpu_model(),
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": _memory(),
        "device": device,
    }


def reset_peak_memory() -> bool:
    """Start the peak again from here; False where the system cannot (then it is since start)."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def peak_memory_bytes() -> int:
    """Largest resident set of this process since `reset_peak_memory`, bytes; 0 if unknown."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int:
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        machine = 0
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        return min(machine, int(limit)) if machine else int(limit)
    except (OSError, ValueError):
        return machine
