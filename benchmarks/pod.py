"""Does the 95 % bound of the size found in 90 % of cases keep its promise, where truth is known?

    python benchmarks/pod.py [--studies 200]

It draws hits and misses from known curves, steep and shallow, with sizes as the command
`pod` chooses them, every trial on a photograph of its own or six on each of twenty photographs that
differ in how hard they are, and counts studies whose a90/95 lies at or above the true a90. A study
without a bound (not reached) promises nothing too small and counts as covering; how many there are
is shown. Where photographs differ, the truth is the size of which 90 % are found over all of them.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from anomalib_lite.statistics.hit_miss import fit_hit_miss

SLOPES = (1.5, 3.0, 6.0)
MIDDLE = 8.0  # pixels; half of the defects of this size are found


def true_size(slope: float, spread: float) -> float:
    """Size found in 90 % of cases over photographs whose ln a50 varies by `spread`."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)

    def missing(log_size: float) -> float:
        chance = expit(slope * (log_size - np.log(MIDDLE) + spread * nodes))
        return float((weights * chance).sum() / weights.sum()) - 0.9

    return float(np.exp(brentq(missing, np.log(MIDDLE), np.log(MIDDLE) + 8)))


def coverage(
    slope: float, *, studies: int, trials: int, photographs: int | None, spread: float, seed: int
) -> dict[str, float]:
    """Shares of studies that cover, that have no bound, and the median of bound over truth."""
    truth, covered, unbounded = true_size(slope, spread), 0, 0
    ratios = []
    for study in range(studies):
        rng = np.random.default_rng([seed, study])
        count = trials if photographs is None else photographs
        shift = rng.normal(0, spread, count)
        place: NDArray[np.int64] = np.arange(trials) % count
        reach = 3.0 / slope + 0.2
        low, high = np.log(MIDDLE) - reach, np.log(MIDDLE) + reach
        log_size = rng.permutation(low + (high - low) * (np.arange(trials) + 0.5) / trials)
        chance = expit(slope * (log_size - np.log(MIDDLE) + shift[place]))
        hit = rng.random(trials) < chance
        curve = fit_hit_miss(np.exp(log_size), hit, None if photographs is None else place)
        bound = curve.upper_size_at(0.9)
        unbounded += bound is None
        covered += bound is None or bound >= truth
        if bound is not None:
            ratios.append(bound / truth)
    return {
        "covered": covered / studies,
        "unbounded": unbounded / studies,
        "median": float(np.median(ratios)) if ratios else float("nan"),
    }


def show_coverage(studies: int) -> None:
    """Print the table of `coverage`."""
    print("| slope | trials | photographs | covered | no bound | bound / truth, median |")
    print("|---|---|---|---|---|---|")
    for trials in (60, 120):
        for photographs, spread in ((None, 0.0), (20, 0.3)):
            for slope in SLOPES:
                found = coverage(
                    slope,
                    studies=studies,
                    trials=trials,
                    photographs=photographs,
                    spread=spread,
                    seed=1,
                )
                words = "one each" if photographs is None else f"{photographs}, unlike"
                print(
                    f"| {slope:g} | {trials} | {words} | {found['covered']:.1%} | "
                    f"{found['unbounded']:.1%} | {found['median']:.2f} |"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200)
    options = parser.parse_args()
    show_coverage(options.studies)


if __name__ == "__main__":
    main()
