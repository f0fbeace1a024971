"""Probability of detection against size from hits and misses (MIL-HDBK-1823A, hit/miss).

logit POD(a) = b0 + b1 ln a at one fixed threshold. Bounds are one-sided 95 % bounds by profile
likelihood, not Wald. Two things go beyond the handbook, because its plain form covered in 90 % to
94 % of simulated studies where 95 % is said (benchmarks/pod.py): the likelihood carries Firth's
penalty (1993), which also gives a curve where size separates hits from misses; and the critical
value is that of Student's t for the number of photographs, times how much trials that share a
photograph inflate the variance (Rao and Scott, first order).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from scipy.stats import t

Floats = NDArray[np.float64]
Standing = Literal["fitted", "separated", "flat", "all found", "none found"]
STANDINGS: tuple[Standing, ...] = get_args(Standing)

_FLATTEST, _STEEPEST = 1e-3, 1e3
_FARTHEST = np.log(50.0)  # a bound beyond 50 times the largest size is none
_HALVINGS, _HALVINGS_OF_BAND = 32, 14
_ITERATIONS = 60
_LEVEL = 0.95
_CHI2 = 2.7055434540954146  # 0.9 quantile, one degree of freedom: one-sided 95 %


@dataclass(frozen=True, eq=False)
class HitMissCurve:
    """A fitted curve; sizes in whatever unit went in.

    Attributes:
        log_size: ln of each trial's size, float64 `(n,)`.
        hit: whether it was found, float64 0 or 1 `(n,)`.
        intercept, slope: of the logistic line over ln size; NaN where nothing could be fitted.
        critical: what twice the log-likelihood may lose within the bounds.
        standing: `fitted`; `separated`: no size has hits and misses beside each other, and the
            slope is the penalty's; or why there is no size to give.
    """

    log_size: Floats
    hit: Floats
    intercept: float
    slope: float
    critical: float
    standing: Standing

    @property
    def usable(self) -> bool:
        """Whether sizes of equal probability can be read from it."""
        return self.standing in ("fitted", "separated")

    def probability(self, size: Floats) -> Floats:
        """POD at each size; NaN where nothing was fitted."""
        curve: Floats = expit(self.intercept + self.slope * np.log(size))
        return curve

    def size_at(self, probability: float) -> float | None:
        """Size found with that probability; None where there is none."""
        if not self.usable:
            return None
        return float(np.exp((logit(probability) - self.intercept) / self.slope))

    def upper_size_at(self, probability: float) -> float | None:
        """95 % upper bound of that size (a90/95 for 0.9); None where it is beyond all reason."""
        found = self.size_at(probability)
        if found is None:
            return None
        level = float(logit(probability))
        low = float(np.log(found))
        high = max(float(self.log_size.max()), low) + _FARTHEST
        if self._lost(high, level) < self.critical:
            return None
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._lost(middle, level) < self.critical:
                low = middle
            else:
                high = middle
        return float(np.exp(high))

    def lower_probability(self, size: float) -> float:
        """95 % lower bound of the POD at a size: the band, point by point."""
        place = float(np.log(size))
        high = float(np.clip(self.intercept + self.slope * place, -12, 12))
        low = high - 12.0
        for _ in range(_HALVINGS_OF_BAND):
            middle = (low + high) / 2
            if self._lost(place, middle) < self.critical:
                high = middle
            else:
                low = middle
        return float(expit(low))

    @cached_property
    def _best(self) -> float:
        return _likelihood(self.log_size, self.hit, self.intercept, self.slope)

    def _lost(self, place: float, level: float) -> float:
        """Twice the log-likelihood lost by the best rising curve through a point (ln a, logit)."""

        def loss(log_slope: float) -> float:
            slope = float(np.exp(log_slope))
            return -_likelihood(self.log_size, self.hit, level - slope * place, slope)

        bounds = (np.log(_FLATTEST), np.log(_STEEPEST))
        found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
        return 2 * (self._best + float(found.fun))


def fit_hit_miss(
    size: Floats, hit: NDArray[np.bool_], photograph: NDArray[np.int64] | None = None
) -> HitMissCurve:
    """Fit the curve.

    Args:
        size: of each trial, above 0, `(n,)`.
        hit: whether it was found, `(n,)`.
        photograph: which picture each trial lies on, `(n,)`; None where no two share one.
    """
    x, y = np.log(np.asarray(size, np.float64)), np.asarray(hit, np.float64)
    if not len(y) or y.all() or not y.any():
        standing: Standing = "all found" if len(y) and y.all() else "none found"
        return HitMissCurve(x, y, np.nan, np.nan, _CHI2, standing)
    intercept, slope = _maximum(x, y)
    clusters = np.arange(len(y)) if photograph is None else photograph
    freedom = max(1, len(np.unique(clusters)) - 2)
    critical = float(t.ppf(_LEVEL, freedom)) ** 2 * _inflation(x, y, intercept, slope, clusters)
    curve = HitMissCurve(x, y, intercept, slope, critical, "fitted")
    return replace(curve, standing=_standing(curve))


def _standing(curve: HitMissCurve) -> Standing:
    x, y = curve.log_size, curve.hit
    if x[y == 0].max() < x[y == 1].min():
        return "separated"
    flat = float(logit(y.mean()))
    gained = 2 * (curve._best - _likelihood(x, y, flat, 0.0))
    if curve.slope <= 0 or gained < curve.critical:
        return "flat"
    return "fitted"


def _likelihood(x: Floats, y: Floats, intercept: float, slope: float) -> float:
    """Log-likelihood with Firth's penalty, half the log determinant of the information."""
    line = intercept + slope * x
    chance = expit(line)
    weight = chance * (1 - chance)
    total = max(float(weight.sum()), 1e-300)
    mean = float(weight @ x) / total
    spread = max(float(weight @ (x - mean) ** 2), 1e-300)
    return float(y @ line - np.logaddexp(0, line).sum() + 0.5 * (np.log(total) + np.log(spread)))


def _maximum(x: Floats, y: Floats) -> tuple[float, float]:
    """Newton's method on Firth's score; a step that overshoots is halved."""
    middle = float(x.mean())
    centred = np.stack([np.ones_like(x), x - middle], axis=1)
    beta = np.array([float(logit(np.clip(y.mean(), 0.02, 0.98))), 0.0])

    def value(candidate: Floats) -> float:
        slope = float(candidate[1])
        return _likelihood(x, y, float(candidate[0]) - slope * middle, slope)

    for _ in range(_ITERATIONS):
        chance = expit(centred @ beta)
        weight = chance * (1 - chance)
        information = centred.T @ (centred * weight[:, None]) + 1e-12 * np.eye(2)
        inverse = np.linalg.inv(information)
        leverage = weight * np.einsum("ni,ij,nj->n", centred, inverse, centred)
        step = inverse @ (centred.T @ (y - chance + leverage * (0.5 - chance)))
        step *= min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        now = value(beta)
        while value(beta + step) < now - 1e-12 and np.abs(step).max() > 1e-10:
            step = step / 2
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    return float(beta[0] - beta[1] * middle), float(beta[1])


def _inflation(
    x: Floats, y: Floats, intercept: float, slope: float, photograph: NDArray[np.int64]
) -> float:
    """Variance of ln a90 with clusters (sandwich) over that of independent trials, at least 1."""
    _, cluster = np.unique(photograph, return_inverse=True)
    count = int(cluster.max()) + 1
    design = np.stack([np.ones_like(x), x], axis=1)
    chance = expit(intercept + slope * x)
    information = design.T @ (design * (chance * (1 - chance))[:, None])
    if count in (1, len(x)) or slope <= 0 or np.linalg.cond(information) > 1e12:
        return 1.0
    inverse = np.linalg.inv(information)
    scores = np.zeros((count, 2))
    np.add.at(scores, cluster, design * (y - chance)[:, None])
    between = scores.T @ scores * count / (count - 1)
    gradient = -np.array([1.0, (logit(0.9) - intercept) / slope]) / slope
    plain = float(gradient @ inverse @ gradient)
    return max(1.0, float(gradient @ inverse @ between @ inverse @ gradient) / plain)
