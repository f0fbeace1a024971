"""What the tests of the evaluation share beside their fixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Cli = Callable[..., int]

FAST = ["--seeds", "1", "--image-size", "64"]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its relative path, without the timing."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "timing.json"
    }
