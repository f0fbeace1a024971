"""Compact PaDiM against the exact one: accuracy, file sizes, latency, wide networks.

    python benchmarks/compact.py                      # five sets, resnet18, 256 x 256, seed 0
    python benchmarks/compact.py --only accuracy --seeds 0 1 2
    python benchmarks/compact.py --only wide

`accuracy` fits `padim` and `padim --set compact=1` on the good images of a set, backbone rounded
as the compact form demands it, and prints the image AUROC of both with the sizes of both files.
`latency` runs the exported files one after the other in one process, frame by frame, on one thread.
`wide` fits WideResNet-50-2 (random weights: sizes and memory do not depend on them) with the
paper's 550 channels. Nothing is chosen by these test images.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from real_sets import SETS, SHARED

from anomalib_lite import Detector
from anomalib_lite.metrics import auroc

FORMS = (None, 1)
TIMED = 100


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--weights", type=Path, default=SHARED / "weights")
    parser.add_argument("--only", nargs="+", default=["accuracy", "latency", "wide"])
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    if not options.data.is_dir() or not options.weights.is_dir():
        sys.exit(f"needs {options.data} and {options.weights}")
    os.environ["ANOMALIB_LITE_WEIGHTS"] = str(options.weights)
    if "accuracy" in options.only:
        print("| set | seed | exact AUROC | compact AUROC | exact files MB | compact files MB |")
        print("|---|---|---|---|---|---|")
        for name in options.sets:
            for seed in options.seeds:
                accuracy(options.data / name, seed)
    if "latency" in options.only:
        latency(options.data / SETS[0])
    if "wide" in options.only:
        wide(options.data / SETS[0])


def accuracy(folder: Path, seed: int) -> None:
    """Image AUROC and file sizes (detector / edge file) of both forms on one set."""
    paths = sorted(path for path in (folder / "test").glob("*/*") if path.is_file())
    labels = np.array([path.parent.name != "good" for path in paths])
    figures, sizes = [], []
    for compact in FORMS:
        detector = Detector("padim", backbone="resnet18", seed=seed, compact=compact)
        detector.fit(folder / "train/good")
        scores = []
        for start in range(0, len(paths), 16):
            found = detector.predict_batch(paths[start : start + 16])
            scores += [verdict.score for verdict in found]
        figures.append(f"{auroc(np.array(scores), labels):.4f}")
        sizes.append(" / ".join(f"{size / 1e6:.1f}" for size in written(detector)))
    print("|", " | ".join([folder.name, str(seed), *figures, *sizes]), "|", flush=True)


def written(detector: Detector) -> tuple[int, int]:
    """Bytes of the detector file and of the edge file."""
    with tempfile.TemporaryDirectory() as name:
        saved = detector.save(Path(name, "part.safetensors"))
        exported = detector.export(Path(name, "part.onnx"))
        return saved.stat().st_size, exported.size_bytes


def latency(folder: Path) -> None:
    """Milliseconds per frame of bare backbone (as `mvg` exports it), exact and compact form."""
    import onnxruntime

    frames = np.random.default_rng(0).integers(0, 255, (1, 256, 256, 3), np.uint8)
    images = sorted((folder / "train/good").iterdir())[:24]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {}
    with tempfile.TemporaryDirectory() as name:
        for form, kind in (("mvg", {}), ("exact", {}), ("compact", {"compact": 1})):
            scorer = "mvg" if form == "mvg" else "padim"
            path = Path(name, f"{form}.onnx")
            Detector(scorer, backbone="resnet18", **kind).fit(images).export(path)
            sessions[form] = onnxruntime.InferenceSession(path, options)
        times: dict[str, list[float]] = {form: [] for form in sessions}
        for _ in range(TIMED):
            for form, session in sessions.items():
                start = time.perf_counter()
                session.run(None, {"frames": frames})
                times[form].append(1e3 * (time.perf_counter() - start))
    print({form: round(float(np.median(taken)), 2) for form, taken in times.items()}, "ms")


def wide(folder: Path) -> None:
    """Files and peak memory of a WideResNet-50-2 with 550 of 1792 channels, compact=8."""
    images = sorted((folder / "train/good").iterdir())[:8]
    settings = {"num_features": 550, "compact": 8}
    detector = Detector("padim", backbone="wide_resnet50_2", weights="random", **settings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    detector.fit(images)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scorer = sum(value.nbytes for value in detector.scorer.state_dict().values())
    moments = sum(value.nbytes for value in detector.scorer.moments.state_dict().values())
    saved, exported = written(detector)
    exact = Detector("padim", backbone="wide_resnet50_2", weights="random", num_features=550)
    print(
        f"wide_resnet50_2: statistics estimated {detector.memory_bytes() / 1e6:.0f} MB (exact form "
        f"{exact.memory_bytes() / 1e9:.1f} GB), peak grew by {(after - before) / 1024:.0f} MB; "
        f"scorer in the detector file {scorer / 1e6:.1f} MB "
        f"(to score {(scorer - moments) / 1e6:.1f} MB); "
        f"files {saved / 1e6:.0f} / {exported / 1e6:.0f} MB, backbone included"
    )


if __name__ == "__main__":
    main()
