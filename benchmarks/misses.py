"""What lowers the misses at the promised rate: image score, place, input size, by `patchcore`.

    python benchmarks/misses.py --sets mvtec_ad/screw magnetic_tile [--image-size 320]

Distances of all patches are computed once per set: of the test images by the final model, of the
good training images by plain refits per fold, and of eight kinds of defects simulated on at most 24
held-out good images a fold. Each way to a score is then judged on the real test images and on the
simulated defects, so that one sees whether a choice without labels would have agreed. Nothing is
chosen here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from real_sets import SETS, SHARED
from sklearn.metrics import roc_auc_score

from anomalib_lite import Detector
from anomalib_lite.data.simulate import DEFECT_KINDS, simulate_defect
from anomalib_lite.detector.out_of_fold import assign_folds
from anomalib_lite.edge import prepare, read_frame
from anomalib_lite.edge.calibration import operating_point
from anomalib_lite.scorers import FitContext

FOLDS = 5
SIMULATED_IMAGES = 24
SHARES = (0.0, 0.003, 0.01, 0.02)
BACKED_BY = (np.inf, 400.0, 100.0)
"""Images that back the mean over all places when a place's own mean is shrunk towards it."""

Maps = NDArray[np.float32]


def fitted(paths: list[Path], options: argparse.Namespace) -> Detector:
    """PatchCore on some good images, uncalibrated."""
    detector = Detector(
        "patchcore", backbone=options.backbone, image_size=options.image_size, seed=options.seed
    )
    with torch.no_grad():
        detector.scorer.fit(
            detector._stream([str(path) for path in paths]), FitContext(seed=options.seed)
        )
    return detector


def distances(detector: Detector, frames: list[NDArray[np.uint8]]) -> Maps:
    """Patch distances `(N, h, w)` of prepared frames."""
    found, scorer = [], detector.scorer
    with torch.no_grad():
        for start in range(0, len(frames), 8):
            batch = torch.from_numpy(np.stack(frames[start : start + 8]))
            features = detector.backbone(detector.backbone.normalise(batch))
            found.append(scorer._search(scorer.patches(features.maps))[2].numpy())
    return np.concatenate(found)


def collect(
    folder: Path, options: argparse.Namespace
) -> tuple[Maps, NDArray[np.bool_], Maps, Maps]:
    """Distances of test images and which are defective, of held-out good images, of defects."""
    good = sorted((folder / "train" / "good").iterdir())
    kinds = sorted(item for item in (folder / "test").iterdir() if item.is_dir())
    test = [(path, kind.name != "good") for kind in kinds for path in sorted(kind.iterdir())]
    final = fitted(good, options)
    spec = final.spec
    prepared = [prepare(read_frame(path), spec) for path in good]
    tested = distances(final, [prepare(read_frame(path), spec) for path, _ in test])
    folds = assign_folds(len(good), FOLDS, options.seed)
    held_out = np.zeros((len(good), *tested.shape[1:]), np.float32)
    defects = []
    for fold in range(FOLDS):
        inside = np.flatnonzero(folds == fold)
        others = [path for path, own in zip(good, folds, strict=True) if own != fold]
        detector = fitted(others, options)
        held_out[inside] = distances(detector, [prepared[index] for index in inside])
        chosen = np.random.default_rng(fold).permutation(inside)[:SIMULATED_IMAGES]
        pictures = [
            simulate_defect(
                prepared[index],
                prepared[(index + 1) % len(prepared)],
                kind,
                np.random.default_rng([options.seed, int(index), number]),
            ).frame
            for index in chosen
            for number, kind in enumerate(DEFECT_KINDS)
        ]
        defects.append(distances(detector, pictures))
    return tested, np.array([bad for _, bad in test]), held_out, np.concatenate(defects)


def top(maps: Maps, share: float) -> NDArray[np.float64]:
    """Mean of the largest share of each map; the largest value for 0."""
    values = np.sort(maps.reshape(len(maps), -1), axis=1)[:, ::-1]
    return values[:, : max(1, round(share * values.shape[1]))].mean(axis=1, dtype=np.float64)


def row(
    name: str, test: NDArray[np.float64], bad: NDArray[np.bool_], held: NDArray[np.float64],
    defects: NDArray[np.float64],
) -> str:  # fmt: skip
    """One way to a score as a row of the table."""
    cells = [name, f"{roc_auc_score(bad, test):.3f}"]
    for rate in (0.01, 0.05):
        threshold = operating_point(held, rate).threshold
        missed, rejected = np.mean(test[bad] <= threshold), np.mean(test[~bad] > threshold)
        cells.append(f"{missed:.3f} / {rejected:.3f}")
    cells.append(f"{np.mean(test[bad] <= test[~bad].max()):.3f}")
    labels = np.repeat([0, 1], [len(held), len(defects)])
    cells.append(f"{roc_auc_score(labels, np.concatenate([held, defects])):.3f}")
    cells.append(f"{np.mean(defects <= operating_point(held, 0.01).threshold):.3f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print a table a set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--backbone", default="pdn_edge")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.sets:
        test, bad, held, defects = collect(SHARED / "data" / name, options)
        print(f"\n{name}, {options.backbone}, {options.image_size} px, seed {options.seed}\n")
        print(
            "| score | image AUROC | misses / rejects at 1 % | at 5 % | best misses | simulated "
            "AUROC | simulated misses at 1 % |"
        )
        print("| --- " * 7 + "|")
        mean = held.mean(axis=0)
        for backed in BACKED_BY:
            # A place's mean distance, shrunk towards the mean over all places.
            place = mean / mean.mean()
            if np.isfinite(backed):
                place = (len(held) * place + backed) / (len(held) + backed)
            else:
                place = np.ones_like(place)
            words = "" if np.isinf(backed) else f", by place ({backed:g})"
            for share in SHARES:
                title = ("largest" if share == 0 else f"top {100 * share:g} %") + words
                scores = [top(maps / place, share) for maps in (test, held, defects)]
                print(row(title, scores[0], bad, scores[1], scores[2]), flush=True)


if __name__ == "__main__":
    main()
