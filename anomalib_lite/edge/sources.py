"""Where frames come from: folders, globs, arrays, video files, cameras.

A source yields *jobs*, a name and a call that gives the decoded frame, so that a reader may decode
ahead in threads. A job that fails raises `FrameError`; the source goes on with the next.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np

from anomalib_lite.edge.errors import SourceError
from anomalib_lite.edge.frames import Exif, Frame, read_frame
from anomalib_lite.edge.pictures.file import count_pages, special_kind
from anomalib_lite.edge.pictures.names import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_defect_name
from anomalib_lite.edge.source_kinds.globbing import list_glob, nothing_matches
from anomalib_lite.edge.source_kinds.jobs import Job, Source, lost, read_ahead
from anomalib_lite.edge.source_kinds.listing import Listing, list_pictures, some
from anomalib_lite.edge.source_kinds.source_names import spelling_of
from anomalib_lite.edge.source_kinds.video import CameraSource, VideoSource

__all__ = [
    "ArraySource",
    "CameraSource",
    "FileSource",
    "Job",
    "Source",
    "SourceLike",
    "VideoSource",
    "open_good_images",
    "open_source",
    "read_ahead",
    "require_good",
]

_MODEL_SUFFIXES = frozenset({".onnx", ".safetensors"})
_PAGED_SUFFIXES = frozenset({".tif", ".tiff"})
SourceLike: TypeAlias = "Source | str | Path | Sequence[Frame] | Sequence[str | Path]"


class FileSource:
    """Image files, read when their turn comes; a TIFF of several pages gives a frame for each.

    Args:
        paths: the files, in order.
        name: what to call the source in messages.
        exif: whether files are turned upright by their EXIF tag.
        max_megapixels: larger pictures are refused before they are read; None takes the process's
            limit, 100 unless it was changed.
        split_pages: whether a TIFF of several pages gives a frame for each; else it is an error,
            for sources where each file has one label.
        listing: where the files come from. A subfolder that could not be listed is reported like
            a frame that could not be read.
    """

    rereadable = True

    def __init__(
        self,
        paths: Iterable[Path],
        *,
        name: str,
        exif: Exif = "apply",
        max_megapixels: float | None = None,
        split_pages: bool = True,
        listing: Listing | None = None,
    ) -> None:
        self.paths = list(paths)
        self.name = name
        self.exif = exif
        self.max_megapixels = max_megapixels
        self.split_pages = split_pages
        self.listing = listing
        self._pages: dict[Path, int] = {}

    def __len__(self) -> int:
        return sum(map(self._count, self.paths)) + len(self._unreadable)

    def jobs(self) -> Iterator[Job]:
        for path in self.paths:
            pages = self._count(path)
            if pages == 1:
                yield self._job(str(path), path, None)
                continue
            for page in range(pages):
                yield self._job(f"{path}#{page + 1}", path, page)
        for folder, reason in self._unreadable.items():
            yield lost(f"{self.name.rstrip('/')}/{folder}", f"{reason}; nothing below it was read")

    @property
    def _unreadable(self) -> dict[str, str]:
        return self.listing.unreadable if self.listing else {}

    def _count(self, path: Path) -> int:
        """Pictures in a file; only TIFF has pages, and a TIFF may have lost its suffix."""
        if not self.split_pages or path.suffix.lower() in IMAGE_SUFFIXES - _PAGED_SUFFIXES:
            return 1
        if path not in self._pages:
            self._pages[path] = count_pages(path)
        return self._pages[path]

    def _job(self, name: str, path: Path, page: int | None) -> Job:
        return Job(
            name,
            lambda: read_frame(path, exif=self.exif, page=page, max_megapixels=self.max_megapixels),
        )


class ArraySource:
    """Frames already in memory."""

    rereadable = True

    def __init__(self, frames: Sequence[Frame], *, name: str = "arrays") -> None:
        self.frames = frames
        self.name = name

    def __len__(self) -> int:
        return len(self.frames)

    def jobs(self) -> Iterator[Job]:
        for index, frame in enumerate(self.frames):
            yield Job(f"{self.name}#{index:06d}", lambda frame=frame: frame)  # type: ignore[misc]


def open_source(
    source: SourceLike,
    *,
    recursive: bool = True,
    exif: Exif = "apply",
    max_megapixels: float | None = None,
) -> Source:
    """Turn what a user says into a source.

    Args:
        source: a folder, an image, a glob (`'parts/**/*.png'`), a video file, `camera:0`, a list of
            files, a list of arrays, or a source.
        recursive: whether a folder's subfolders are read too, linked ones included.
        exif: passed to the image decoder.
        max_megapixels: larger pictures are refused before they are decoded; None takes the
            process's limit, 100 unless it was changed.

    Raises:
        SourceError: nothing is there, or it holds no image.
    """
    if isinstance(source, (str, Path)):
        return _from_text(str(source), recursive, exif, max_megapixels)
    if isinstance(source, (list, tuple)):
        if not source:
            raise SourceError("the list of frames is empty")
        if all(isinstance(item, (str, Path)) for item in source):
            paths = [Path(item) for item in source]
            return FileSource(paths, name="list of files", exif=exif, max_megapixels=max_megapixels)
        if all(isinstance(item, np.ndarray) for item in source):
            return ArraySource(source)
        raise SourceError("a list of frames must hold only arrays, or only paths")
    if isinstance(source, np.ndarray):
        return ArraySource([source] if source.ndim < 4 else list(source))
    if hasattr(source, "jobs"):
        return cast(Source, source)
    raise SourceError(
        f"cannot read frames from {type(source).__name__}; give a folder, a glob, a video file, "
        "camera:N, or a list of arrays"
    )


def open_good_images(
    source: SourceLike,
    *,
    recursive: bool = True,
    exif: Exif = "apply",
    max_megapixels: float | None = None,
) -> Source:
    """`open_source` for images that are to be learnt as good.

    Raises:
        SourceError: as `open_source`; or the folder has subfolders whose names say that not all
            that is in them is good (`good/` beside `scratch/`, `test/`, `masks/`).
    """
    opened = open_source(source, recursive=recursive, exif=exif, max_megapixels=max_megapixels)
    return require_good(opened)


def require_good(opened: Source) -> Source:
    """The source, unless its subfolders say that not all that is in them is good.

    Raises:
        SourceError: with the names of the subfolders.
    """
    listing = getattr(opened, "listing", None)
    labels = listing.labels() if isinstance(listing, Listing) else []
    if labels:
        within = "/".join("*" * labels[0].count("/")) + "/" if "/" in labels[0] else ""
        raise SourceError(
            f"{opened.name}: has the subfolders {some(labels)}, which are not all good images by "
            f"their names; name the folder of good ones, or a glob such as "
            f"'{opened.name.rstrip('/')}/{within}good/*'"
        )
    return opened


def refuse_defects(opened: Source) -> None:
    """Raise `SourceError` for a folder whose own name says that it holds defects: `ng`, `bad`."""
    listing = getattr(opened, "listing", None)
    if not isinstance(listing, Listing):
        return
    name = os.path.basename(os.path.abspath(listing.root))
    if os.path.isdir(opened.name) and is_defect_name(name, whole=True):
        raise SourceError(
            f"{opened.name}: is a folder of defects by its name, and a fit learns good parts; if "
            f"they are good, name the pictures: '{opened.name.rstrip('/')}/*'"
        )


def refuse_inside(out: Path, source: Source) -> None:
    """Raise `SourceError` for a place below the folder that is read: pictures there join it."""
    listing = getattr(source, "listing", None)
    folder = isinstance(listing, Listing) and os.path.isdir(source.name)
    if folder and Path(source.name).resolve() in out.resolve().parents:
        raise SourceError(
            f"{out}: lies in {source.name}, which would hold pictures with defects from then on; "
            "name a folder elsewhere"
        )


def _from_text(text: str, recursive: bool, exif: Exif, max_megapixels: float | None) -> Source:
    camera = re.fullmatch(r"camera:(\d+)", text)
    if camera:
        return CameraSource(int(camera.group(1)))
    path = Path(text)
    if path.is_dir():
        listing = list_pictures(path, recursive=recursive)
    elif path.is_file():
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return VideoSource(path)
        if path.suffix.lower() in _MODEL_SUFFIXES:
            raise SourceError(
                f"{text}: is a model file, expected pictures; name a folder, a picture or a video"
            )
        listing = Listing(path.parent, [path])
    elif glob.has_magic(text) and not special_kind(text):
        listing = list_glob(text, recursive=recursive)
    else:
        raise SourceError(f"{text}: {_why_nothing(text)}")
    if not listing.files and not listing.unreadable:
        why = _nothing_found(listing) if path.is_dir() else nothing_matches(text, listing)
        raise SourceError(f"{text}: {why}")
    return FileSource(
        listing.files, name=text, exif=exif, max_megapixels=max_megapixels, listing=listing
    )


def _why_nothing(text: str) -> str:
    kind = special_kind(text)
    if not kind:
        return f"no such folder, file or camera; {spelling_of(text) or 'check the path'}"
    spelling = spelling_of(text)
    hint = f"; {spelling}" if spelling else ""
    return f"is {kind}, expected a folder, a picture or a video{hint}"


def _nothing_found(listing: Listing) -> str:
    """Why a folder gives no picture, with what was there instead."""
    left = listing.explain_left_out()
    said = f"; {left}" if left else ""
    if listing.subfolders:
        said += f"; {len(listing.subfolders)} subfolders were not read, as asked"
    return f"holds no image ({' '.join(sorted(IMAGE_SUFFIXES))}, or such content){said}"
