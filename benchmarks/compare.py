"""How far a ranking by simulated defects agrees with one by real defects.

    python benchmarks/compare.py SHARED_DATA [--sets bottle screw ...] [--train 60] [--size 128]
        [--configurations mvg:pdn_edge padim:resnet18 ...] [--out FILE.json]

For every set each configuration is ranked by `compare` on the good training images alone, then
fitted on the same images and measured on the real test images: image AUROC, and the share of real
defects that its own threshold lets pass. Nothing is chosen by the test images. Printed are both
rankings and Spearman's rank correlation of AUROC with AUROC and of misses with misses, for each set
and over all sets (ranks within each set). Results go to FILE.json as they come; what is there
already is kept.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata, spearmanr

from anomalib_lite.data.adapters import open_dataset
from anomalib_lite.detector.detector import Detector
from anomalib_lite.edge.sources import FileSource
from anomalib_lite.metrics import auroc
from anomalib_lite.tuning.comparison import compare
from anomalib_lite.tuning.grid import Configuration

SETS = {
    "bottle": "mvtec:{root}/mvtec_ad:bottle",
    "screw": "mvtec:{root}/mvtec_ad:screw",
    "juice_bottle": "mvtec:{root}/mvtec_loco_flat:juice_bottle",
    "magnetic_tile": "mvtec:{root}:magnetic_tile",
    "hazelnut_toy": "mvtec:{root}:hazelnut_toy",
}
CONFIGURATIONS = [
    f"{detector}:{backbone}"
    for detector in ("patchcore", "padim", "mvg", "knn")
    for backbone in ("pdn_edge", "resnet18")
]


def measured(name: str, root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both rankings of one set."""
    data = open_dataset(SETS[name].format(root=root))
    training = [sample.path for sample in data.samples(split="train")]
    chosen = np.random.default_rng(0).permutation(len(training))[: options.train]
    good = [training[index] for index in sorted(chosen)]
    wanted = [
        Configuration(*text.split(":"), (options.size, options.size))
        for text in options.configurations
    ]
    source = FileSource(good, name=name)
    found = compare(source, wanted, progress=lambda *told: print(name, *told, flush=True))
    rows = {
        row.name: {"simulated": row.auroc, "simulated_misses": row.misses} for row in found.rows
    }
    samples = data.samples(split="test")
    labels = np.array([sample.label for sample in samples])
    for item in wanted:
        detector = Detector(item.detector, backbone=item.backbone, image_size=options.size)
        detector.fit(good)
        verdicts = detector.predict([sample.path for sample in samples], batch=8)
        scores = np.array([verdict.score for verdict in verdicts])
        rows[item.name]["real"] = float(auroc(scores, labels))
        rows[item.name]["real_misses"] = float((scores[labels == 1] <= detector.threshold).mean())
        print(name, item.name, rows[item.name], flush=True)
    return rows


def show(results: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print tables and correlations."""
    pooled: dict[str, list[float]] = {"simulated": [], "real": []}
    missed: dict[str, list[float]] = {"simulated": [], "real": []}
    for name, rows in results.items():
        print(f"\n| {name} | simulated AUROC | real AUROC | simulated missed | real missed |")
        print("|---|---|---|---|---|")
        for label, row in sorted(rows.items(), key=lambda pair: -pair[1]["simulated"]):
            print(
                f"| {label} | {100 * row['simulated']:.1f} | {100 * row['real']:.1f} | "
                f"{row['simulated_misses']:.1%} | {row['real_misses']:.1%} |"
            )
        for kind in ("simulated", "real"):
            other = f"{kind}_misses"
            pooled[kind] += rankdata([row[kind] for row in rows.values()]).tolist()
            missed[kind] += rankdata([row[other] for row in rows.values()]).tolist()
        own = [[row[key] for row in rows.values()] for key in ("simulated", "real")]
        print(f"Spearman, {name}: {spearmanr(*own).statistic:.2f}")
    print(f"\nSpearman of AUROC, pooled: {spearmanr(*pooled.values()).statistic:.2f}")
    print(f"Spearman of misses, pooled: {spearmanr(*missed.values()).statistic:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--train", type=int, default=60)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--configurations", nargs="+", default=CONFIGURATIONS)
    parser.add_argument("--out", type=Path, default=Path("compare_results.json"))
    options = parser.parse_args()
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.sets:
        if name not in results:
            results[name] = measured(name, options.root, options)
            options.out.write_text(json.dumps(results, indent=1))
    show(results)


if __name__ == "__main__":
    main()
