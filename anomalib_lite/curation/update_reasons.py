"""Why an update should not be kept: good images rejected, or new images that may not be good."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from anomalib_lite.edge.calibration import Operating
from anomalib_lite.edge.promise import percent
from anomalib_lite.statistics.outliers import highest_plausible

CHANCE = 0.05
"""An update is refused when chance alone makes so many false rejects less often than this."""


class HeldOut(NamedTuple):
    """Scores of good images by models that have not seen them, against a threshold.

    Attributes:
        scores: image scores `(n,)`.
        threshold: of the model that would judge them.
    """

    scores: NDArray[np.float64]
    threshold: float

    @property
    def images(self) -> int:
        """How many."""
        return len(self.scores)

    @property
    def rejected(self) -> int:
        """How many lie above the threshold."""
        return int((self.scores > self.threshold).sum())

    def of_threshold(self, quantile: float) -> float:
        """Quantile of the scores, as a share of the threshold; NaN where there is none."""
        if not self.images or self.threshold <= 0:
            return math.nan
        return float(np.quantile(self.scores, quantile)) / self.threshold


class RejectedImage(NamedTuple):
    """A new image that the model as it was rejects: its place in the source, name and score."""

    position: int
    name: str
    score: float


class Comparison(NamedTuple):
    """The same good images under the model before and the model after."""

    before: HeldOut
    after: HeldOut


def reasons_to_refuse(
    then: Operating, now: Operating, kept: Comparison, added: Comparison
) -> list[str]:
    """Why held-out false rejects got worse, in words; empty when they did not.

    Worse is: a rate that could be promised cannot be any more; or, in either group of images,
    more are rejected than before *and* more than the larger of the new promise and the share
    before explains by chance (one-sided exact binomial test at 5 %).
    """
    reasons = []
    if then.honoured and not now.honoured:
        reasons.append(f"the promise is lost: {now.explain()}")
    for words, group in (("calibration images", kept), ("new images", added)):
        total, before, after = group.after.images, group.before.rejected, group.after.rejected
        if after <= before:
            continue
        allowed = max(now.false_reject_rate, before / total)
        chance = float(binom.sf(after - 1, total, allowed))
        if chance < CHANCE:
            reasons.append(
                f"{after} of {total} {words} would be rejected, {before} before: more than "
                f"{100 * allowed:.2g} % explains by chance (p = {chance:.2g})"
            )
    return reasons


def reasons_to_doubt(
    then: Operating, now: Operating, kept: HeldOut, added: HeldOut, parts: int
) -> list[str]:
    """Why the new images may not be good, in words; empty when they look like the others.

    They do not when the present model rejects more of them than the upper bound of its promise
    explains by chance (one-sided exact binomial test at 5 %), or when the threshold rises above
    what the largest good score stays below with 95 % confidence.

    Args:
        then: what the present model promises.
        now: the same after the update.
        kept: earlier calibration images.
        added: new images, judged by the present model.
        parts: number of independent images among the new ones.
    """
    reasons = []
    total, rejected = added.images, added.rejected
    of_parts = rejected if parts == total else math.ceil(rejected * parts / total)
    chance = float(binom.sf(of_parts - 1, parts, then.upper_bound))
    if rejected and chance < CHANCE:
        reasons.append(
            f"the model rejects {rejected} of the {total} new images, and promised to reject at "
            f"most {percent(then.upper_bound)} of good ones with 95 % confidence (p = {chance:.2g})"
            ": they are defective, or good in a way that it has never seen; look at each"
        )
    limit = highest_plausible(kept.scores, then.parts + parts) if kept.images else math.inf
    if now.threshold > max(limit, then.threshold):
        rise = f"{now.threshold / then.threshold - 1:+.0%}, " if then.threshold > 0 else ""
        reasons.append(
            f"the threshold moves from {then.threshold:.4g} to {now.threshold:.4g} ({rise}beyond "
            f"the {limit:.4g} that good images like the earlier ones stay below with 95 % "
            "confidence): defects between the two would pass"
        )
    return reasons
