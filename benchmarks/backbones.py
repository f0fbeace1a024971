"""Compare backbones: image AUROC under each detector, and time of the bare network.

    python benchmarks/backbones.py
    python benchmarks/backbones.py --only time
    python benchmarks/backbones.py --only light
    python benchmarks/backbones.py --only copy
    python benchmarks/backbones.py --edge other_weights.safetensors --out build/other

Runs `anomalib-lite evaluate` (one seed, image figures) on the sets beside the project with mvg,
padim and patchcore (4,000 rows) on `resnet18`, `pdn_edge` and `filters`, prints the table of
docs/backbones.md, and times the exported networks in one run, in turns. `light` fits on a quarter
of screw's good training images and dims others of them: how far scores move. `copy` measures on
good training images which share of the variance of resnet18's layers pdn_edge misses. Nothing is
tuned on
these test images; the distillation never saw an industrial picture.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from real_sets import SETS, SHARED
from results import ROOT, find_sets

from anomalib_lite.edge.sources import open_source

BACKBONES = ("resnet18", "pdn_edge", "filters")
DETECTORS = ("mvg", "padim", "patchcore")
ROWS = 4000
GAINS = (0.95, 0.9, 0.85)
COPIED = 24


def weights_folder(options: argparse.Namespace) -> Path:
    """A folder with resnet18's weights and, where given, other weights of pdn_edge."""
    folder = ROOT / options.out / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    links = {"resnet18": ROOT / options.weights / "resnet18.safetensors"}
    if options.edge:
        links["pdn_edge"] = Path(options.edge).resolve()
    for name, target in links.items():
        link = folder / f"{name}.safetensors"
        link.unlink(missing_ok=True)
        if target.exists():
            link.symlink_to(target)
    return folder


def measure_accuracy(options: argparse.Namespace, folder: Path) -> None:
    """Evaluate, then print a row per detector and backbone, a column per set."""
    sets, absent = find_sets(options.data)
    backbones = [name for name in options.backbones if name != "resnet18" or any(folder.iterdir())]
    words = ["evaluate", *(word for name in sets for word in ("--data", name))]
    words += [word for name in options.detectors for word in ("--detector", name)]
    words += [word for name in backbones for word in ("--backbone", name)]
    words += ["--set", f"patchcore.rows={ROWS}"] if "patchcore" in options.detectors else []
    words += ["--seeds", "1", "--no-pixel", "--resume", "--out", f"{options.out}/runs"]
    program = [sys.executable, "-c", "from anomalib_lite.cli.main import run; run()"]
    environment = {**os.environ, "ANOMALIB_LITE_WEIGHTS": str(folder)}
    done = subprocess.run([*program, *words], cwd=ROOT, env=environment, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    summary = json.loads((ROOT / options.out / "runs" / "metrics.json").read_text("utf-8"))
    found = {
        (run["detector"], run["backbone"], run["category"]): run["metrics"]["image_auroc"]
        for run in summary["runs"]
    }
    categories = list(dict.fromkeys(run["category"] for run in summary["runs"]))
    print("| detector | backbone | " + " | ".join(categories) + " | mean |")
    print("| --- " * (len(categories) + 3) + "|")
    for detector in options.detectors:
        for backbone in backbones:
            values = [found[detector, backbone, category] for category in categories]
            cells = " | ".join(f"{value:.4f}" for value in [*values, statistics.mean(values)])
            print(f"| {detector} | {backbone} | {cells} |")
    for line in absent:
        print(f"left out: {line}")


def measure_time(options: argparse.Namespace, folder: Path) -> None:
    """Median time of the bare networks at 256x256, batch 1, two threads, taken in turns."""
    os.environ["ANOMALIB_LITE_WEIGHTS"] = str(folder)
    sessions = {name: _session(name) for name in BACKBONES}
    pixels = np.random.default_rng(0).standard_normal((1, 3, 256, 256)).astype(np.float32)
    took: dict[str, list[float]] = {name: [] for name in sessions}
    for turn in range(options.turns + 10):
        for name, session in sessions.items():
            started = time.perf_counter()
            session.run(None, {"pixels": pixels})
            if turn >= 10:
                took[name].append(1e3 * (time.perf_counter() - started))
    base = statistics.median(took["resnet18"])
    print("| network | median, ms | fastest, ms | share of resnet18 |")
    print("| --- | --- | --- | --- |")
    for name, times in took.items():
        median = statistics.median(times)
        print(f"| {name} | {median:.2f} | {min(times):.2f} | {median / base:.3f} |")


def _session(name: str):
    import io

    import onnxruntime
    import torch

    from anomalib_lite.backbones import create_backbone

    backbone = create_backbone(name)

    class Maps(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone

        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(self.backbone.extract(pixels).values())

    buffer = io.BytesIO()
    torch.onnx.export(
        Maps().eval(),
        (torch.zeros(1, 3, 256, 256),),
        buffer,
        input_names=["pixels"],
        opset_version=17,
        dynamo=False,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(buffer.getvalue(), options)


def measure_light(options: argparse.Namespace, folder: Path) -> None:
    """Shift of the score of dimmed good images, in interquartile ranges of the others."""
    from anomalib_lite import Detector

    os.environ["ANOMALIB_LITE_WEIGHTS"] = str(folder)
    good = SHARED / "data" / "mvtec_ad" / "screw" / "train" / "good"
    frames = [job.load() for job in open_source(good).jobs()]
    learnt, others = frames[::4], frames[1::8]
    print("| detector | backbone | " + " | ".join(f"light x {gain}" for gain in GAINS) + " |")
    print("| --- " * (len(GAINS) + 2) + "|")
    for name in options.detectors:
        for backbone in options.backbones:
            settings = {"rows": ROWS} if name == "patchcore" else {}
            detector = Detector(name, backbone=backbone, **settings).fit(learnt)
            usual = np.array([detector.predict(frame).score for frame in others])
            spread = np.subtract(*np.percentile(usual, [75, 25]))
            shifts = []
            for gain in GAINS:
                dimmed = [(frame * gain).round().astype(np.uint8) for frame in others]
                scores = np.array([detector.predict(frame).score for frame in dimmed])
                shifts.append(f"{np.median(scores - usual) / spread:+.2f}")
            print(f"| {name} | {backbone} | " + " | ".join(shifts) + " |", flush=True)


def measure_copy(options: argparse.Namespace, folder: Path) -> None:
    """Squared error of pdn_edge's copies of resnet18's layers / variance of the layers."""
    import torch

    from anomalib_lite.backbones import create_backbone
    from anomalib_lite.detector.image_stream import ImageStream
    from anomalib_lite.edge.prepare import InputSpec

    os.environ["ANOMALIB_LITE_WEIGHTS"] = str(folder)
    teacher, student = create_backbone("resnet18"), create_backbone("pdn_edge")
    print("| set | " + " | ".join(student.layer_names) + " |")
    print("| --- " * (len(student.layer_names) + 1) + "|")
    for name in SETS:
        paths = sorted(path for path in (SHARED / "data" / name / "train/good").iterdir())
        chosen = open_source(paths[:: max(1, len(paths) // COPIED)])
        truth: dict[str, list[torch.Tensor]] = {}
        missed = dict.fromkeys(student.layer_names, 0.0)
        for batch in ImageStream(chosen, teacher, InputSpec(256, 256)):
            copies = student(batch.features.pixels).maps
            pairs = zip(batch.features.maps.values(), copies.items(), strict=True)
            for wanted, (layer, copy) in pairs:
                missed[layer] += float((wanted - copy).square().sum(dtype=torch.float64))
                truth.setdefault(layer, []).append(wanted)
        shares = []
        for layer, maps in truth.items():
            whole = torch.cat(maps).double()
            variance = (whole - whole.mean(dim=(0, 2, 3), keepdim=True)).square().sum()
            shares.append(f"{missed[layer] / float(variance):.3f}")
        print(f"| {Path(name).name} | " + " | ".join(shares) + " |", flush=True)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data", help="folder of the image sets")
    parser.add_argument("--weights", default="../shared/weights", help="folder of the weights")
    parser.add_argument("--edge", help="other weights of pdn_edge; default: the shipped ones")
    parser.add_argument("--out", default="build/backbones", help="folder for the runs")
    parser.add_argument("--detectors", nargs="+", default=DETECTORS)
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--only", choices=["accuracy", "time", "light", "copy"])
    options = parser.parse_args()
    folder = weights_folder(options)
    parts = {
        "time": measure_time,
        "accuracy": measure_accuracy,
        "light": measure_light,
        "copy": measure_copy,
    }
    for name, measure in parts.items():
        if options.only in (None, name):
            measure(options, folder)


if __name__ == "__main__":
    main()
