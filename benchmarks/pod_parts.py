"""Do simulated defects tell the size that the generator's own defects of that kind need?

    python benchmarks/pod_parts.py [--product flange] [--kind stain] [--trials 120] [--size 128]

The parts generator paints blemishes on the surface before light and camera; the simulator changes
the finished picture. Each trial draws a part that the detector has not seen, with and without the
generator's blemish, scaled down at random so that sizes go from invisible to plain. Its size is
measured from the two pictures: diameter (stain, dent) of a disc of the area, or length (scratch,
crack: longest distance), of what has changed by half of the strongest change or more; its contrast
is the mean change there. The simulated defect of the trial has the same kind, size and contrast, on
the same part, once anywhere on it and once in the same place. All are judged at the calibrated
threshold, all curves fitted in the same way. The size at which 90 % are found may lie beyond the
sizes tried, which the command `pod` would call not reached.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.parts import flange, render, tablet, weave
from anomalib_lite.data.parts.surface import Surface
from anomalib_lite.data.simulate import DefectRequest, find_part, put_defect, whole_picture
from anomalib_lite.detector.detector import Detector
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.statistics.hit_miss import fit_hit_miss

MODULES = {"flange": flange, "tablet": tablet, "weave": weave}
SCALES = (0.12, 1.2)
LONG = ("scratch", "crack")


def measured(
    good: NDArray[np.uint8], bad: NDArray[np.uint8], kind: str
) -> tuple[float, float, tuple[int, int]] | None:
    """Size in pixels, mean change and middle of a blemish; None where nothing can be seen."""
    change = np.abs(bad.astype(np.float64) - good).mean(axis=2)
    if change.max() < 3:
        return None
    inside = change >= change.max() / 2
    contrast = float(change[inside].mean())
    row, column = np.argwhere(inside).mean(axis=0)
    place = (round(float(row)), round(float(column)))
    if kind in LONG:
        points = np.argwhere(inside)
        apart = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
        return float(apart.max()) + 1, contrast, place
    return 2 * float(np.sqrt(inside.sum() / np.pi)), contrast, place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--product", choices=list(MODULES), default="flange")
    parser.add_argument("--kind", default="stain")
    parser.add_argument("--detector", default="padim")
    parser.add_argument("--backbone", default="pdn_edge")
    parser.add_argument("--train", type=int, default=60)
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    module, rng = MODULES[options.product], np.random.default_rng(0)
    paint = module._BLEMISHES[options.kind]
    scale = [1.0]

    def scaled(s: Surface, x: float, y: float, rng: np.random.Generator, unit: float) -> None:
        paint(s, x, y, rng, unit * scale[0])

    module._BLEMISHES[options.kind] = scaled

    def photograph(index: int, split: str, defect: str | None = None) -> NDArray[np.uint8]:
        return render(
            options.product, seed=1, index=index, split=split, defect=defect, size=options.size
        ).image

    detector = Detector(
        options.detector, backbone=options.backbone, image_size=options.size, max_false_reject=0.02
    ).fit([photograph(index, "train") for index in range(options.train)])
    trials: list[tuple[float, float, bool, bool, bool]] = []
    rejected = 0
    for index in range(options.trials):
        scale[0] = float(np.exp(rng.uniform(*np.log(SCALES))))
        good = photograph(index, "test")
        bad = photograph(index, "test", options.kind)
        found = measured(good, bad, options.kind)
        if found is None:
            continue
        size, contrast, place = found
        request = DefectRequest(kind=options.kind, size=max(size, 1.0), contrast=contrast)
        part = find_part(good) or whole_picture(good.shape[:2])
        there = replace(request, place=place)
        try:
            made = [
                put_defect(good, asked, np.random.default_rng([2, index]), part=inside).frame
                for asked, inside in ((request, part), (there, whole_picture(good.shape[:2])))
            ]
        except SettingsError:
            continue
        verdicts = detector.predict([good, bad, *made], batch=4)
        if verdicts[0].is_anomalous:
            rejected += 1
            continue
        trials.append((size, contrast, *(verdict.is_anomalous for verdict in verdicts[1:])))
    sizes = np.array([trial[0] for trial in trials])
    contrasts = np.array([trial[1] for trial in trials])
    print(
        f"{options.product}, {options.kind}, {options.detector} on {options.backbone}, "
        f"{options.size} px: {len(trials)} trials ({rejected} parts rejected without a defect), "
        f"sizes {sizes.min():.1f} to {sizes.max():.1f} px, contrasts "
        f"{np.quantile(contrasts, 0.1):.0f} to {np.quantile(contrasts, 0.9):.0f}"
    )
    a90 = []
    for column, name in ((2, "generator's own"), (3, "simulated"), (4, "same place")):
        curve = fit_hit_miss(sizes, np.array([bool(trial[column]) for trial in trials]))
        a90.append(curve.size_at(0.9))
        print(
            f"{name:16} {curve.hit.mean():.0%} found, {curve.standing}, a50 {curve.size_at(0.5)}, "
            f"a90 {curve.size_at(0.9)}, a90/95 {curve.upper_size_at(0.9)}"
        )
    if None not in a90:
        print(
            f"a90 simulated / own: {a90[1] / a90[0]:.2f}, in the same place {a90[2] / a90[0]:.2f}"
        )


if __name__ == "__main__":
    main()
