"""Progress with the time left: bars on a screen, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID

    from anomalib_lite.scorers import Progress

EVERY_S = 10.0
_LOOK_S = 1.0


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress call-back on stderr, for people or for a log file."""
    from anomalib_lite.cli.common import console

    if console(stderr=True).is_terminal:
        with _bars() as advance:
            yield advance
        return
    with watched(PlainProgress(_write_line)) as plain:
        yield plain.advance


class PlainProgress:
    """Says how far the work is, in whole lines without control characters, every ten seconds.

    Nothing is written for what takes less.

    Args:
        write: takes one line, without its end.
        clock: seconds; only differences count.
        every_s: seconds between two lines.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = EVERY_S,
    ) -> None:
        self._write = write
        self._clock = clock
        self._every_s = every_s
        self._last = clock()
        self._began: dict[str, float] = {}
        self._stage, self._done, self._total = "", 0, 0
        self._lock = threading.Lock()

    def advance(self, stage: str, done: int, total: int) -> None:
        """The progress call-back: a stage in words, what is done, of how many (0 = unknown)."""
        with self._lock:
            self._began.setdefault(_name(stage), self._clock())
            self._stage, self._done, self._total = stage, done, total
            self._tell_if_due()

    def look(self) -> None:
        """Write a line if one is due although nothing advanced."""
        with self._lock:
            if self._stage:
                self._tell_if_due()

    def _tell_if_due(self) -> None:
        now = self._clock()
        if now - self._last < self._every_s:
            return
        self._last = now
        self._write(self._line(now - self._began[_name(self._stage)]))

    def _line(self, elapsed_s: float) -> str:
        words = f"{self._stage}: {self._done}"
        if not self._total:
            return f"{words} after {duration(elapsed_s)}"
        words += f" of {self._total} ({self._done / self._total:.0%}) after {duration(elapsed_s)}"
        if not 0 < self._done < self._total:
            return words
        left_s = elapsed_s * (self._total - self._done) / self._done
        return f"{words}, about {duration(left_s)} left"


def duration(seconds: float) -> str:
    """`75` -> `1:15`, `3675` -> `1:01:15`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


@contextmanager
def watched(plain: PlainProgress, look_s: float = _LOOK_S) -> Iterator[PlainProgress]:
    """Lines also come while one step of the work takes longer than the ten seconds."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(look_s):
            plain.look()

    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield plain
    finally:
        over.set()
        watcher.join()


def _name(stage: str) -> str:
    """The stage without its remark, which may change as the work goes on."""
    return stage.partition(" | ")[0]


def _write_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from anomalib_lite.cli.common import console

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(stage: str, done: int, total: int) -> None:
            name = _name(stage)
            if name not in tasks:
                tasks[name] = bars.add_task(stage, total=total or None)
            bars.update(tasks[name], description=stage, completed=done, total=total or None)

        yield advance
