"""Exact counts at every threshold, from two sorted arrays; the base of ROC, AP and F1.

Only thresholds that equal a positive score matter: between two of them the true positives stay
and the false positives grow, which adds no recall and can only lower precision and F1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.metrics.inputs import Floats

Counts = NDArray[np.int64]

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class ThresholdBlock:
    """Counts at some distinct positive scores, ascending; every array is `(B,)`.

    `entering` positives equal the score, `true_positives` are at least the score,
    `good_below` negatives are lower, `good_up_to` are lower or equal.
    """

    scores: Floats
    entering: Counts
    true_positives: Counts
    good_below: Counts
    good_up_to: Counts


def threshold_blocks(positives: Floats, negatives: Floats) -> Iterator[ThresholdBlock]:
    """Yield the counts of sorted `positives` `(P,)` against sorted `negatives` `(N,)`.

    Blocks of about a million keep the 8-byte counts small beside 4-byte scores.
    """
    start = 0
    while start < positives.size:
        last = positives[min(start + _BLOCK, positives.size) - 1]
        stop = int(np.searchsorted(positives, last, side="right"))
        part = positives[start:stop]
        first = np.flatnonzero(np.concatenate(([True], part[1:] != part[:-1])))
        scores = part[first]
        yield ThresholdBlock(
            scores=scores,
            entering=np.diff(first, append=part.size),
            true_positives=positives.size - start - first,
            good_below=np.searchsorted(negatives, scores, side="left"),
            good_up_to=np.searchsorted(negatives, scores, side="right"),
        )
        start = stop


def ranked_auroc(positives: Floats, negatives: Floats) -> float:
    """Return P(s⁺ > s⁻) + ½ P(s⁺ = s⁻) of two sorted arrays, from integer counts (exact)."""
    twice_won = 0
    for block in threshold_blocks(positives, negatives):
        twice_won += int((block.entering * (block.good_below + block.good_up_to)).sum())
    return twice_won / (2 * positives.size * negatives.size)


def ranked_average_precision(positives: Floats, negatives: Floats) -> float:
    """Return Σ (Rₙ − Rₙ₋₁) Pₙ of two sorted arrays."""
    total = 0.0
    for block in threshold_blocks(positives, negatives):
        flagged = block.true_positives + negatives.size - block.good_below
        total += float((block.entering * (block.true_positives / flagged)).sum())
    return total / positives.size


def ranked_f1_max(positives: Floats, negatives: Floats) -> tuple[float, float]:
    """Return `(F1, lowest score still flagged)` of two sorted arrays; the highest when tied."""
    best, at = 0.0, float(positives[-1])
    for block in threshold_blocks(positives, negatives):
        flagged = block.true_positives + negatives.size - block.good_below
        f1 = 2 * block.true_positives / (positives.size + flagged)
        place = f1.size - 1 - int(np.argmax(f1[::-1]))
        if f1[place] >= best:
            best, at = float(f1[place]), float(block.scores[place])
    return best, at
