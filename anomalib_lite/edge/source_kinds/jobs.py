"""Frames to come: what a source is, and how its frames are decoded ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeVar

from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.frames import Frame

_DECODERS = 2


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


def lost(name: str, reason: str) -> Job:
    """A job that only reports that something could not be delivered."""

    def load() -> Frame:
        raise FrameError(f"{name}: {reason}")

    return Job(name, load)
