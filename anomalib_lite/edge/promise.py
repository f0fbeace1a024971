"""What a threshold promises: the expected share of good frames rejected, and its 95 % bound.

With one image a part, the share that a threshold realises is Beta distributed over calibrations
whatever the distribution of the scores (Vovk 2012, "Conditional validity of inductive conformal
predictors"): with `n` images and the threshold at the k-th largest, `Beta(k, n + 1 - k)`, mean
`k / (n + 1)`. With several images a part, each counts `1 / (images of its part)`, `n` is the number
of parts and `k` the count above the threshold plus one (hierarchical conformal prediction: Lee,
Barber and Willett 2024, "Distribution-free inference with hierarchical data"). The mean is exact
for a frame of a new part; the bound is that of parts whose images score all alike, the widest case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.edge.plain import is_number

OUT_OF_FOLD = "out-of-fold"
"""How the method of a calibration begins whose scores come from models of the other folds."""

MOVED = "moved"
"""How the method begins where other held-out scores were moved to a coarser graph."""

CONFIDENCE = 0.95
RATES = (0.005, 0.01, 0.02, 0.05)
"""Requested rates that a fit shows beside each other."""

_SLACK = 1e-9
_TINY = 1e-300


def images_needed(max_false_reject: float) -> int:
    """Fewest independent good images that promise a false-reject rate: `ceil(1 / rate) - 1`."""
    return math.ceil(1.0 / max_false_reject - _SLACK) - 1


@dataclass(frozen=True)
class Operating:
    """A threshold and what it promises.

    Attributes:
        threshold: raw score; above it a frame is anomalous.
        false_reject_rate: share of good frames to be rejected, on average over calibrations.
        requested: the rate that was asked for.
        samples: number of good images behind the promise.
        doubtful: further images, of which nobody knows whether they are good. The promise counts
            them as good ones above the threshold.
        independent: number of independent images: copies and views of one part count as one; None:
            all are.
        empirical: scores are out-of-fold: measured, not guaranteed.
    """

    threshold: float
    false_reject_rate: float
    requested: float
    samples: int
    doubtful: int = 0
    independent: int | None = None
    empirical: bool = False

    @property
    def parts(self) -> int:
        """Number of independent images behind the promise."""
        return self.samples if self.independent is None else self.independent

    @property
    def upper_bound(self) -> float:
        """Share of good frames rejected that 95 % of such calibrations stay below."""
        total = self.parts + self.doubtful + 1
        above = self.false_reject_rate * total
        return beta_quantile(CONFIDENCE, above, total - above)

    @property
    def honoured(self) -> bool:
        """Whether the requested rate can be promised with these images."""
        return self.false_reject_rate <= self.requested

    def rates(self) -> str:
        """Expected rate and bound: `1 % of good frames rejected on average (95 %: at most 3 %)`."""
        return (
            f"{percent(self.false_reject_rate)} of good frames rejected on average, "
            f"at most {percent(self.upper_bound)} with 95 % confidence"
        )

    def images(self) -> str:
        """What stands behind the promise: `200 good images of 40 parts`."""
        of_parts = "" if self.parts == self.samples else f" of {self.parts} parts"
        return f"{self.samples} good images{of_parts}"

    def explain(self) -> str:
        """One line for people: what is promised, from what, and why it is less than was asked."""
        needed = images_needed(self.requested)
        if not self.honoured and self.parts < needed:
            have = self.images().replace(" good images", "", 1)
            words = (
                f"{percent(self.requested)} needs at least {needed} good images; you have {have}: "
                f"{self.rates()}"
            )
        else:
            asked = "" if self.honoured else f" ({percent(self.requested)} asked)"
            words = f"{self.rates()}{asked}, from {self.images()}"
        if self.doubtful:
            words += f", were {self.doubtful} doubtful ones good, too"
        return f"{words}; {self.standing()}"

    def standing(self) -> str:
        """Whether the promise is a guarantee."""
        if self.empirical:
            return "measured out-of-fold: empirical, not guaranteed"
        return "guaranteed for frames like these images"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for readers."""
        return {
            "threshold": self.threshold,
            "false_reject_rate": self.false_reject_rate,
            "upper_bound_95": self.upper_bound,
            "samples": self.samples,
            "independent_images": self.parts,
            "honoured": self.honoured,
            "guaranteed": not self.empirical,
            "promise": self.explain(),
        }


def operating_point(
    scores: NDArray[np.floating[Any]],
    max_false_reject: float,
    doubtful: int = 0,
    views: Sequence[int] | NDArray[np.int64] = (),
    *,
    empirical: bool = False,
) -> Operating:
    """Threshold for a requested false-reject rate from calibration scores `(n,)`.

    With independent images the threshold is the k-th smallest score, `k = ceil((n + 1)(1 - rate))`.
    When `k > n` the largest score is taken and the honest rate `1 / (n + 1)` is reported in place
    of the request. Doubtful images have no part in the threshold; the rate is what it would be
    were they all good and above it.

    Args:
        scores: of good images by models that have not seen them.
        max_false_reject: requested rate.
        doubtful: number of images left out that may be good.
        views: how many of the images show what each shows, itself included `(n,)`; empty: one each.
        empirical: the scores are out-of-fold.
    """
    if not (is_number(max_false_reject) and 0 < max_false_reject < 1):
        raise SettingsError(
            f"the false-reject rate is {max_false_reject}; choose a value between 0 and 1"
        )
    values = np.asarray(scores, np.float64)
    n = values.size
    if n == 0:
        raise FitError("no good image is left for calibration; give at least 2 good images")
    order = np.argsort(values, kind="stable")
    weight = 1.0 / np.asarray(views, np.float64)[order] if len(views) else np.ones(n)
    parts = max(1, round(float(weight.sum())))
    # Weight of the scores that follow in order, and of the new frame itself.
    above = 1.0 + weight[::-1].cumsum()[::-1] - weight
    fits = np.flatnonzero(above <= max_false_reject * (parts + 1) + _SLACK)
    place = int(fits[0]) if len(fits) else n - 1
    return Operating(
        float(values[order[place]]),
        float((above[place] + doubtful) / (parts + doubtful + 1)),
        max_false_reject,
        n,
        doubtful,
        parts if parts != n else None,
        empirical,
    )


def beta_quantile(share: float, a: float, b: float) -> float:
    """x with `P(X <= x) = share`, X Beta distributed; bisection, to the last digit but three."""
    if b <= 0:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if beta_cdf(middle, a, b) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def beta_cdf(x: float, a: float, b: float) -> float:
    """`P(X <= x)` of Beta(a, b): the regularised incomplete beta function (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b)
    front -= math.lgamma(a) + math.lgamma(b)
    return math.exp(front) / (a * _continued_fraction(x, a, b))


def _continued_fraction(x: float, a: float, b: float) -> float:
    """Denominator of the incomplete beta function by Lentz's method."""
    value, c, d = 1.0, 1.0, 0.0
    for step in range(1, 10_000):
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / _not_zero(1 + term * d)
        c = _not_zero(1 + term / c)
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def percent(rate: float) -> str:
    """A rate with two digits: `0.5 %`, `2.3 %`, `11 %`."""
    return f"{100 * rate:.2g} %" if rate < 0.1 else f"{100 * rate:.0f} %"
