"""Which directions carry the defects? `mvg` keeping low- against high-variance components.

    python benchmarks/components.py [--data ../shared/data] [--weights ../shared/weights]

Rippel et al. (2020) report that the directions of little variance among good images separate
defects, and those of much variance hardly do. Here both keep the same number of directions per
layer, so that only the choice differs. Image AUROC on each set; nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from anomalib_lite import Detector
from anomalib_lite.data.adapters import open_dataset
from anomalib_lite.metrics import auroc

ROOT = Path(__file__).resolve().parents[1]
SETS = ("mvtec_ad:bottle", "mvtec_ad:screw", "mvtec_loco_flat:juice_bottle")
FLAT = ("magnetic_tile", "hazelnut_toy")
COUNTS = (8, 16, 32)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--weights", type=Path, default=ROOT.parent / "shared/weights")
    options = parser.parse_args()
    if not options.data.is_dir() or not options.weights.is_dir():
        sys.exit(f"needs {options.data} and {options.weights}")
    os.environ["ANOMALIB_LITE_WEIGHTS"] = str(options.weights)
    specs = [f"mvtec:{options.data}/{name}" for name in SETS]
    specs += [f"mvtec:{options.data}:{name}" for name in FLAT]
    print("| set | all |", " | ".join(f"low {n} | high {n}" for n in COUNTS), "|")
    print("| --- | --- |", " | ".join("--- | ---" for _ in COUNTS), "|")
    for spec in specs:
        cells = [f"{measure(spec, 'all', None):.3f}"]
        for count in COUNTS:
            cells += [f"{measure(spec, side, count):.3f}" for side in ("low", "high")]
        print(f"| {spec.rsplit(':', 1)[1]} |", " | ".join(cells), "|", flush=True)


def measure(spec: str, components: str, count: int | None) -> float:
    """Image AUROC of mvg on resnet18 with a choice of components."""
    dataset = open_dataset(spec)
    good = [sample.path for sample in dataset.samples("train", label=0)]
    test = dataset.samples("test")
    detector = Detector("mvg", backbone="resnet18", components=components, num_components=count)
    detector.fit(good)
    scores = []
    for start in range(0, len(test), 16):
        frames = [sample.path for sample in test[start : start + 16]]
        scores += [verdict.score for verdict in detector.predict_batch(frames)]
    return auroc(np.array(scores), np.array([sample.label for sample in test]))


if __name__ == "__main__":
    main()
