"""Where this user's box remembers what was measured or built; all of it may be deleted."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from anomalib_lite.edge.errors import AnomalibLiteError
from anomalib_lite.edge.files import write_bytes_atomic

FOLDER_VARIABLE = "ANOMALIB_LITE_CACHE"
_LARGEST = 1 << 20


def cache_folder() -> Path:
    """`ANOMALIB_LITE_CACHE`, else the user's cache folder; it may not exist yet."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "anomalib_lite"


def remembered(name: str) -> dict[str, Any] | None:
    """What was kept under a name; None where there is nothing, or nothing that can be read."""
    path = cache_folder() / name
    try:
        if path.stat().st_size > _LARGEST:
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def remember(name: str, document: dict[str, Any]) -> None:
    """Keep plain JSON under a name, whole or not at all; a box without room goes without."""
    data = json.dumps(document, sort_keys=True).encode()
    with suppress(AnomalibLiteError, OSError):
        write_bytes_atomic(cache_folder() / name, data, durable=False)
