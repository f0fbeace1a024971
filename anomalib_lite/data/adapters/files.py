"""Looking into folders: sorted, without hidden files, safe against loops and odd names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from anomalib_lite.edge.errors import SourceError
from anomalib_lite.edge.pictures.names import is_junk
from anomalib_lite.edge.source_kinds import listing
from anomalib_lite.edge.source_kinds.listing import is_folder, list_pictures


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Sort key that puts `Class2` before `Class10`."""
    parts = re.split(r"(\d+)", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Entries of a folder sorted by name, without hidden ones and what desktops leave behind.

    Raises:
        SourceError: the folder cannot be listed.
    """
    return [entry for entry in listing.entries(folder) if not is_junk(entry.name)]


def subfolders(folder: Path) -> list[Path]:
    """Visible sub-folders (links to folders included) in natural order."""
    found = [folder / entry.name for entry in entries(folder) if is_folder(entry)]
    return sorted(found, key=lambda path: natural_key(path.name))


def images_in(folder: Path | None) -> list[Path]:
    """Image files directly in a folder, sorted by name; none when the folder is `None`.

    A dangling link with an image's name is listed: it is a lost image that a check must report.
    """
    return [] if folder is None else list_pictures(folder, recursive=False).files


def images_below(folder: Path) -> list[Path]:
    """Image files anywhere below a folder; a folder reached twice through links counts once.

    Raises:
        SourceError: the folder, or one below it, cannot be listed.
    """
    found = list_pictures(folder)
    for name, reason in found.unreadable.items():
        raise SourceError(f"{folder / name}: {reason}")
    return found.files


def child(folder: Path | None, *names: str) -> Path | None:
    """Sub-folder by name, upper or lower case alike; the first of several names that exists."""
    if folder is None:
        return None
    for name in names:
        if os.path.isdir(folder / name):
            return folder / name
    wanted = [name.lower() for name in names]
    matches = [path for path in subfolders(folder) if path.name.lower() in wanted]
    return min(matches, key=lambda path: wanted.index(path.name.lower()), default=None)


def inside(root: Path, relative: str, listed_in: Path) -> Path:
    """Path of a file that a list (CSV, JSON, text) names relative to `root`.

    Raises:
        SourceError: the list names a file outside the data set.
    """
    parts = relative.replace("\\", "/").split("/")
    if not relative.strip() or relative.startswith(("/", "\\")) or ".." in parts:
        raise SourceError(
            f"{listed_in}: names the file {relative!r}, expected a path inside {root}; "
            "download the list again"
        )
    return root.joinpath(*parts)


def find_categories(root: Path, looks_right: Callable[[Path], bool]) -> dict[str, Path]:
    """The root itself if it looks like one category, else each sub-folder that does."""
    if looks_right(root):
        return {folder_name(root): root}
    return {path.name: path for path in subfolders(root) if looks_right(path)}


def folder_name(folder: Path) -> str:
    """Last part of a folder's absolute path, so that `.` and `..` get a name too."""
    return Path(os.path.abspath(folder)).name or "root"


def describe(folder: Path) -> str:
    """What lies in a folder, in a few words for an error message."""
    found = entries(folder)
    if not found:
        return "an empty folder"
    names = [entry.name + ("/" if is_folder(entry) else "") for entry in found]
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
