"""Measure fusions: each part, several ways to combine them, earned weights, latency.

    python benchmarks/fusion.py --rows 4000
    python benchmarks/fusion.py --only latency
    python benchmarks/fusion.py --only harm --backbone pdn_edge --seeds 0 1 2

`accuracy` fits the parts on the good images of five sets (resnet18, 256 x 256) as
`fit --detector patchcore+mvg` does, and scores the test images by every part and every rule. The
rule of the package ("earned") was chosen by the column "simulated", which needs no test image: the
image AUROC on simulated defects against unseen good images. `harm` shows for each set and seed what
the smallest weighted p-value and the weighted sum of before do to the better part (thresholds from
a held-out share; features and scores stay in --cache). `latency` times exported files of the
fusion and of its parts, interleaved, on random frames. Needs the images and weights of ../shared
(or --data and --weights).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from real_sets import SETS, SHARED

BATCH = 16
Floats = NDArray[np.float64]


class Held:
    """A stream read once and held in memory: its features are needed several times."""

    def __init__(self, stream: Any, batches: list[Any]) -> None:
        self.layout, self.backbone, self._batches = stream.layout, stream.backbone, batches

    def __len__(self) -> int:
        return 1 + max(int(batch.indices.max()) for batch in self._batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)

    def subset(self, indices: Any) -> Held:
        """Batches with the wanted images only."""
        from anomalib_lite.backbones import Features
        from anomalib_lite.scorers import FrameBatch

        chosen = []
        for batch in self._batches:
            keep = np.flatnonzero(np.isin(batch.indices, indices))
            if len(keep):
                maps = {name: value[keep] for name, value in batch.features.maps.items()}
                part = Features(batch.features.pixels[keep], maps)
                chosen.append(
                    FrameBatch(batch.frames[keep], batch.indices[keep], lambda _, part=part: part)
                )
        return Held(self, chosen)


class Scored:
    """Scores of all parts, each `(n, P)`: what every rule works with."""

    def __init__(self, good: Floats, defects: Floats, moved: Floats, unseen: Floats) -> None:
        self.good, self.defects, self.moved, self.unseen = good, defects, moved, unseen


def rules(scored: Scored) -> dict[str, Callable[[Floats, Floats], Floats]]:
    """Name -> combination of scores `(n, P)` in units of the good scores `(m, P)`."""
    from anomalib_lite.scorers.fusion.earned_weights import Judgement, earn_weights, standard_of

    def z(scores: Floats, good: Floats) -> Floats:
        standard = standard_of(good)
        return (scores - standard.centre) / standard.spread

    earned = earn_weights(Judgement(scored.good, scored.good, scored.defects))
    changed = z(scored.moved, scored.good) - z(np.repeat(scored.good, 2, axis=0), scored.good)
    steady = 1 / (1 + changed.std(axis=0))
    learnt = _logistic(z(scored.good, scored.good), z(scored.defects, scored.good))
    return {
        "sum": lambda s, g: z(s, g).sum(axis=1),
        "sum above the median": lambda s, g: np.maximum(z(s, g), 0).sum(axis=1),
        "max": lambda s, g: z(s, g).max(axis=1),
        "steadiness": lambda s, g: z(s, g) @ steady,
        "logistic": lambda s, g: z(s, g) @ learnt,
        "informedness": lambda s, g: z(s, g) @ np.sqrt(earned),
        "earned": lambda s, g: z(s, g) @ earned,
    }


def _logistic(good: Floats, defects: Floats) -> Floats:
    """Weights, not below 0, of a logistic regression with both classes of equal weight."""
    from scipy.optimize import minimize

    rows = np.concatenate([good, defects])
    sign = np.repeat([-1.0, 1.0], [len(good), len(defects)])
    share = np.repeat([0.5 / len(good), 0.5 / len(defects)], [len(good), len(defects)])

    def loss(values: Floats) -> float:
        margin = rows @ values[:-1] + values[-1]
        return float(share @ np.logaddexp(0, -sign * margin))

    start = np.append(np.full(rows.shape[1], 0.3), -1.0)
    limits = [(0, None)] * rows.shape[1] + [(None, None)]
    found: Floats = minimize(loss, start, bounds=limits, method="L-BFGS-B").x[:-1]
    return found


def measure(folder: Path, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """All figures of one set."""
    import torch

    from anomalib_lite.backbones import create_backbone
    from anomalib_lite.detector.image_stream import ImageStream
    from anomalib_lite.detector.out_of_fold import FOLDS, assign_folds
    from anomalib_lite.edge.prepare import InputSpec
    from anomalib_lite.edge.sources import open_source
    from anomalib_lite.metrics import auroc
    from anomalib_lite.scorers import FitContext, create_scorer
    from anomalib_lite.scorers.fusion.earned_weights import earn_weights, split_images

    spec, context = InputSpec(height=256, width=256), FitContext(seed=0)
    backbone = create_backbone("resnet18", input_hw=spec.size_hw)
    paths = sorted((folder / "train" / "good").iterdir())
    stream = ImageStream(open_source(paths), backbone, spec)
    train = Held(stream, list(stream))
    scorer = create_scorer(name, **settings)
    scorer.build(train.layout)
    folds = assign_folds(len(train), FOLDS, context.seed)
    with torch.no_grad():
        start = time.perf_counter()
        judgement = scorer.judged(train, np.arange(len(train)), context)
        judged_s = time.perf_counter() - start
        moved = _harmless(scorer, train, split_images(np.arange(len(train)), context.seed)[1])
        start = time.perf_counter()
        found = [part.cross_fit(train, folds, context) for part in scorer.scorers]
        fitted_s = time.perf_counter() - start
        unseen = np.stack([item.image[np.argsort(item.indices)] for item in found], axis=1)
        test, labels = _test_scores(scorer, folder, backbone, spec)
    scored = Scored(judgement.good, judgement.defects, moved, unseen.astype(np.float64))
    figures: dict[str, Any] = {"judged_s": judged_s, "fitted_s": fitted_s}
    figures["weights"] = earn_weights(judgement).tolist()
    figures["test"] = {
        part.name: auroc(test[:, place], labels) for place, part in enumerate(scorer.scorers)
    }
    figures["simulated"] = {
        part.name: _simulated(scored, lambda s, _, place=place: s[:, place])
        for place, part in enumerate(scorer.scorers)
    }
    for rule, combine in rules(scored).items():
        figures["test"][rule] = auroc(combine(test, scored.unseen), labels)
        figures["simulated"][rule] = _simulated(scored, combine)
    return figures


def _simulated(scored: Scored, combine: Callable[[Floats, Floats], Floats]) -> float:
    from anomalib_lite.metrics import auroc

    both = np.concatenate([scored.good, scored.defects])
    labels = np.repeat([0, 1], [len(scored.good), len(scored.defects)])
    return auroc(combine(both, scored.good), labels)


def _harmless(scorer: Any, train: Held, images: NDArray[np.int64]) -> Floats:
    """Scores of each image moved, and in another light, `(2 n, P)`."""
    import torch

    from anomalib_lite.data.simulate import HARMLESS_KINDS, harmless_change

    backbone, rows = train.backbone, []
    for batch in train.subset(images):
        for frame, index in zip(batch.frames.numpy(), batch.indices.tolist(), strict=True):
            rng = np.random.default_rng([0, index])
            pair = np.stack([harmless_change(frame, kind, rng) for kind in HARMLESS_KINDS])
            changed = backbone(backbone.normalise(torch.from_numpy(pair)))
            rows.append(_part_scores(scorer, changed))
    return np.concatenate(rows)


def _part_scores(scorer: Any, features: Any) -> Floats:
    return np.stack([part(features).image.double().numpy() for part in scorer.scorers], axis=1)


def _test_scores(
    scorer: Any, folder: Path, backbone: Any, spec: Any
) -> tuple[Floats, NDArray[np.int64]]:
    from anomalib_lite.detector.image_stream import ImageStream
    from anomalib_lite.edge.sources import open_source

    paths = sorted(path for path in (folder / "test").rglob("*") if path.is_file())
    stream = ImageStream(open_source(paths), backbone, spec)
    scores = np.concatenate([_part_scores(scorer, features) for features, _ in stream])
    return scores, np.array([path.parent.name != "good" for path in paths], np.int64)


def accuracy(options: argparse.Namespace) -> None:
    """One line a set and rule; figures of sets that are in --cache already are taken from it."""
    settings: dict[str, Any] = {"patchcore.rows": options.rows}
    if options.coreset_ratio:
        settings = {"patchcore.coreset_ratio": options.coreset_ratio}
    bank = options.coreset_ratio or options.rows
    rows: dict[str, dict[str, Any]] = {}
    for name in options.sets:
        kept = options.cache / f"{options.fusion}_{bank}_{name.replace('/', '_')}.json"
        if not kept.exists():
            figures = measure(options.data / name, options.fusion, settings)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(figures))
        rows[name] = json.loads(kept.read_text())
        print(f"# {name}: {rows[name]}", file=sys.stderr, flush=True)
    short = [name.rsplit("/", 1)[-1] for name in rows]
    print(f"| {options.fusion} |", " | ".join(short), "| mean | simulated, mean |")
    print("| --- |", " --- |" * (len(short) + 2))
    for rule in next(iter(rows.values()))["test"]:
        test = [figures["test"][rule] for figures in rows.values()]
        simulated = np.mean([figures["simulated"][rule] for figures in rows.values()])
        cells = " | ".join(f"{value:.4f}" for value in test)
        print(f"| {rule} | {cells} | {np.mean(test):.4f} | {simulated:.4f} |")
    weights = (
        " / ".join(f"{weight:.2f}" for weight in figures["weights"]) for figures in rows.values()
    )
    print("| earned weights |", " | ".join(weights), "| | |")
    cost = (f"{figures['judged_s'] / figures['fitted_s']:.2f}" for figures in rows.values())
    print("| judging / fitting, time |", " | ".join(cost), "| | |")


def harm(options: argparse.Namespace) -> None:
    """Each part, the sum of before and the smallest weighted p-value, on every set and seed."""
    from part_scores import scored

    print("| set, seed | score | image AUROC | over the better part | misses / rejects at 1 % |")
    print("| --- | --- | --- | --- | --- |")
    names = options.fusion.split("+")
    for seed in options.seeds:
        for name in options.sets:
            found = scored(options.data / name, options.backbone, seed, options.cache, options.rows)
            _harm_rows(f"{name.rsplit('/', 1)[-1]}, {seed}", names, found)


def _harm_rows(title: str, names: list[str], found: Any) -> None:
    import torch

    from anomalib_lite.edge.calibration import operating_point
    from anomalib_lite.metrics import auroc
    from anomalib_lite.scorers.fusion.earned_weights import Judgement, earn_weights, standard_of
    from anomalib_lite.scorers.fusion.p_values import SmallestP

    good, test = found.of(names, "held_out"), found.of(names, "test")
    judged = found.of(names, "good")
    weight = earn_weights(Judgement(judged, judged, found.of(names, "defects")))
    smallest = SmallestP()
    smallest.learn(weight, good, torch.device("cpu"))

    def joined(scores: Floats) -> Floats:
        return smallest([torch.from_numpy(column).float() for column in scores.T]).double().numpy()

    spread = standard_of(good).spread
    ways = {name: (good[:, place], test[:, place]) for place, name in enumerate(names)}
    ways["weighted sum"] = (good @ (weight / spread), test @ (weight / spread))
    ways["smallest weighted p"] = (joined(good), joined(test))
    best = max(auroc(ways[name][1], found.labels) for name in names)
    for way, (held, scores) in ways.items():
        threshold, bad = operating_point(held, 0.01).threshold, found.labels == 1
        figure = auroc(scores, found.labels)
        missed, rejected = np.mean(scores[bad] <= threshold), np.mean(scores[~bad] > threshold)
        print(
            f"| {title} | {way} | {figure:.4f} | {figure - best:+.4f} | "
            f"{missed:.3f} / {rejected:.3f} |",
            flush=True,
        )


def latency(options: argparse.Namespace) -> None:
    """Median latency of the exported fusion, its parts, and the ratio to the slowest."""
    from anomalib_lite import Detector
    from anomalib_lite.edge.engines import OnnxRuntimeEngine

    paths = sorted((options.data / "mvtec_ad/bottle/train/good").iterdir())[:60]
    names = [*options.fusion.split("+"), options.fusion]
    engines = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            key = "patchcore.rows" if "+" in name else "rows"
            settings = {key: options.rows} if "patchcore" in name else {}
            detector = Detector(name, backbone="resnet18", **settings).fit(paths)
            detector.export(Path(folder) / f"{name}.onnx")
            engines[name] = OnnxRuntimeEngine(Path(folder) / f"{name}.onnx", threads=1)
        frame = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), np.uint8)
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(options.repeats):
            for name, engine in engines.items():
                start = time.perf_counter()
                engine.run(frame)
                times[name].append(time.perf_counter() - start)
    medians = {name: 1e3 * float(np.median(values)) for name, values in times.items()}
    slowest = max(names[:-1], key=lambda name: medians[name])
    ratio = float(np.median(np.array(times[options.fusion]) / np.array(times[slowest])))
    for name, value in medians.items():
        print(f"| {name} | {value:.1f} ms |")
    print(f"| {options.fusion} / {slowest}, median of the ratios | {ratio:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--weights", type=Path, default=SHARED / "weights")
    parser.add_argument("--only", choices=("accuracy", "harm", "latency"))
    parser.add_argument("--fusion", default="patchcore+mvg")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--rows", type=int, default=4000, help="patchcore's budget")
    parser.add_argument("--coreset-ratio", type=float, help="in its place: a share, in accuracy")
    parser.add_argument("--backbone", choices=("resnet18", "pdn_edge"), default="resnet18")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of harm")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "anomalib-lite-fusion"
    )
    options = parser.parse_args()
    if not options.data.is_dir() or not options.weights.is_dir():
        sys.exit(f"needs {options.data} and {options.weights}")
    os.environ["ANOMALIB_LITE_WEIGHTS"] = str(options.weights)
    import torch

    torch.set_num_threads(options.threads)
    for name, part in {"accuracy": accuracy, "harm": harm, "latency": latency}.items():
        if options.only in (None, name):
            part(options)


if __name__ == "__main__":
    main()
