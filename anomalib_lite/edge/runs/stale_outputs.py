"""Pictures and reports of an earlier run never stand beside the results of a new one.

A run draws into `heatmaps.part`, so that one that fails leaves the pictures of the results that
stay; they are taken over together with its lines.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from anomalib_lite.edge.pictures.names import DRAFT, PICTURE_FOLDERS
from anomalib_lite.edge.runs.run_record import RUN_FILE

_BY_OPTION = {"heatmaps": "heatmaps", "explain": "explanations", "report": "report.html"}
_OF_POOLS = ("audit.html", "metrics.json", "pool.json")
_FOLDER_SUFFIX = ".png"


def draft_folder(folder: Path, name: str) -> Path:
    """Where a run draws the pictures of `folder/name` until its lines are taken over."""
    return folder / f"{name}{DRAFT}"


def remove_drafts(folder: Path) -> None:
    """Remove the pictures of a run that nobody goes on with."""
    for name in PICTURE_FOLDERS:
        shutil.rmtree(draft_folder(folder, name), ignore_errors=True)


def take_drafts(folder: Path) -> None:
    """Put drawn pictures where they belong; one that cannot be put there stays a draft."""
    for name in PICTURE_FOLDERS:
        drawn, place = draft_folder(folder, name), folder / name
        if not drawn.is_dir():
            continue
        with suppress(OSError):
            place.mkdir(exist_ok=True)
            for picture in list(drawn.iterdir()):
                os.replace(picture, place / picture.name)
            drawn.rmdir()


def outputs_of_earlier_runs(folder: Path, begun: Path) -> frozenset[str]:
    """What runs in a folder say that they have written beside their results.

    Only what a run has claimed may be removed: the folder may hold other people's files.

    Args:
        folder: of the results.
        begun: file that a run leaves while it is not complete, with its options.
    """
    claimed = _read(folder / RUN_FILE).get("files", [])
    options = _read(begun)
    names = {name for option, name in _BY_OPTION.items() if options.get(option) is True}
    if isinstance(claimed, list):
        names |= {name for name in (*_BY_OPTION.values(), *_OF_POOLS) if name in claimed}
    return frozenset(names)


def remove_stale(folder: Path, names: frozenset[str], since_ns: int) -> None:
    """Remove those outputs that are older than the run; what cannot be removed stays.

    Args:
        folder: of the results.
        names: from `outputs_of_earlier_runs`.
        since_ns: time of a file that the run wrote first, on the same disk.
    """
    for name in names:
        path = folder / name
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                for picture in path.glob(f"*{_FOLDER_SUFFIX}"):
                    _remove_older(picture, since_ns)
                path.rmdir()  # refused while anything is in it
            else:
                _remove_older(path, since_ns)


def _remove_older(path: Path, since_ns: int) -> None:
    if path.stat().st_mtime_ns < since_ns:
        path.unlink()


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
