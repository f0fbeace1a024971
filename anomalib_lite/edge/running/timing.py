"""Milliseconds of several things side by side: they take turns, so a busy moment falls on all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import TypeVar

Key = TypeVar("Key")


def interleaved_ms(
    calls: Mapping[Key, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int = 1,
    longest_s: float = math.inf,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Key, float]:
    """Median time of each call, milliseconds.

    Args:
        calls: what to time, by name.
        rounds: timed turns of each.
        warm_up: turns before them that do not count.
        longest_s: no round is begun after so many seconds, but two are always timed.
        progress: called with rounds done and in total, warm-up included.
    """
    times: dict[Key, list[float]] = {key: [] for key in calls}
    until = math.inf
    for done in range(warm_up + rounds):
        if done == warm_up:
            until = time.perf_counter() + longest_s
        for key, call in calls.items():
            started = time.perf_counter()
            call()
            times[key].append(time.perf_counter() - started)
        progress(done + 1, warm_up + rounds)
        if done > warm_up and time.perf_counter() > until:
            break
    return {key: 1e3 * median(found[warm_up:]) for key, found in times.items()}
