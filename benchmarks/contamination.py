"""How much a training folder with defective parts costs, and what an audit wins back.

`benchmarks/contamination.py [--sets bottle ...] [--levels 0 0.1 0.2]` moves test defects into the
training images *for this experiment only*. The defects moved at the highest level leave the test
set at every level, so that the rows of a set are measured on the same test images. No setting was
chosen by these figures. Prints a Markdown table, one row at a time.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from anomalib_lite import Detector
from anomalib_lite.audit import audit, fit_without_suspects
from anomalib_lite.metrics.image import auroc

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS = {"bottle": "mvtec_ad/bottle", "magnetic_tile": "magnetic_tile"}
SEED = 0


def pick(paths: list[Path], most: int) -> list[Path]:
    """At most so many paths, drawn by the seed, in order."""
    chosen = np.random.default_rng(SEED).permutation(len(paths))[:most]
    return [paths[i] for i in sorted(chosen)]


def bad_needed(good: int, level: float) -> int:
    """How many bad images make up a share `level` of the whole training folder."""
    return round(good * level / (1 - level))


def measure_auroc(detector: Detector, good: list[Path], bad: list[Path]) -> float:
    """Image AUROC."""
    scores = []
    paths = [*good, *bad]
    for start in range(0, len(paths), 16):
        scores += [p.score for p in detector.predict_batch(paths[start : start + 16])]
    return auroc(scores, [0] * len(good) + [1] * len(bad))


def rows(name: str, detectors: list[str], levels: list[float], backbone: str, most: int) -> None:
    """Measure and print all rows of one set."""
    root = DATA / SETS[name]
    train = pick(sorted((root / "train" / "good").iterdir()), most)
    good = pick(sorted((root / "test" / "good").iterdir()), most)
    defects = sorted(p for p in root.glob("test/*/*") if p.parent.name != "good")
    shuffled = [defects[i] for i in np.random.default_rng(SEED).permutation(len(defects))]
    reserved = bad_needed(len(train), max(levels))
    bad = pick(sorted(shuffled[reserved:]), most)
    for kind in detectors:
        for level in levels:
            moved = shuffled[: bad_needed(len(train), level)]
            images = [*train, *moved]
            started = time.perf_counter()
            plain = measure_auroc(Detector(kind, backbone=backbone).fit(images), good, bad)
            middle = time.perf_counter()
            detector = Detector(kind, backbone=backbone)
            report = audit(detector, images)
            audited = measure_auroc(fit_without_suspects(detector, images, report), good, bad)
            is_bad = [entry.position >= len(train) for entry in report.entries]
            found = sum(entry.position >= len(train) for entry in report.suspects)
            top = f"{np.mean(is_bad[: len(moved)]):.2f}" if moved else "–"
            print(
                f"| {name} | {kind} | {level:.0%} | {len(train)} + {len(moved)} "
                f"| {len(good)} + {len(bad)} | {plain:.3f} | {audited:.3f} | {top} "
                f"| {found} of {len(moved)} | {len(report.suspects) - found} of {len(train)} "
                f"| {middle - started:.0f} s / {time.perf_counter() - middle:.0f} s |",
                flush=True,
            )


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--detectors", nargs="+", default=["mvg", "padim"])
    parser.add_argument("--levels", nargs="+", type=float, default=[0.0, 0.05, 0.1, 0.2])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--most", type=int, default=10_000, help="images of each kind, for a trial")
    asked = parser.parse_args()
    print(
        "| set | detector | bad in training | training good + bad | test good + bad | AUROC, all "
        "| AUROC, suspects excluded | precision of the top k | bad found | good excluded "
        "| time, plain / audited |\n|---|---|---|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    for name in asked.sets:
        rows(name, asked.detectors, asked.levels, asked.backbone, asked.most)


if __name__ == "__main__":
    main()
