"""Measure PatchCore and its kNN baseline: accuracy, fit time, memory, latency.

    python benchmarks/patchcore.py
    python benchmarks/patchcore.py --only fit --anomalib-python /path/to/other/env/bin/python

`accuracy` fits each method on the good images of five sets (resnet18, 256 x 256, one pass over the
images for all methods) and measures maps and masks at 256 x 256. `fit` times a fit in a fresh
process, calibration included, on the first 60 images of bottle and on all; with `--anomalib-python`
also anomalib's PatchCore on the same 60, in its own environment. `latency` compares the exported
files, the whole bank and a window of 2 cells, with the bare network. Needs the images and weights
of ../shared (or --data and --weights). Nothing is tuned on these test images.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from patchcore_children import ANOMALIB, FIT, child, show
from real_sets import SETS, SHARED, ground_truth

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "patchcore": ("patchcore", {"coreset_ratio": 0.1}),
    "patchcore window=auto": ("patchcore", {"coreset_ratio": 0.1, "window": "auto"}),
    "patchcore plain": ("patchcore", {"coreset_ratio": 0.1, "embedding": "plain"}),
    "patchcore rows=2000": ("patchcore", {"rows": 2000}),
    "patchcore rows=2000 window=auto": ("patchcore", {"rows": 2000, "window": "auto"}),
    "knn patches": ("knn", {"mode": "patches"}),
    "knn pooled": ("knn", {}),
}
COMPARED_IMAGES = 60
EXPORTED: dict[str, dict[str, Any]] = {
    "2,000 patches": {"rows": 2000},
    "2,000 patches, window 2": {"rows": 2000, "window": 2},
    "10 %": {"coreset_ratio": 0.1},
    "10 %, window 2": {"coreset_ratio": 0.1, "window": 2},
}


class Held:
    """A stream read once and held in memory, for several fits."""

    def __init__(self, stream: Any) -> None:
        self.layout = stream.layout
        self.batches = list(stream)

    def __len__(self) -> int:
        return sum(len(batch.indices) for batch in self.batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def subset(self, indices: Any) -> Held:
        """Some images; batches keep only their rows."""
        wanted, part = set(np.asarray(indices).tolist()), copy.copy(self)
        part.batches = []
        for batch in self.batches:
            rows = [row for row, index in enumerate(batch.indices.tolist()) if index in wanted]
            if rows:
                maps = {name: values[rows] for name, values in batch.features.maps.items()}
                features = type(batch.features)(batch.features.pixels[rows], maps)
                part.batches.append(type(batch)(features, batch.indices[rows]))
        return part


def accuracy(options: argparse.Namespace) -> None:
    """Image AUROC, pixel AUROC and AUPRO of every method on every set."""
    import torch

    from anomalib_lite.backbones import create_backbone
    from anomalib_lite.detector.image_stream import ImageStream
    from anomalib_lite.edge.prepare import InputSpec
    from anomalib_lite.edge.sources import open_source
    from anomalib_lite.scorers import FitContext, create_scorer

    spec = InputSpec(height=256, width=256)
    backbone = create_backbone("resnet18", input_hw=spec.size_hw)
    for name in options.sets:
        folder = options.data / name
        good = Held(ImageStream(open_source(str(folder / "train/good")), backbone, spec))
        paths = sorted(path for path in (folder / "test").glob("*/*") if path.is_file())
        fitted, seconds = {}, {}
        with torch.no_grad():
            for method in options.methods:
                kind, settings = METHODS[method]
                scorer = create_scorer(kind, **settings)
                scorer.build(good.layout)
                start = time.perf_counter()
                scorer.fit(good, FitContext())  # type: ignore[arg-type]
                seconds[method] = time.perf_counter() - start
                if getattr(scorer, "fitted_window", None) is not None:
                    print(f"{name}, {method}: window of {scorer.fitted_window} cells", flush=True)
                fitted[method] = scorer
            images = len(good)
            good.batches.clear()
            scores: dict[str, list[Any]] = {method: [] for method in options.methods}
            maps: dict[str, list[Any]] = {method: [] for method in options.methods}
            for batch in ImageStream(open_source([str(path) for path in paths]), backbone, spec):
                for method, scorer in fitted.items():
                    found = scorer(batch.features)
                    scores[method].append(found.image.numpy())
                    if scorer.localises:
                        maps[method].append(found.map.numpy())
        labels = np.array([path.parent.name != "good" for path in paths])
        masks = [ground_truth(folder, path) for path in paths]
        for method in options.methods:
            figures = _figures(labels, scores[method], maps[method], masks)
            print(
                f"| {Path(name).name} | {method} | {figures} | {images} | {seconds[method]:.1f} |",
                flush=True,
            )


def _figures(labels: Any, scores: list[Any], maps: list[Any], masks: list[Any]) -> str:
    from sklearn.metrics import roc_auc_score

    from anomalib_lite.metrics import aupro, pixel_metrics

    image = float(roc_auc_score(labels, np.concatenate(scores)))
    if not maps:
        return f"{image:.4f} | – | –"
    joined, truth = np.concatenate(maps), np.stack(masks)
    return f"{image:.4f} | {pixel_metrics(joined, truth).auroc:.4f} | {aupro(joined, truth):.4f}"


def fit(options: argparse.Namespace) -> None:
    """Fit time and peak memory, each in a fresh process."""
    good = options.data / "mvtec_ad/bottle/train/good"
    tenth = {"coreset_ratio": 0.1}
    cases = [("60 images", COMPARED_IMAGES, tenth), ("all images", 10**6, tenth)]
    ours = None
    for label, count, settings in cases:
        result = child(sys.executable, FIT, str(good), str(count), json.dumps(settings))
        show(f"anomalib_lite patchcore, {label}", result)
        ours = ours or result
    if options.anomalib_python and ours:
        theirs = child(options.anomalib_python, ANOMALIB, str(good), str(COMPARED_IMAGES))
        show("anomalib patchcore, 60 images", theirs)
        for key in ("fit_s", "cpu_s", "peak_mb"):
            print(f"anomalib / anomalib_lite, {key}: {theirs[key] / ours[key]:.2f} x", flush=True)


def latency(options: argparse.Namespace) -> None:
    """Exported files against the bare network, interleaved, batch 1."""
    import onnxruntime
    import torch

    from anomalib_lite import Detector

    class Bare(torch.nn.Module):
        def __init__(self, backbone: Any) -> None:
            super().__init__()
            self.backbone = backbone

        def forward(self, frames: Any) -> Any:
            return tuple(self.backbone.extract(self.backbone.normalise(frames)).values())

    paths = sorted((options.data / "mvtec_ad/bottle/train/good").iterdir())[:COMPARED_IMAGES]
    with tempfile.TemporaryDirectory() as folder:
        files = {"bare": Path(folder) / "bare.onnx"}
        for name, settings in EXPORTED.items():
            detector = Detector("patchcore", backbone="resnet18", **settings).fit(paths)
            files[name] = Path(folder) / f"{len(files)}.onnx"
            detector.export(files[name])
        blank = torch.zeros(1, 256, 256, 3, dtype=torch.uint8)
        torch.onnx.export(
            Bare(detector.backbone).eval(),
            (blank,),
            str(files["bare"]),
            dynamo=False,
            opset_version=17,
            input_names=["frames"],
        )
        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = 2
        engines = {
            name: onnxruntime.InferenceSession(
                str(path), session, providers=["CPUExecutionProvider"]
            )
            for name, path in files.items()
        }
        frame = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
        took: dict[str, list[float]] = {name: [] for name in engines}
        for turn in range(220):
            for name, engine in engines.items():
                start = time.perf_counter()
                engine.run(None, {"frames": frame})
                if turn >= 20:
                    took[name].append(1e3 * (time.perf_counter() - start))
        sizes = {name: path.stat().st_size / 1e6 for name, path in files.items()}
    for name, values in took.items():
        ratio = np.median(np.array(values) / np.array(took["bare"]))
        print(
            f"| {name} | {sizes[name]:.1f} MB | {np.median(values):.1f} ms | {ratio:.2f} |",
            flush=True,
        )


PARTS = {"accuracy": accuracy, "fit": fit, "latency": latency}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--weights", type=Path, default=SHARED / "weights")
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="folders below --data")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--only", choices=list(PARTS), help="one part")
    parser.add_argument(
        "--anomalib-python", help="interpreter of an environment with anomalib, to compare with"
    )
    options = parser.parse_args()
    if not options.data.is_dir() or not options.weights.is_dir():
        sys.exit(f"needs {options.data} and {options.weights}; name others with --data, --weights")
    os.environ["ANOMALIB_LITE_WEIGHTS"] = str(options.weights)
    for name, measure in PARTS.items():
        if options.only in (None, name):
            print(f"== {name}", flush=True)
            measure(options)


if __name__ == "__main__":
    main()
