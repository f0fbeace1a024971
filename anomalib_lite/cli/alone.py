"""A command has its process to itself: heap and OpenCV's messages are set for its work alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any


def alone(command: Callable[..., None]) -> Callable[..., None]:
    """The command, which says so when it runs; help and version load nothing."""

    @wraps(command)
    def run(**given: Any) -> None:
        from anomalib_lite.edge.footprint import own_process

        own_process()
        command(**given)

    return run
