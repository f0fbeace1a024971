"""Successive halving: many trials on few images, the better half again on more.

Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter
optimization". Here the trials that nothing quicker beats go on, too: who asks for milliseconds
wants the whole front.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

RUNG_IMAGES = (40, 100, 200)
"""Good images of each rung; a set with fewer ends earlier."""

FEWEST = 3
"""So many go on at least."""

Key = TypeVar("Key")


class Standing(NamedTuple):
    """What is known of a trial: accuracy, higher is better, and milliseconds."""

    accuracy: float
    ms: float


def rungs(images: int) -> list[int]:
    """Images of each rung for a source of so many: the last takes all, or 200."""
    return [*(count for count in RUNG_IMAGES[:-1] if count < images), min(images, RUNG_IMAGES[-1])]


def front(standings: Mapping[Key, Standing]) -> list[Key]:
    """Those that no other beats in accuracy and milliseconds at once, quickest first."""
    kept: list[Key] = []
    best = -math.inf
    for key, standing in sorted(standings.items(), key=lambda item: (item[1].ms, -item[1][0])):
        if standing.accuracy > best:
            best = standing.accuracy
            kept.append(key)
    return kept


def survivors(standings: Mapping[Key, Standing]) -> list[Key]:
    """Those that go on to more images, best first: the better half and the front, at least three.

    Args:
        standings: the trials that fit the budget.
    """
    ranked = ranking(standings)
    keep = max(FEWEST, math.ceil(len(ranked) / 2))
    chosen = {*ranked[:keep], *front(standings)}
    return [key for key in ranked if key in chosen]


def ranking(standings: Mapping[Key, Standing]) -> list[Key]:
    """Best first; of equals the quicker."""
    return sorted(standings, key=lambda key: (-standings[key].accuracy, standings[key].ms))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's, ties at their mean rank; NaN where one does not vary."""
    from scipy.stats import spearmanr

    if len(first) < 2 or len(set(first)) < 2 or len(set(second)) < 2:
        return math.nan
    return float(spearmanr(first, second).statistic)
