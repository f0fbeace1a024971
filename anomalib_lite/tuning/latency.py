"""Milliseconds of exported files on this machine, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from anomalib_lite.edge.model import EdgeModel
from anomalib_lite.scorers import Progress
from anomalib_lite.scorers.base import no_progress

WARM_UP, ROUNDS = 3, 25

Key = TypeVar("Key")


def interleaved_ms(
    models: Mapping[Key, EdgeModel], *, rounds: int = ROUNDS, progress: Progress = no_progress
) -> dict[Key, float]:
    """Median time of a prepared frame in each file, milliseconds.

    All take turns, so that a machine that slows down for a while slows all of them down.

    Args:
        models: open edge files.
        rounds: timed frames of each.
        progress: called with stage, rounds done, rounds in total.
    """
    frames = {key: _frame(model) for key, model in models.items()}
    times: dict[Key, list[float]] = {key: [] for key in models}
    for done in range(WARM_UP + rounds):
        for key, model in models.items():
            started = time.perf_counter()
            model.run(frames[key])
            times[key].append(time.perf_counter() - started)
        progress("timing exported files", done + 1, WARM_UP + rounds)
    return {key: 1e3 * float(np.median(found[WARM_UP:])) for key, found in times.items()}


def _frame(model: EdgeModel) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Noise: a blank frame would have all its patches alike."""
    shape = (1, *model.spec.size_hw, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)
