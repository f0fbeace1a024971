"""How far each of some scores stands out of all of them, when most of them are ordinary."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

EXCLUDED = 0.05
"""Adjusted p-value up to which an image is a suspect with weight 0."""

ORDINARY = 0.5
"""Adjusted p-value from which an image has its full weight."""

_NORMAL_MAD = 1.4826  # standard deviation of a Gaussian / its median absolute deviation
_TINY = 1e-6


class Oddness(NamedTuple):
    """How far each of `n` scores stands out of all of them; arrays `(n,)`."""

    robust_z: NDArray[np.float64]
    p_value: NDArray[np.float64]
    weight: NDArray[np.float64]
    scale: str
    median: float
    spread: float


def highest_plausible(scores: NDArray[np.floating[Any]], draws: int) -> float:
    """What the largest of so many good scores stays below with 95 %, judged by those at hand.

    The excess over the median is taken to be exponential, a heavier tail than that of held-out
    scores as a rule: `P(max of n > m + x) <= (n / 2) exp(-x / mean excess)`.

    Args:
        scores: of good images by models that have not seen them `(n,)`.
        draws: number of scores of which the largest is meant.
    """
    values = np.asarray(scores, np.float64)
    median = float(np.median(values))
    excess = values[values > median] - median
    mean = float(excess.mean()) if excess.size else 0.0
    return median + max(mean, _TINY * abs(median)) * math.log(max(draws, 2) / 2 / 0.05)


def judge(scores: NDArray[np.floating[Any]]) -> Oddness:
    """Robust z, adjusted p-value and weight of each held-out score `(n,)`.

    The logarithm is taken when all scores are positive: distances are skewed, and a skewed tail
    must not look like a mislabelled image.
    """
    from scipy.stats import false_discovery_control, norm  # here: reports name EXCLUDED without it

    values = np.asarray(scores, np.float64)
    scale = "log" if values.min() > 0 else "raw"
    x = np.log(values) if scale == "log" else values
    median = float(np.median(x))
    spread = max(_NORMAL_MAD * float(np.median(np.abs(x - median))), _TINY)
    z = (x - median) / spread
    # Benjamini-Hochberg: calling all up to q suspects gives a false share of at most q.
    p = np.asarray(false_discovery_control(norm.sf(z), method="bh"), np.float64)
    weight = np.clip((p - EXCLUDED) / (ORDINARY - EXCLUDED), 0.0, 1.0)
    return Oddness(z, p, weight, scale, median, spread)
