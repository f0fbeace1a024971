"""How much a training folder with defective parts costs, and what an audit wins back.

`benchmarks/contamination.py [--sets bottle ...] [--levels 0 0.05 0.1 0.2]` moves test defects into
the training images *for this experiment only*, and fits with `--contamination` trust, exclude and
downweight. The defects moved at the highest level leave the test set at every level, so that the
rows of a set are measured on the same test images. No setting was chosen by these figures. Prints
a Markdown table, one row at a time.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from anomalib_lite import Detector
from anomalib_lite.backbones import Backbone, Features
from anomalib_lite.curation.downweight import fit_down_weighted
from anomalib_lite.curation.model_audit import AuditReport, audit, fit_without_suspects
from anomalib_lite.edge.prediction import Prediction
from anomalib_lite.metrics.image import auroc

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS = {"bottle": "mvtec_ad/bottle", "magnetic_tile": "magnetic_tile"}
SEED = 0
HEADS = (
    "set | detector | bad in training | training good + bad | test good + bad | AUROC trust "
    "| exclude | downweight | precision of the top k | suspects bad / good | counted in part bad "
    "/ good | rejected, good / bad: trust | exclude | downweight | promised: trust | exclude "
    "| downweight"
)


class Outcome(NamedTuple):
    """What a fitted detector does with the test images."""

    auroc: float
    rejected: str
    promised: str


def pick(paths: list[Path], most: int) -> list[Path]:
    """At most so many paths, drawn by the seed, in order."""
    chosen = np.random.default_rng(SEED).permutation(len(paths))[:most]
    return [paths[i] for i in sorted(chosen)]


def bad_needed(good: int, level: float) -> int:
    """How many bad images make up a share `level` of the whole training folder."""
    return round(good * level / (1 - level))


def remember(backbone: Backbone) -> None:
    """Compute the features of each picture once: every level and every fit sees the same ones."""
    known: dict[bytes, dict[str, Tensor]] = {}
    forward: Callable[[Tensor], Features] = backbone.forward

    def remembered(pixels: Tensor) -> Features:
        keys = [hashlib.blake2b(each.numpy().tobytes()).digest() for each in pixels]
        new = [index for index, key in enumerate(keys) if key not in known]
        if new:
            maps = forward(pixels[new]).maps
            for place, index in enumerate(new):
                known[keys[index]] = {name: each[place].clone() for name, each in maps.items()}
        names = known[keys[0]]
        maps = {name: torch.stack([known[key][name] for key in keys]) for name in names}
        return Features(pixels, maps)

    backbone.forward = remembered  # type: ignore[method-assign]


def judge(detector: Detector, good: list[Path], bad: list[Path]) -> Outcome:
    """Image AUROC, and how many good and bad images are rejected."""
    found: list[Prediction] = []
    paths = [*good, *bad]
    for start in range(0, len(paths), 16):
        found += detector.predict_batch(paths[start : start + 16])
    rejected = [prediction.is_anomalous for prediction in found]
    words = f"{sum(rejected[: len(good)])} / {sum(rejected[len(good) :])}"
    scores, labels = [p.score for p in found], [0] * len(good) + [1] * len(bad)
    promised = f"{detector.calibration.operating.false_reject_rate:.1%}"
    return Outcome(auroc(scores, labels), words, promised)


def row(fresh: Callable[[], Detector], images: list[Path], train: int, tests: list[list[Path]]):
    """Fit in all three ways after one audit; the measured cells."""
    report: AuditReport = audit(fresh(), images)
    detectors = [
        fresh().fit(images),
        fit_without_suspects(fresh(), images, report),
        fit_down_weighted(fresh(), images, report)[0],
    ]
    outcomes = [judge(detector, *tests) for detector in detectors]
    moved = len(images) - train
    is_bad = [entry.position >= train for entry in report.entries]
    suspects = [entry.position >= train for entry in report.suspects]
    weights = {
        record.id: record.sample_weight
        for record in detectors[2].data.records
        if record.sample_weight < 1
    }
    bad_ids = {record.id for record in detectors[0].data.records[train:]}
    partly = [identity in bad_ids for identity in weights]
    return [
        *(f"{outcome.auroc:.3f}" for outcome in outcomes),
        f"{np.mean(is_bad[:moved]):.2f}" if moved else "–",
        f"{sum(suspects)} / {len(suspects) - sum(suspects)}",
        f"{sum(partly)} / {len(partly) - sum(partly)}",
        *(outcome.rejected for outcome in outcomes),
        *(outcome.promised for outcome in outcomes),
    ]


def rows(name: str, asked: argparse.Namespace) -> None:
    """Measure and print all rows of one set."""
    root = DATA / SETS[name]
    train = pick(sorted((root / "train" / "good").iterdir()), asked.most)
    good = pick(sorted((root / "test" / "good").iterdir()), asked.most)
    defects = sorted(p for p in root.glob("test/*/*") if p.parent.name != "good")
    shuffled = [defects[i] for i in np.random.default_rng(SEED).permutation(len(defects))]
    bad = pick(sorted(shuffled[bad_needed(len(train), max(asked.levels)) :]), asked.most)
    shared = Detector("mvg", backbone=asked.backbone).backbone
    remember(shared)
    for kind in asked.detectors:

        def fresh(kind: str = kind) -> Detector:
            detector = Detector(kind, backbone=asked.backbone)
            detector.backbone = detector.graph.backbone = shared
            return detector

        for level in asked.levels:
            moved = shuffled[: bad_needed(len(train), level)]
            cells = [name, kind, f"{level:.0%}", f"{len(train)} + {len(moved)}"]
            cells += [f"{len(good)} + {len(bad)}"]
            cells += row(fresh, [*train, *moved], len(train), [good, bad])
            print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--detectors", nargs="+", default=["mvg", "padim"])
    parser.add_argument("--levels", nargs="+", type=float, default=[0.0, 0.05, 0.1, 0.2])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--most", type=int, default=10_000, help="images of each kind, for a trial")
    asked = parser.parse_args()
    print(f"| {HEADS} |\n|{'---|' * HEADS.count('|')}---|", flush=True)
    for name in asked.sets:
        rows(name, asked)


if __name__ == "__main__":
    main()
