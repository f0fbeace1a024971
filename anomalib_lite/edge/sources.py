"""Where frames come from: folders, globs, arrays, video files, cameras.

A source yields *jobs*, a name and a call that gives the decoded frame, so that a reader may decode
ahead in threads. A job that fails raises `FrameError`; the source goes on with the next.
"""

from __future__ import annotations

import glob
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias, TypeVar, cast

import cv2
import numpy as np

from anomalib_lite.edge.errors import FrameError, SourceError
from anomalib_lite.edge.frames import IMAGE_SUFFIXES, Exif, Frame, read_frame

_DECODERS = 2
VIDEO_SUFFIXES = frozenset({".avi", ".mkv", ".mov", ".mp4", ".mpg", ".mpeg", ".webm", ".wmv"})


class Job(NamedTuple):
    """One frame to come: its name, and a call that decodes it or raises `FrameError`."""

    name: str
    load: Callable[[], Frame]


class Source(Protocol):
    """Something that delivers frames in a fixed order."""

    @property
    def name(self) -> str:
        """What is being read, for messages."""

    @property
    def rereadable(self) -> bool:
        """Whether a second pass delivers the same frames."""

    def __len__(self) -> int:
        """Number of frames; 0 when it cannot be known in advance."""

    def jobs(self) -> Iterator[Job]:
        """Start a pass over the frames."""


SourceLike: TypeAlias = "Source | str | Path | Sequence[Frame] | Sequence[str | Path]"


class FileSource:
    """Image files, read when their turn comes.

    Args:
        paths: the files, in order.
        name: what to call the source in messages.
        exif: whether files are turned upright by their EXIF tag.
    """

    rereadable = True

    def __init__(self, paths: Iterable[Path], *, name: str, exif: Exif = "apply") -> None:
        self.paths = list(paths)
        self.name = name
        self.exif = exif

    def __len__(self) -> int:
        return len(self.paths)

    def jobs(self) -> Iterator[Job]:
        for path in self.paths:
            yield Job(str(path), lambda path=path: read_frame(path, exif=self.exif))  # type: ignore[misc]


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


class VideoSource:
    """Every frame of a video file, decoded in order."""

    rereadable = True

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = str(path)
        capture = _open_capture(str(path), self.name)
        self._length = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        capture.release()

    def __len__(self) -> int:
        return self._length

    def jobs(self) -> Iterator[Job]:
        return _capture_jobs(_open_capture(str(self.path), self.name), self.name, None)


class CameraSource:
    """A live camera by index.

    Args:
        index: camera number, 0 for the first.
        max_frames: stop after so many frames; None never stops.
    """

    rereadable = False

    def __init__(self, index: int, *, max_frames: int | None = None) -> None:
        self.index = index
        self.max_frames = max_frames
        self.name = f"camera:{index}"

    def __len__(self) -> int:
        return self.max_frames or 0

    def jobs(self) -> Iterator[Job]:
        return _capture_jobs(_open_capture(self.index, self.name), self.name, self.max_frames)


def open_source(source: SourceLike, *, recursive: bool = False, exif: Exif = "apply") -> Source:
    """Turn what a user says into a source.

    Args:
        source: a folder, an image, a glob (`'parts/**/*.png'`), a video file, `camera:0`, a list of
            files, a list of arrays, or a source.
        recursive: whether a folder's subfolders are read too.
        exif: passed to the image decoder.

    Raises:
        SourceError: nothing is there, or it holds no image.
    """
    if isinstance(source, (str, Path)):
        return _from_text(str(source), recursive, exif)
    if isinstance(source, (list, tuple)):
        if not source:
            raise SourceError("the list of frames is empty")
        if all(isinstance(item, (str, Path)) for item in source):
            return FileSource([Path(item) for item in source], name="list of files", exif=exif)
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


T = TypeVar("T")


def read_ahead(
    jobs: Iterable[Job], work: Callable[[Frame], T], *, ahead: int = 32
) -> Iterator[tuple[str, T | FrameError]]:
    """Decode frames in threads, ahead of their use, and hand them over in order.

    Args:
        jobs: what to read.
        work: applied to each decoded frame in the thread (preparation).
        ahead: how many frames may wait decoded; bounds the memory.

    Yields:
        frame name and the result of `work`, or the `FrameError` of a frame that cannot be used.
    """

    def finish(job: Job, future: Future[T]) -> tuple[str, T | FrameError]:
        try:
            return job.name, future.result()
        except FrameError as error:
            return job.name, error

    pending: deque[tuple[Job, Future[T]]] = deque()
    with ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode") as pool:
        try:
            for job in jobs:
                pending.append((job, pool.submit(lambda job: work(job.load()), job)))
                if len(pending) >= ahead:
                    yield finish(*pending.popleft())
            while pending:
                yield finish(*pending.popleft())
        finally:
            for _, future in pending:
                future.cancel()


def _from_text(text: str, recursive: bool, exif: Exif) -> Source:
    camera = re.fullmatch(r"camera:(\d+)", text)
    if camera:
        return CameraSource(int(camera.group(1)))
    path = Path(text)
    if path.is_dir():
        return _from_folder(path, recursive, exif)
    if path.is_file():
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return VideoSource(path)
        return FileSource([path], name=text, exif=exif)
    if glob.has_magic(text):
        paths = sorted(Path(match) for match in glob.glob(text, recursive=True))
        images = [match for match in paths if _is_image(match)]
        if not images:
            raise SourceError(f"{text}: matches no image ({len(paths)} other files)")
        return FileSource(images, name=text, exif=exif)
    raise SourceError(f"{text}: no such folder, file or camera; check the path")


def _from_folder(folder: Path, recursive: bool, exif: Exif) -> Source:
    try:
        walk = folder.rglob("*") if recursive else folder.iterdir()
        images = sorted(path for path in walk if _is_image(path))
        subfolders = sorted(path.name for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise SourceError(f"{folder}: cannot be listed ({error.strerror})") from error
    if images:
        return FileSource(images, name=str(folder), exif=exif)
    hint = ""
    if subfolders and not recursive:
        shown = ", ".join(subfolders[:6])
        hint = f"; it has subfolders ({shown}): name one of them, or a glob '{folder}/**/*.png'"
    raise SourceError(f"{folder}: holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}){hint}")


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _open_capture(target: str | int, name: str) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(target)
    if not capture.isOpened():
        raise SourceError(f"{name}: cannot be opened; check the file, the codec or the camera")
    return capture


def _capture_jobs(capture: cv2.VideoCapture, name: str, max_frames: int | None) -> Iterator[Job]:
    index = 0
    try:
        while max_frames is None or index < max_frames:
            present, frame = capture.read()
            if not present:
                break
            pixels = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            yield Job(f"{name}#{index:06d}", lambda pixels=pixels: pixels)  # type: ignore[misc]
            index += 1
    finally:
        capture.release()
