"""Frames of video files and cameras, and a report of those that never came."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2

from anomalib_lite.edge.errors import SourceError
from anomalib_lite.edge.source_kinds.jobs import Job, lost


class VideoSource:
    """Every frame of a video file, decoded in order.

    A file that announces more frames than it delivers ends in a job that says so. Where the
    container announces none (some streams), nothing can be compared.
    """

    rereadable = True

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = str(path)
        capture = _open_capture(str(path), self.name)
        self._length = _announced(capture)
        capture.release()

    def __len__(self) -> int:
        return self._length

    def jobs(self) -> Iterator[Job]:
        capture = _open_capture(str(self.path), self.name)
        announced = _announced(capture)
        delivered = 0
        for job in _capture_jobs(capture, self.name, None):
            delivered += 1
            yield job
        if delivered < announced:
            yield lost(
                f"{self.name}#{delivered:06d}",
                f"the video announces {announced} frames and delivered {delivered}: it is cut "
                f"short or damaged, and {announced - delivered} were never seen; copy it again, "
                "or re-encode what is left",
            )


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
        capture = _open_capture(self.index, self.name)
        return self._deliver(capture)

    def _deliver(self, capture: cv2.VideoCapture) -> Iterator[Job]:
        delivered = 0
        for job in _capture_jobs(capture, self.name, self.max_frames):
            delivered += 1
            yield job
        if self.max_frames is None or delivered < self.max_frames:
            yield lost(
                f"{self.name}#{delivered:06d}",
                f"the camera stopped delivering after {delivered} frames; check its cable, its "
                "power and whether another program took it",
            )


def _announced(capture: cv2.VideoCapture) -> int:
    return max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))


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
