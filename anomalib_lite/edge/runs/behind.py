"""Work that follows behind: written while the next frame is judged, in order, a few at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Behind(Generic[T]):
    """Does `work` on items in their order, in a thread of its own; a context manager.

    Whatever ends the context, Ctrl-C included, all items that were put are worked on first: what
    has been judged is written. An error of the work ends the context with that error.

    Args:
        work: called with one item after the other.
        most: items that may wait; `put` blocks while there are more. 0: `put` does the work itself.
    """

    def __init__(self, work: Callable[[T], object], *, most: int) -> None:
        self._work, self._most = work, most
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._finished = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="behind", daemon=True)

    def __enter__(self) -> Self:
        if self._most:
            self._thread.start()
        return self

    def put(self, item: T) -> None:
        """Hand an item over; raises what the work has raised."""
        if not self._most:
            self._work(item)
            return
        with self._changed:
            self._raise()
            # First handed over, then waited for room: a signal in between loses nothing.
            self._items.append(item)
            self._changed.notify_all()
            while len(self._items) > self._most and self._error is None:
                self._changed.wait()
            self._raise()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._most:
            return
        interrupt = self._finish()
        if self._error is not None and self._error is not error:
            raise self._error from error
        if interrupt is not None and error is None:
            raise interrupt

    def _finish(self) -> KeyboardInterrupt | None:
        """Wait for what was put; a signal meanwhile is told afterwards."""
        interrupt = None
        while True:
            try:
                with self._changed:
                    self._closed = True
                    self._changed.notify_all()
                # `Thread.join` that a signal interrupts takes the thread for ended (Python 3.11).
                self._finished.wait()
                return interrupt
            except KeyboardInterrupt as caught:
                interrupt = caught

    def _run(self) -> None:
        try:
            self._work_off()
        finally:
            self._finished.set()

    def _work_off(self) -> None:
        while True:
            with self._changed:
                while not self._items and not self._closed:
                    self._changed.wait()
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            try:
                self._work(item)
            except BaseException as error:  # handed to who put the items
                with self._changed:
                    self._error = error
                    self._items.clear()
                    self._changed.notify_all()
                return

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
