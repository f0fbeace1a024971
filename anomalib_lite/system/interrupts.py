"""Ctrl-C and SIGTERM as a question that long work answers when it suits."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM)
"""What a person, a service manager or a container sends to end a program."""


_asked_by: list[int] = [signal.SIGINT]


def asked_by() -> int:
    """Number of the signal that last asked long work to stop."""
    return _asked_by[0]


@contextmanager
def stop_on_interrupt(wanted: bool = True) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into an answer of True; the next acts as it did before.

    Only the main thread can receive it; elsewhere, or if not wanted, the answer stays False.
    """
    asked = threading.Event()
    if not wanted:
        yield asked.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        _asked_by[0] = number
        asked.set()
        restore()

    with _handled(note) as restore:
        yield asked.is_set


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let the few writes within it finish: a signal that comes meanwhile acts at the end."""
    held: list[int] = []
    try:
        with _handled(lambda number, frame: held.append(number)):
            yield
    finally:
        if held:
            signal.raise_signal(held[0])


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[Callable[[], None]]:
    """Within it, `handler` takes the signals; gives what restores the handlers before it."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    # None stands for a handler that was not set from Python and cannot be put back.
    before: dict[signal.Signals, Any] = {
        number: found for number in STOPPING if (found := signal.getsignal(number)) is not None
    }

    def restore() -> None:
        for number, found in before.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, found)

    for number in before:
        signal.signal(number, handler)
    try:
        yield restore
    finally:
        restore()
