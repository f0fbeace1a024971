"""Globs: patterns that name pictures, or the folders that hold them."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from anomalib_lite.edge.pictures.names import is_junk
from anomalib_lite.edge.source_kinds.listing import DOUBLE, JUNK, Listing, Walk, some


def list_glob(pattern: str, *, recursive: bool = True) -> Listing:
    """Pictures that a glob matches; one that matches only folders stands for what they hold.

    The leading folders that exist as written are taken so, brackets in their names included:
    `lot[1]/*.png`.
    """
    literal, rest = _literal_part(pattern)
    root = Path(literal)
    escaped = os.path.join(glob.escape(literal), rest) if literal else rest
    walk = Walk(root, recursive=recursive)
    folders: list[Path] = []
    seen: set[str] = set()
    for path in sorted(Path(match) for match in glob.glob(escaped, recursive=True)):
        real = os.path.realpath(path)
        if any(is_junk(part) for part in path.relative_to(root).parts[:-1]):
            walk.listing.leave_out(JUNK, path)
        elif os.path.isdir(path):
            folders.append(path)
        elif real in seen and not os.path.islink(path):
            walk.listing.leave_out(DOUBLE, path)
        else:
            link = os.path.islink(path)
            if not link:
                seen.add(real)
            walk.add(path, regular=os.path.isfile(path), link=link)
    if not walk.listing.files:
        for folder in folders:
            if not is_junk(folder.name):
                walk.enter(folder)
    return walk.finish()


def _literal_part(pattern: str) -> tuple[str, str]:
    """The longest leading part of a glob that exists as written, and the rest."""
    parts = Path(pattern).parts
    for count in range(len(parts) - 1, 0, -1):
        head = os.path.join(*parts[:count])
        if os.path.isdir(head):
            return head, os.path.join(*parts[count:])
    return "", pattern


def nothing_matches(pattern: str, listing: Listing) -> str:
    """Why a glob gives no picture: what is not there, or what is there instead."""
    left = listing.explain_left_out()
    if left:
        return f"matches no image; {left}"
    literal, rest = _literal_part(pattern)
    first = Path(rest).parts[0] if rest else ""
    if not literal and len(Path(pattern).parts) > 1 and not glob.has_magic(first):
        return f"matches no image: there is no folder {first}"
    if len(Path(rest).parts) > 1 and not glob.has_magic(first):
        return f"matches no image: there is no folder {os.path.join(literal, first)}"
    root = Path(literal or ".")
    there = sorted(entry.name for entry in os.scandir(root) if not is_junk(entry.name))
    said = f"matches no image: {root} has {some(there)}" if there else f"{root} is empty"
    # An unquoted bracket would have been taken for a choice of letters.
    return f"{said}; for a bracket in a name write [[]" if "[" in rest else said
