"""What counts prove: intervals for shares, whether a promise is broken, whether scores moved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_FEWEST_FRAMES, _FEWEST_ACCEPTED, _FEWEST_SAMPLES = 20, 8, 10
_SURELY = 0.01
_MOST_REJECTED = 0.5
_NOTABLE_GAP = 0.1
"""A gap that many frames prove but that changes no decision is not worth a warning."""

P_BINS = 10


def chance_of_rejects(rejected: int, good: int, promised_rate: float, samples: int) -> float:
    """Probability of at least `rejected` of `good` parts above the threshold, if nothing changed.

    When test and calibration parts are alike, the number above the k-th smallest of `samples`
    calibration scores is beta-binomial with parameters `samples + 1 - k` and `k`, whatever the
    distribution; `promised_rate = (samples + 1 - k) / (samples + 1)`.
    """
    above = max(1, round(promised_rate * (samples + 1)))
    below = samples + 1 - above
    if rejected <= 0 or below <= 0:
        return 1.0
    terms = [
        math.lgamma(good + 1)
        - math.lgamma(hits + 1)
        - math.lgamma(good - hits + 1)
        + _log_beta(hits + above, good - hits + below)
        - _log_beta(above, below)
        for hits in range(rejected, good + 1)
    ]
    return min(1.0, math.fsum(math.exp(term) for term in terms))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


@dataclass(frozen=True)
class Drift:
    """Whether frames that pass score like the good images of the calibration.

    Attributes:
        verdict: `few` frames or images to tell, `none` seen, scores `higher` or `lower`, or a
            `flood` of rejects that leaves no picture of what is good.
        frames: accepted frames compared.
        samples: calibration images compared (those that would be accepted).
        gap: largest distance of the two cumulative distributions (Kolmogorov-Smirnov), 0 to 1.
        chance: probability of such a gap when nothing changed (asymptotic).
        median_p: median p-value of the frames.
    """

    verdict: Literal["few", "none", "higher", "lower", "flood"]
    frames: int
    samples: int
    gap: float
    chance: float
    median_p: float


def score_drift(
    scores: NDArray[np.float64], calibration: NDArray[np.float64], threshold: float
) -> Drift:
    """Compare accepted frames `(m,)` with calibration scores `(n,)`, both up to the threshold.

    Rejected frames are left out on both sides: defects are expected to score high. Frames that
    follow each other are alike, so this is a hint and not a proof.
    """
    frames = np.sort(scores[scores <= threshold])
    known = np.sort(calibration[calibration <= threshold])
    m, n = frames.size, known.size
    if scores.size >= _FEWEST_FRAMES and m < (1 - _MOST_REJECTED) * scores.size:
        return Drift("flood", m, n, 0.0, 1.0, math.nan)
    if m == 0 or n == 0:
        return Drift("few", m, n, 0.0, 1.0, math.nan)
    everything = np.concatenate((frames, known))
    lead = _share_below(known, everything) - _share_below(frames, everything)
    place = int(np.argmax(np.abs(lead)))
    gap = abs(float(lead[place]))
    chance = _kolmogorov(gap, m * n / (m + n))
    p_values = (1 + n - np.searchsorted(known, frames, side="left")) / (n + 1)
    median_p = float(np.median(p_values))
    few = scores.size < _FEWEST_FRAMES or m < _FEWEST_ACCEPTED or n < _FEWEST_SAMPLES
    if few:
        return Drift("few", m, n, gap, chance, median_p)
    if chance > _SURELY or gap < _NOTABLE_GAP:
        return Drift("none", m, n, gap, chance, median_p)
    return Drift("higher" if lead[place] > 0 else "lower", m, n, gap, chance, median_p)


def p_value_shares(p_values: NDArray[np.float64]) -> list[float]:
    """Share of p-values in each of ten equal bins `(low, high]` of (0, 1]."""
    places = np.ceil(p_values * P_BINS - 1e-9).astype(np.int64) - 1
    counts = np.bincount(places.clip(0, P_BINS - 1), minlength=P_BINS)
    return [float(count) / max(1, p_values.size) for count in counts]


def _share_below(ascending: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.searchsorted(ascending, at, side="right") / ascending.size


def _kolmogorov(gap: float, effective: float) -> float:
    """Survival function of the Kolmogorov distribution with Stephens' small-sample factor."""
    root = math.sqrt(effective)
    scaled = (root + 0.12 + 0.11 / root) * gap
    if scaled < 0.2:
        return 1.0
    terms = [(-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101)]
    return min(1.0, max(0.0, 2 * math.fsum(terms)))
