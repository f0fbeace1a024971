"""How much memory this process may still take."""

from __future__ import annotations

import os
from pathlib import Path

from anomalib_lite.edge.errors import FitError


def available_bytes() -> int:
    """Free memory: the smaller of what the machine has and what a container's limit leaves."""
    return min(_machine(), _container())


def require_memory(needed: int, work: str, choose: str) -> None:
    """Refuse work that would not fit.

    Args:
        needed: bytes.
        work: what needs them, in words.
        choose: what would need less.

    Raises:
        FitError: more is needed than is free.
    """
    free = available_bytes()
    if needed > free:
        raise FitError(
            f"{work} needs about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
            f"choose {choose}"
        )


def _machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 1 << 62


def _container() -> int:
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return 1 << 62
    return (1 << 62) if limit == "max" else max(0, int(limit) - used)
