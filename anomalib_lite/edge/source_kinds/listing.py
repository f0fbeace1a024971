"""The one listing of pictures: what a folder holds, and what was left out of it.

Fit, score, pools, audits and data sets all list through here, so that they see the same files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from anomalib_lite.edge.errors import SourceError
from anomalib_lite.edge.pictures.names import (
    DRAWN,
    GOOD_LABELS,
    IMAGE_SUFFIXES,
    LABELS,
    RESULTS,
    UNFINISHED_SUFFIXES,
    VIDEO_SUFFIXES,
    is_defect_name,
    is_junk,
    is_picture,
)

_SHOWN = 3
Kind: TypeAlias = tuple[str, str]
"""What is left out, in the singular and in the plural."""

JUNK: Kind = ("hidden or system entry", "hidden or system entries")
UNFINISHED: Kind = ("unfinished or backup file", "unfinished or backup files")
SPECIAL: Kind = ("entry not a regular file", "entries not regular files")
VIDEO: Kind = ("video, read only when named", "videos, read only when named")
OTHER: Kind = ("file not a picture", "files not pictures")
DOUBLE: Kind = ("link to a picture listed already", "links to pictures listed already")
OWN: Kind = ("picture drawn by an earlier run", "pictures drawn by an earlier run")
AGAIN: Kind = ("link to a folder read already", "links to folders read already")


@dataclass
class Listing:
    """Pictures of a folder or glob in order, and all that was left out.

    Attributes:
        root: what was listed.
        files: pictures, sorted by path. Dangling links and special files with a picture's name
            are among them: each is a lost picture, which reading will report.
        subfolders: those that were not read, because it was asked so.
        left_out: kind of thing -> names below the root.
        unreadable: folder below the root -> why it cannot be listed.
    """

    root: Path
    files: list[Path] = field(default_factory=list)
    subfolders: list[Path] = field(default_factory=list)
    left_out: dict[Kind, list[str]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def nested(self) -> int:
        """How many of the pictures lie in subfolders."""
        return sum(file.parent != self.root for file in self.files)

    @property
    def remarkable(self) -> bool:
        """Whether there is more to say than the number of pictures."""
        return bool(self.nested or self.subfolders or self.left_out or self.unreadable)

    def explain(self) -> str:
        """One line: how many pictures, from where, and what was left out."""
        said = [counted(len(self.files), "picture")]
        if self.nested:
            folders = {file.parent for file in self.files if file.parent != self.root}
            said[0] += f", {self.nested} of them in {counted(len(folders), 'subfolder')}"
        if self.subfolders:
            names = [f"{path.relative_to(self.root).as_posix()}/" for path in self.subfolders]
            said.append(f"{counted(len(names), 'subfolder')} not read, as asked: {some(names)}")
        if self.left_out:
            said.append(self.explain_left_out())
        if self.unreadable:
            what = counted(len(self.unreadable), "folder")
            said.append(f"{what} unreadable: {some(list(self.unreadable))}")
        return "; ".join(said)

    def explain_left_out(self) -> str:
        """`left out: 12 files not pictures (a.txt, …)`, or an empty string."""
        left = [
            f"{len(names)} {kind[len(names) > 1]} ({some(names)})"
            for kind, names in self.left_out.items()
        ]
        return f"left out: {', '.join(left)}" if left else ""

    def labels(self) -> list[str]:
        """Subfolders of one folder whose names say that their pictures are not all good.

        `bad`, `test`, at any depth: the first folder that has such, nearest to the root. A lone
        `good` is none; `good` beside another subfolder tells that the other is not.
        """
        inside: dict[Path, set[str]] = {}
        for folder in {file.parent.relative_to(self.root) for file in self.files}:
            for below in (folder, *folder.parents):
                if below.name:
                    inside.setdefault(below.parent, set()).add(below.name)
        for parent, names in sorted(inside.items(), key=lambda item: (len(item[0].parts), item[0])):
            good = [name for name in names if name.lower() in GOOD_LABELS]
            told = [
                name
                for name in names
                if name.lower() in LABELS - GOOD_LABELS or is_defect_name(name)
            ]
            if told or (good and len(names) > 1):
                return [(parent / name).as_posix() for name in sorted(names)]
        return []

    def leave_out(self, kind: Kind, path: Path) -> None:
        """Count something that is no picture, or none to read."""
        below = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        self.left_out.setdefault(kind, []).append(below.as_posix())


def list_pictures(folder: Path, *, recursive: bool = True) -> Listing:
    """All pictures of a folder; linked subfolders are followed once, whatever leads to them.

    A file is a picture by its suffix or, where the suffix is unknown, by its content.

    Raises:
        SourceError: the folder itself cannot be listed. Subfolders that cannot be are remembered.
    """
    walk = Walk(folder, recursive=recursive)
    walk.enter(folder, entries(folder))
    return walk.finish()


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, junk included, sorted by name.

    Raises:
        SourceError: the folder cannot be listed.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SourceError(f"{folder}: cannot be listed ({reason})") from error


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that points to itself
        return False


class Walk:
    """One listing in the making.

    Args:
        root: what the listing is about.
        recursive: whether subfolders are entered.
    """

    def __init__(self, root: Path, *, recursive: bool) -> None:
        self.listing = Listing(root)
        self.recursive = recursive
        self._seen: set[str] = set()
        self._folders: list[Path] = []
        self._links: list[Path] = []
        self._file_links: set[Path] = set()
        self._drawn: dict[Path, bool] = {}

    def enter(self, folder: Path, found: list[os.DirEntry[str]] | None = None) -> None:
        """Take in a folder and, where it is asked so, all below it."""
        self._read(folder, found)
        # Real folders before links: a folder that is met twice keeps its own name.
        while self._folders or self._links:
            self._read((self._folders or self._links).pop(0))

    def add(self, path: Path, *, regular: bool, link: bool) -> None:
        """Take in a file, if it is a picture."""
        suffix = path.suffix.lower()
        if is_junk(path.name):
            self.listing.leave_out(JUNK, path)
        elif self._is_drawn(path.parent):
            self.listing.leave_out(OWN, path)
        elif suffix in UNFINISHED_SUFFIXES:
            self.listing.leave_out(UNFINISHED, path)
        elif suffix not in IMAGE_SUFFIXES and not regular:
            self.listing.leave_out(SPECIAL, path)
        elif suffix in VIDEO_SUFFIXES:
            self.listing.leave_out(VIDEO, path)
        elif is_picture(path):
            self.listing.files.append(path)
            if link:
                self._file_links.add(path)
        else:
            self.listing.leave_out(OTHER, path)

    def _is_drawn(self, folder: Path) -> bool:
        """Whether a run has written it beside its results; one that is asked for by name is read.

        Otherwise a run into a folder below its source would judge what the last one drew.
        """
        if folder.name not in DRAWN or folder == self.listing.root:
            return False
        if folder not in self._drawn:
            beside = (folder.parent / name for name in RESULTS)
            self._drawn[folder] = any(map(os.path.isfile, beside))
        return self._drawn[folder]

    def finish(self) -> Listing:
        """The listing, sorted; links to pictures that are listed anyway count once."""
        files, links = sorted(set(self.listing.files)), self._file_links
        seen = {os.path.realpath(file) for file in files if file not in links} if links else set()
        self.listing.files = []
        for file in files:
            real = os.path.realpath(file) if file in links else ""
            if real in seen:
                self.listing.leave_out(DOUBLE, file)
                continue
            seen.add(real or str(file))
            self.listing.files.append(file)
        return self.listing

    def _read(self, folder: Path, found: list[os.DirEntry[str]] | None = None) -> None:
        real = os.path.realpath(folder)
        if real in self._seen:
            self.listing.leave_out(AGAIN, folder)
            return
        self._seen.add(real)
        try:
            found = entries(folder) if found is None else found
        except SourceError as error:
            below = folder.relative_to(self.listing.root).as_posix()
            self.listing.unreadable[f"{below}/"] = str(error).removeprefix(f"{folder}: ")
            return
        for entry in found:
            path = folder / entry.name
            if not is_folder(entry):
                self.add(path, regular=_is_regular(entry), link=entry.is_symlink())
            elif is_junk(entry.name):
                self.listing.leave_out(JUNK, path)
            elif self.recursive:
                (self._links if entry.is_symlink() else self._folders).append(path)
            else:
                self.listing.subfolders.append(path)


def _is_regular(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def counted(number: int, noun: str) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
