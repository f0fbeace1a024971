"""Do held-out scores lie where scores of new good images lie?

    python benchmarks/calibration_bias.py [--sets mvtec_ad/bottle] [--detectors patchcore padim]

Good training images only: a fifth is kept aside, a detector is fitted and calibrated on the rest,
and the kept images are scored by the final model. Held-out scores that lie above them put the
threshold too high (defects pass), below them too low (good parts are rejected). Printed: the
difference of the medians in interquartile ranges of the held-out scores, the realised false rejects
at promised 1 % and 5 %, and the chance of a larger Kolmogorov-Smirnov distance if there is no bias.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from real_sets import SETS, SHARED
from scipy.stats import ks_2samp

from anomalib_lite import Detector

DETECTORS = ("patchcore", "knn", "padim", "mvg", "patchcore+mvg")
SETTINGS = {"knn": {"mode": "patches"}}
KEPT = 0.2


def measure(paths: list[Path], detector: str, backbone: str, size: int, seed: int) -> str:
    """One row of the table."""
    order = np.random.default_rng(seed).permutation(len(paths))
    kept = [paths[index] for index in order[: round(KEPT * len(paths))]]
    learnt = [paths[index] for index in np.sort(order[len(kept) :])]
    settings = SETTINGS.get(detector, {})
    fitted = Detector(detector, backbone=backbone, image_size=size, seed=seed, **settings)
    fitted.fit([str(path) for path in learnt])
    held_out = np.array(fitted.calibration.scores)
    fresh = np.array([fitted.predict(path).score for path in kept])
    low, high = np.quantile(held_out, [0.25, 0.75])
    shift = (np.median(held_out) - np.median(fresh)) / (high - low)
    rejected = [
        int((fresh > fitted.calibration.with_rate(rate).threshold).sum()) for rate in (0.01, 0.05)
    ]
    chance = ks_2samp(held_out, fresh).pvalue
    counts = " | ".join(f"{count} of {len(fresh)}" for count in rejected)
    return f"| {detector} | {backbone} | {seed} | {shift:+.2f} | {counts} | {chance:.2f} |"


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--detectors", nargs="+", default=list(DETECTORS))
    parser.add_argument("--backbone", default="pdn_edge")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--image-size", type=int, default=256)
    options = parser.parse_args()
    print(
        "| set | detector | backbone | seed | median, IQRs | rejected at 1 % | at 5 % | KS chance |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in options.sets:
        paths = sorted((SHARED / "data" / name / "train" / "good").iterdir())
        for detector in options.detectors:
            for seed in range(options.seeds):
                row = measure(paths, detector, options.backbone, options.image_size, seed)
                print(f"| {name} {row}", flush=True)


if __name__ == "__main__":
    main()
