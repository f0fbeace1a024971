"""Which images show one part, as names tell: by folder, by a pattern, by a list, in blocks."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.pictures.names import VIDEO_SUFFIXES

AUTO, NONE, FOLDER, BLOCK = "auto", "none", "folder", "block:"
_VIDEO_FRAME = re.compile(r"(.+)#(\d{6,})")
_LONGEST_BLOCK = 25  # frames; about a second
_FEWEST_BLOCKS = 10
_FORMS = "folder, block:N, a pattern of the names such as 'part(\\d+)_', or a file.csv (name,group)"


def groups_of(names: Sequence[str], rule: str) -> list[str] | None:
    """The group of each image, equal for images of one part; empty where an image stands alone.

    Args:
        names: of the images, below their source.
        rule: `folder`: images of one subfolder; `block:N`: N that follow each other; the name of a
            `.csv` file with lines `name,group`; else a regular expression, whose groups (or whole
            match) in the name tell the part. `auto`: frames of a video in blocks, else alone;
            `none`: all stand alone.

    Returns:
        None where the rule groups nothing.

    Raises:
        SettingsError: the rule cannot be read, or leaves an image out.
    """
    if rule == NONE:
        return None
    if rule == AUTO:
        return _video_blocks(names)
    if rule == FOLDER:
        return [name.replace("\\", "/").rpartition("/")[0] or "." for name in names]
    if rule.startswith(BLOCK):
        return _blocks(len(names), rule)
    if rule.lower().endswith(".csv"):
        return _listed(names, Path(rule))
    return _matched(names, rule)


def _video_blocks(names: Sequence[str]) -> list[str] | None:
    """Neighbours in a video show one part: blocks of a second, fewer frames where it is short."""
    found = [_frame_of_video(name) for name in names]
    counts: dict[str, int] = {}
    for match in found:
        if match:
            counts[match[1]] = counts.get(match[1], 0) + 1
    if not counts:
        return None
    blocks = {
        video: max(1, min(_LONGEST_BLOCK, count // _FEWEST_BLOCKS))
        for video, count in counts.items()
    }
    return [
        f"{match[1]}, block {int(match[2]) // blocks[match[1]]}" if match else "" for match in found
    ]


def _frame_of_video(name: str) -> re.Match[str] | None:
    """The video and the number of a frame; None for a picture, or for arrays in memory."""
    match = _VIDEO_FRAME.fullmatch(name)
    return match if match and Path(match[1]).suffix.lower() in VIDEO_SUFFIXES else None


def _blocks(count: int, rule: str) -> list[str]:
    length = rule.removeprefix(BLOCK)
    if not length.isdecimal() or int(length) < 1:
        raise SettingsError(f"group-by {rule!r} is not understood; write block:25 for 25 frames")
    return [f"block {place // int(length)}" for place in range(count)]


def _matched(names: Sequence[str], rule: str) -> list[str]:
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise SettingsError(
            f"group-by {rule!r} is no regular expression ({error}); give {_FORMS}"
        ) from error
    groups = []
    for name in names:
        match = pattern.search(name)
        if match is None:
            raise SettingsError(f"group-by {rule!r} finds nothing in {name!r}; give {_FORMS}")
        parts = [part for part in match.groups() if part is not None] or [match[0]]
        groups.append("/".join(parts))
    return groups


def _listed(names: Sequence[str], path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"group-by {path}: cannot be read ({error})") from error
    table: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            raise SettingsError(
                f"group-by {path}: line {number} has {len(row)} columns; two are expected, "
                "name,group"
            )
        name, group = (cell.strip() for cell in row)
        name = name.replace("\\", "/")
        if table.setdefault(name, group) != group:
            raise SettingsError(f"group-by {path}: {name} is in {table[name]!r} and in {group!r}")
    groups = []
    for name in (name.replace("\\", "/") for name in names):
        known = table.get(name) or table.get(name.rpartition("/")[2])
        if not known:
            raise SettingsError(f"group-by {path}: has no line for {name}; add one for each image")
        groups.append(known)
    return groups
