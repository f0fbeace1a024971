"""How many threads this process should use: what is asked for, else what it was given.

A container's quota of processor time is not visible in the number of cores; more threads than the
quota pays for only wait for each other.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2

from anomalib_lite.edge.errors import SettingsError

_MOST = 1024
_CGROUP = Path("/sys/fs/cgroup")

_asked: int | None = None


def default_threads() -> int:
    """Threads where an engine is given none: `use_threads`, else what the machine allows."""
    return _asked or allowed_threads()


def allowed_threads(environment: dict[str, str] | None = None, cgroup: Path = _CGROUP) -> int:
    """The smallest of: cores of this process, the container's CPU quota, `OMP_NUM_THREADS`.

    Args:
        environment: environment variables; None takes this process's.
        cgroup: where control groups (version 1 or 2) are mounted.
    """
    named = (os.environ if environment is None else environment).get("OMP_NUM_THREADS", "")
    limits = [_cores(), _quota(cgroup), _first_number(named)]
    return max(1, min(limit for limit in limits if limit is not None))


def checked_threads(threads: int | None) -> int:
    """Threads for one engine; None takes the default.

    Raises:
        SettingsError: not a whole number from 1.
    """
    if threads is None:
        return default_threads()
    if type(threads) is not int or not 1 <= threads <= _MOST:
        raise SettingsError(f"threads is {threads!r}; choose a whole number, 1 to {_MOST}")
    return threads


def use_threads(threads: int | None) -> int:
    """Set how many threads engines opened from now on and OpenCV use; returns the number.

    Args:
        threads: None goes back to what the machine allows, and leaves OpenCV at fewer where it was
            told so.

    Raises:
        SettingsError: not a whole number from 1.
    """
    global _asked
    _asked = None
    wanted = checked_threads(threads)
    _asked = threads
    if threads is not None or cv2.getNumThreads() > wanted:
        cv2.setNumThreads(wanted)
    return wanted


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _first_number(text: str) -> int | None:
    """`"4"` -> 4; OpenMP allows a number for each level of nesting, `"4,2"` -> 4."""
    first = text.partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) >= 1 else None


def _quota(cgroup: Path) -> int | None:
    """Cores that the control groups pay for, rounded up; None without a limit."""
    shares = [_share_v2(folder) for folder in _own_groups(cgroup)]
    shares += [_share_v1(cgroup / name) for name in ("cpu", "cpu,cpuacct")]
    limits = [share for share in shares if share is not None]
    return -int(-min(limits) // 1) if limits else None


def _own_groups(cgroup: Path) -> list[Path]:
    """The process's own group of version 2 and all above it: the tightest counts."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    own = next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
    folders = [cgroup]
    for part in Path(own).parts:
        if part == "..":
            return [cgroup]
        folders.append(folders[-1] / part)
    return folders


def _share_v2(folder: Path) -> float | None:
    """`cpu.max` holds `QUOTA PERIOD`, or `max PERIOD`."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else _positive(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _share_v1(folder: Path) -> float | None:
    """A quota of -1 is none."""
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return _positive(quota / int((folder / "cpu.cfs_period_us").read_text()))
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _positive(share: float) -> float | None:
    return share if share > 0 else None
