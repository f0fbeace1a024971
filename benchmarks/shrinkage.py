"""PaDiM with covariances drawn towards a shared one: few photographs, file size, time.

    python benchmarks/shrinkage.py                   # five sets, pdn_edge, 256 x 256, seed 0
    python benchmarks/shrinkage.py --only cost

`accuracy` reads the features of a set once, then fits `padim` on 20, 54 and all good images with
every `--shrinkage` and prints image AUROC, misses and false rejects at the promised 1 % and 5 %
(percent), with both image scores, as `anomalib-lite evaluate --limit-train N --set shrinkage=...`
does. `cost` compares file sizes and the exported graphs, frame by frame in turns on one thread,
with the bare network. `likelihood` prints what `auto` compares: held-out log-likelihood in nats per
channel by shrinkage, folds dealt out in turn. Needs the images of ../shared (or
--data). Nothing is chosen by these labels.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from real_sets import SETS, SHARED

from anomalib_lite import Detector
from anomalib_lite.backbones import Features
from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.detector.out_of_fold import calibrate
from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.sources import open_source
from anomalib_lite.metrics import auroc
from anomalib_lite.scorers import FitContext, FrameBatch, create_scorer
from anomalib_lite.scorers.gaussian.folded_nodes import OWN_FOLDS
from anomalib_lite.scorers.gaussian.shrinkage import ShrinkageSearch

BATCH = 8
TIMED = 200
RATES = (0.01, 0.05)


class Held:
    """Features of images, read once, as a stream of some of them."""

    def __init__(self, stream: ImageStream) -> None:
        self.layout = stream.layout
        parts: dict[str, list[torch.Tensor]] = {layer.name: [] for layer in stream.layout.layers}
        for batch in stream:
            for name, rows in parts.items():
                rows.append(batch.features.maps[name])
        self.maps = {name: torch.cat(rows) for name, rows in parts.items()}
        self.chosen = np.arange(len(next(iter(self.maps.values()))))

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[FrameBatch]:
        for start in range(0, len(self.chosen), BATCH):
            rows = self.chosen[start : start + BATCH]
            maps = {name: values[rows] for name, values in self.maps.items()}
            pixels = torch.zeros(len(rows), 3, 1, 1)
            features = Features(pixels, maps)
            yield FrameBatch(pixels, rows, lambda _, found=features: found)

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> Held:
        """Some of the images."""
        part = object.__new__(Held)
        part.layout, part.maps = self.layout, self.maps
        part.chosen = np.sort(np.asarray(indices, np.int64))
        return part

    def renumbered(self, indices: NDArray[np.int64]) -> Held:
        """Some of the images as a data set of their own."""
        part = object.__new__(Held)
        part.layout = self.layout
        part.maps = {name: values[indices] for name, values in self.maps.items()}
        part.chosen = np.arange(len(indices))
        return part


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--weights", type=Path, default=SHARED / "weights")
    parser.add_argument("--backbone", default="pdn_edge")
    parser.add_argument("--only", nargs="+", default=["accuracy", "likelihood", "cost"])
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--images", nargs="+", type=int, default=[20, 54, 100000])
    parser.add_argument("--shrinkage", nargs="+", default=["0", "auto", "1"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"needs {options.data}")
    os.environ["ANOMALIB_LITE_WEIGHTS"] = str(options.weights)
    with torch.no_grad():
        if "accuracy" in options.only:
            print("| set | images | shrinkage | score | AUROC", end="")
            for rate in RATES:
                print(f" | misses at {rate:.0%} | false rejects at {rate:.0%}", end="")
            print(" | s |\n|---" + "|---" * 9 + "|")
            for name in options.sets:
                accuracy(options.data / name, options)
        if "likelihood" in options.only:
            for name in options.sets:
                for count in options.images:
                    likelihood(options.data / name, count, options)
    if "cost" in options.only:
        cost(options.data / SETS[0], options.backbone)


def accuracy(folder: Path, options: argparse.Namespace) -> None:
    """All figures of one set."""
    detector = Detector("padim", backbone=options.backbone)
    paths = sorted(path for path in (folder / "test").glob("*/*") if path.is_file())
    labels = np.array([path.parent.name != "good" for path in paths])

    def held(images: list[Path]) -> Held:
        source = open_source([str(path) for path in images])
        return Held(ImageStream(source, detector.backbone, detector.spec))

    good, test = held(sorted((folder / "train/good").iterdir())), held(paths)
    counts = sorted({min(count, len(good)) for count in options.images})
    for count in counts:
        drawn = np.random.default_rng(options.seed).permutation(len(good))[:count]
        some = good.renumbered(np.sort(drawn))
        for amount in options.shrinkage:
            value = amount if amount == "auto" else float(amount)
            started = time.perf_counter()
            scorer = create_scorer("padim", shrinkage=value, image_score="top")
            scorer.build(good.layout)
            context = FitContext(seed=options.seed)
            calibration, out_of_fold = calibrate(
                scorer, some, context, method="auto", max_false_reject=RATES[0]
            )
            seconds = time.perf_counter() - started
            peaks = out_of_fold.map_peak
            by_peak = Calibration.from_scores(
                peaks, peaks, max_false_reject=RATES[0], method=calibration.method
            )
            found = [scorer(batch.features) for batch in test]
            top = np.concatenate([scores.image.numpy() for scores in found])
            peak = np.concatenate([scores.map.amax(dim=(1, 2)).numpy() for scores in found])
            shown = amount if amount != "auto" else f"auto ({float(scorer.shrinkage_):g})"
            for kind, scores, known in (("max", peak, by_peak), ("top", top, calibration)):
                cells = [folder.name, str(count), shown, kind, f"{auroc(scores, labels):.3f}"]
                for rate in RATES:
                    threshold = known.with_rate(rate).operating.threshold
                    cells.append(f"{100 * (scores[labels] <= threshold).mean():.0f}")
                    cells.append(f"{100 * (scores[~labels] > threshold).mean():.1f}")
                print("|", " | ".join([*cells, f"{seconds:.0f}"]), "|", flush=True)


def likelihood(folder: Path, count: int, options: argparse.Namespace) -> None:
    """What `auto` compares, on some good images of one set."""
    detector = Detector("padim", backbone=options.backbone)
    paths = sorted((folder / "train/good").iterdir())
    drawn = np.sort(np.random.default_rng(options.seed).permutation(len(paths))[:count])
    source = open_source([str(paths[index]) for index in drawn])
    good = Held(ImageStream(source, detector.backbone, detector.spec))
    scorer = create_scorer("padim")
    scorer.build(good.layout)
    active = good.layout.cell_share(max(layer.grid_hw for layer in good.layout.layers)) > 0
    search = ShrinkageSearch(scorer.grids, active, scorer.regularisation)
    folds = np.arange(len(good)) % OWN_FOLDS
    for fold in range(OWN_FOLDS):
        scorer.fit(good.subset(np.flatnonzero(folds != fold)), FitContext(seed=options.seed))
        search.begin_fold(scorer.moments)
        for batch in good.subset(np.flatnonzero(folds == fold)):
            search.add(scorer._nodes(batch.features), None)
    channels = len(scorer.channels_)
    shown = {amount: round(value / channels, 4) for amount, value in search.means.items()}
    print(folder.name, len(good), "images, nats per channel:", shown, flush=True)


def cost(folder: Path, backbone: str) -> None:
    """Sizes of both files and milliseconds per frame, with the bare network beside."""
    import onnxruntime

    frames = np.random.default_rng(0).integers(0, 255, (1, 256, 256, 3), np.uint8)
    images = sorted((folder / "train/good").iterdir())[:24]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    forms: dict[str, dict[str, Any]] = {
        "padim": {},
        "compact=1": {"compact": 1},
        "shrinkage=0.5": {"shrinkage": 0.5},
        "shrinkage=1": {"shrinkage": 1},
    }
    sessions, sizes = {}, {}
    with tempfile.TemporaryDirectory() as name:
        bare = Path(name, "bare.onnx")
        for form, settings in forms.items():
            detector = Detector("padim", backbone=backbone, **settings).fit(images)
            saved = detector.save(Path(name, "part.safetensors")).stat().st_size
            path = Path(name, f"{form}.onnx")
            exported = detector.export(path).size_bytes
            state = detector.scorer.state_dict()
            learnt = sum(v.nbytes for key, v in state.items() if not key.startswith("moments."))
            sizes[form] = (saved, exported, learnt)
            sessions[form] = onnxruntime.InferenceSession(path, options)
        _export_bare(detector, bare)
        sessions["bare network"] = onnxruntime.InferenceSession(bare, options)
        times: dict[str, list[float]] = {form: [] for form in sessions}
        for _ in range(TIMED):
            for form, session in sessions.items():
                start = time.perf_counter()
                session.run(None, {"frames": frames})
                times[form].append(1e3 * (time.perf_counter() - start))
    print(
        "\n| form | detector file MB | edge file MB | scorer's numbers MB | ms | of the network |"
    )
    print("|---|---|---|---|---|---|")
    network = float(np.median(times["bare network"]))
    for form, taken in times.items():
        shown = [f"{size / 1e6:.2f}" for size in sizes.get(form, ())] or ["", "", ""]
        middle = float(np.median(taken))
        print("|", " | ".join([form, *shown, f"{middle:.2f}", f"{middle / network:.2f}"]), "|")


def _export_bare(detector: Detector, path: Path) -> None:
    """The network alone, its maps as outputs."""

    class Bare(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = detector.backbone

        def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
            pixels = self.backbone.normalise(frames)
            return tuple(self.backbone.extract(pixels).values())

    torch.onnx.export(
        Bare().eval(),
        (torch.zeros(1, 256, 256, 3, dtype=torch.uint8),),
        str(path),
        dynamo=False,
        opset_version=17,
        input_names=["frames"],
    )


if __name__ == "__main__":
    main()
