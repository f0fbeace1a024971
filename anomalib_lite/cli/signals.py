"""Ctrl-C and SIGTERM end a command in order; a second one ends it at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from anomalib_lite.cli.common import INTERRUPTED
from anomalib_lite.system.interrupts import STOPPING, asked_by

_SAME_S = 0.2
"""A terminal and a wrapper may both pass one Ctrl-C on; that is still one."""

_FATAL = 128
"""Exit status of a program that a signal has ended, less the signal's number."""


class InterruptedRun(KeyboardInterrupt):
    """A signal ended the command.

    Attributes:
        status: exit status of the command, 130 for Ctrl-C and 143 for SIGTERM.
    """

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


@contextmanager
def ended_by_signals() -> Iterator[list[int]]:
    """Within it, a signal raises KeyboardInterrupt; gives the list of those received.

    The interpreter's own end could wait for a decoding thread or abort over one, so that the second
    signal ends the process itself: files are replaced whole or not at all.
    """
    received: list[int] = []
    first_s = 0.0

    def receive(number: int, frame: FrameType | None) -> None:
        nonlocal first_s
        del frame
        if not received:
            received.append(number)
            first_s = time.monotonic()
            raise InterruptedRun(_FATAL + number)
        if time.monotonic() - first_s > _SAME_S:
            os._exit(_FATAL + number)

    before = {number: signal.signal(number, receive) or signal.SIG_DFL for number in STOPPING}
    try:
        yield received
    finally:
        if not received:  # else a second one must not disturb the interpreter's end
            for number, handler in before.items():
                signal.signal(number, handler)


def stopped_early() -> int:
    """Exit status of a command whose work a signal has stopped in order: 130 or 143."""
    return _FATAL + asked_by()


def ending(received: list[int]) -> int:
    """Exit status of a command that signals have ended: 130 for Ctrl-C, 143 for SIGTERM."""
    return _FATAL + received[0] if received else INTERRUPTED
