"""Milliseconds of exported files on this machine, measured side by side."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from anomalib_lite.edge.errors import AnomalibLiteError
from anomalib_lite.edge.model import EdgeModel
from anomalib_lite.edge.running.timing import interleaved_ms
from anomalib_lite.scorers import Progress
from anomalib_lite.scorers.base import no_progress

WARM_UP, ROUNDS = 3, 25
_OPEN_AT_ONCE = 6

Key = TypeVar("Key")


def frame_ms(
    models: Mapping[Key, EdgeModel], *, rounds: int = ROUNDS, progress: Progress = no_progress
) -> dict[Key, float]:
    """Median time of a prepared frame in each file, milliseconds; all take turns.

    Args:
        models: open edge files.
        rounds: timed frames of each.
        progress: called with stage, rounds done, rounds in total.
    """
    calls = {key: partial(model.run, _frame(model)) for key, model in models.items()}
    return interleaved_ms(
        calls, rounds=rounds, warm_up=WARM_UP, progress=partial(progress, "timing exported files")
    )


def time_files(
    files: Mapping[Key, tuple[Path, str]],
    *,
    threads: int | None = None,
    progress: Progress = no_progress,
) -> dict[Key, float]:
    """Median milliseconds of many files, a few open at a time; one that cannot be run is left out.

    The first file takes part in every group, and all are put on the scale of its overall median:
    what slowed a group down as a whole does not count against it.

    Args:
        files: edge file and engine.
        threads: inside one inference.
        progress: called with stage, groups done, groups in total.
    """
    keys = list(files)
    groups = [keys[start : start + _OPEN_AT_ONCE] for start in range(1, len(keys), _OPEN_AT_ONCE)]
    anchor = _opened(files, keys[:1], threads)
    found = []
    for done, group in enumerate(groups or [[]]):
        progress("timing exported files", done, len(groups))
        found.append(frame_ms({**anchor, **_opened(files, group, threads)}))
    if not anchor:
        return {key: ms for times in found for key, ms in times.items()}
    common = float(np.median([times[keys[0]] for times in found]))
    return {key: common * ms / times[keys[0]] for times in found for key, ms in times.items()}


def _opened(
    files: Mapping[Key, tuple[Path, str]], keys: list[Key], threads: int | None
) -> dict[Key, EdgeModel]:
    opened: dict[Key, EdgeModel] = {}
    for key in keys:
        path, engine = files[key]
        with suppress(AnomalibLiteError, RuntimeError):
            opened[key] = EdgeModel(path, engine=engine, threads=threads, self_test=False)
    return opened


def _frame(model: EdgeModel) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Noise: a blank frame would have all its patches alike."""
    shape = (1, *model.spec.size_hw, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)
