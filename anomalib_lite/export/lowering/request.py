"""What is asked of a coarser graph: which precision, judged on which frames, within which loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.errors import SettingsError, did_you_mean
from anomalib_lite.statistics.spread import spread

PRECISIONS = ("fp32", "fp16", "bf16", "int8")

_FEWEST = 12
_MOST_CHOOSING = 16


@dataclass(frozen=True, eq=False)
class GoodFrame:
    """A good frame, prepared, and what the fit knows of it.

    Attributes:
        prepared: uint8 `(h, w, 3)`.
        shows: what it shows, equal for frames that are not independent.
        learnt: whether the model has learnt it.
    """

    prepared: NDArray[np.uint8]
    shows: str
    learnt: bool


@dataclass(frozen=True, eq=False)
class GoodFrames:
    """Good frames to choose, judge and calibrate by.

    Attributes:
        frames: at least 12.
        source: where they come from, in words.
    """

    frames: tuple[GoodFrame, ...]
    source: str

    def split(self) -> tuple[list[GoodFrame], list[GoodFrame]]:
        """Frames to choose by (ranges, float nodes), at most 16; and the others, to judge by.

        Frames that the fit has learnt are taken to choose by first: the others may calibrate.

        Raises:
            SettingsError: there are too few.
        """
        count = len(self.frames)
        if count < _FEWEST:
            raise SettingsError(
                f"{count} good frames are too few to choose and judge by ({self.source}), at least "
                f"{_FEWEST} are needed; give a folder of good frames with --frames"
            )
        wanted = min(_MOST_CHOOSING, count // 3)
        order = sorted(range(count), key=lambda index: not self.frames[index].learnt)
        learnt = sum(frame.learnt for frame in self.frames)
        pool = order[:learnt] if learnt >= wanted else order
        chosen = {pool[place] for place in spread(len(pool), wanted)}
        choosing = [self.frames[index] for index in sorted(chosen)]
        judging = [frame for index, frame in enumerate(self.frames) if index not in chosen]
        return choosing, judging


@dataclass(frozen=True)
class Limits:
    """What a coarser graph may lose against the float one before it is refused.

    Attributes:
        auroc: of the area under the ROC curve on simulated defects.
        aupro: of the area under the PRO curve on them.
        misses: of the share of simulated defects that the threshold catches.
    """

    auroc: float = 0.005
    aupro: float = 0.01
    misses: float = 0.02

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise SettingsError(f"the loss of {name} is {value}; choose between 0 and 1")


def checked_precision(precision: str) -> str:
    """A known precision; raises `SettingsError` for another."""
    if precision not in PRECISIONS:
        meant = did_you_mean(str(precision), PRECISIONS)
        raise SettingsError(f"precision is {precision!r}{meant}; choose {', '.join(PRECISIONS)}")
    return precision


def stack(frames: Sequence[GoodFrame]) -> NDArray[np.uint8]:
    """Their pixels as one batch `(n, h, w, 3)`."""
    return np.stack([frame.prepared for frame in frames])
