"""Does `--layers auto` help? Image AUROC of chosen against default layers on five sets.

    python benchmarks/layers.py [--backbones resnet18 filters vit_tiny_patch16_224]

For each set: what good images say about each layer, the chosen set, the image AUROC of `mvg` on
each layer alone (is the evidence a ranking?), and, where the choice differs from the default, that
of mvg, padim and patchcore (2,000 rows) with either. Defects are seen by the last step only.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from real_sets import SETS, SHARED

from anomalib_lite import Detector
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.metrics import auroc
from anomalib_lite.tuning.layer_selection import choose_layers

METHODS: dict[str, dict[str, Any]] = {"mvg": {}, "padim": {}, "patchcore": {"rows": 2000}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--weights", type=Path, default=SHARED / "weights")
    parser.add_argument("--backbones", nargs="+", default=["resnet18"])
    parser.add_argument("--sets", nargs="+", default=SETS)
    options = parser.parse_args()
    if not options.data.is_dir() or not options.weights.is_dir():
        sys.exit(f"needs {options.data} and {options.weights}")
    os.environ["ANOMALIB_LITE_WEIGHTS"] = str(options.weights)
    for backbone in options.backbones:
        for name in options.sets:
            compare(options.data / name, backbone)


def compare(folder: Path, backbone: str) -> None:
    """One set with one backbone."""
    side = 224 if backbone.startswith("vit") else 256
    spec = InputSpec(height=side, width=side)
    choice = choose_layers(folder / "train/good", backbone=backbone, spec=spec)
    print(f"## {folder.name}, {backbone}", *choice.explain(), sep="\n", flush=True)
    for item in choice.evidence:
        print(f"mvg on {item.name}: {measured(folder, 'mvg', backbone, spec, [item.name]):.4f}")
    usual = Detector("mvg", backbone=backbone, image_size=spec).backbone.settings()["layers"]
    if list(choice.layers) == usual:
        print("the choice is the default", flush=True)
        return
    for method in METHODS:
        default = measured(folder, method, backbone, spec, None)
        chosen = measured(folder, method, backbone, spec, list(choice.layers))
        print(f"{method}: default {default:.4f}, chosen {chosen:.4f}", flush=True)


def measured(
    folder: Path, method: str, backbone: str, spec: InputSpec, layers: list[str] | None
) -> float:
    """Image AUROC of a method with given layers."""
    settings = METHODS[method]
    detector = Detector(method, backbone=backbone, layers=layers, image_size=spec, **settings)
    detector.fit(folder / "train/good")
    paths = sorted(path for path in (folder / "test").glob("*/*") if path.is_file())
    scores = []
    for start in range(0, len(paths), 16):
        scores += [found.score for found in detector.predict_batch(paths[start : start + 16])]
    labels = np.array([path.parent.name != "good" for path in paths])
    return auroc(np.array(scores), labels)


if __name__ == "__main__":
    main()
