"""Measure DRAEM and the plain autoencoder: accuracy, families of defects unseen, latency, memory.

    python benchmarks/draem.py --only accuracy --sets mvtec_ad/bottle --steps 1000 --bf16
    python benchmarks/draem.py --only unseen --sets mvtec_ad/bottle --steps 1000 --bf16
    python benchmarks/draem.py --only latency
    python benchmarks/draem.py --only training

`accuracy` fits on the good images of a set, the threshold on a held-out fifth at a promised 1 %,
and measures the last step on the test images at the size of the input. `unseen` asks the same
models for defects of kinds that no training made (scratches, stains, missing parts of the
simulator), put into the *good* test images: how many are found at the threshold, and how well they
are told from the same images without them. Both keep models and checkpoints in --work and go on
from there. `latency` exports all and runs them in turn in ONNX Runtime, beside patchcore.
`training` compares the estimated with the measured memory of a fit. Nothing is chosen by these test
images.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from real_sets import SHARED, ground_truth

from anomalib_lite import Detector
from anomalib_lite.data.parts import render
from anomalib_lite.data.simulate import DefectKind, simulate_defect
from anomalib_lite.edge.engines import open_engine
from anomalib_lite.edge.frames import read_frame
from anomalib_lite.edge.prepare import prepare
from anomalib_lite.metrics import aupro, auroc, average_precision, pixel_metrics

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "draem": ("draem", {}),
    "reconstruction": ("reconstruction", {}),
    "patchcore": ("patchcore", {"backbone": "pdn_edge"}),
}
TRAINED = ("draem", "reconstruction")
UNSEEN: dict[str, DefectKind] = {"scratch": "scratch", "stain": "spot", "missing part": "missing"}
REPEATS = 4
GRAPHS: dict[str, tuple[str, dict[str, Any]]] = {
    "draem 0.125": ("draem", {"width": 0.125, "steps": 1}),
    "draem 0.25": ("draem", {"width": 0.25, "steps": 1}),
    "reconstruction": ("reconstruction", {"steps": 1}),
    "patchcore, pdn_edge": ("patchcore", {"backbone": "pdn_edge"}),
    "patchcore, resnet18": ("patchcore", {"backbone": "resnet18"}),
}


def settings_of(options: argparse.Namespace, method: str) -> dict[str, Any]:
    """Settings of a method under the options of this run."""
    kind, settings = METHODS[method]
    if method not in TRAINED:
        return dict(settings)
    given = {"steps": options.steps, "minutes": options.minutes, "bf16": options.bf16}
    given["batch_size"] = options.batch_size
    given["learning_rate"] = options.learning_rate
    if kind == "draem":
        given |= {"width": options.width, "textures": options.textures}
    return {**settings, **{key: value for key, value in given.items() if value is not None}}


def fitted(options: argparse.Namespace, name: str, method: str) -> tuple[Detector, float]:
    """The model of a set, from --work where it is ready; and the CPU seconds that it took."""
    settings = settings_of(options, method)
    words = [Path(name).name, method, str(options.side), *(f"{k}{v}" for k, v in settings.items())]
    file = options.work / ("-".join(words).replace("/", "_") + ".safetensors")
    spent = file.with_suffix(".seconds")
    if file.is_file():
        return Detector.load(file), float(spent.read_text())
    kind = METHODS[method][0]
    detector = Detector(kind, image_size=options.side, seed=options.seed, **settings)
    start = time.process_time()
    before = float(spent.read_text()) if spent.is_file() else 0.0

    def progress(stage: str, done: int, total: int) -> None:
        if done % 20 == 0 or done == total:
            spent.write_text(str(before + time.process_time() - start))
            print(f"{file.stem}: {stage} {done}/{total}", file=sys.stderr, flush=True)

    detector.fit(
        str(options.data / name / "train/good"),
        progress=progress,
        checkpoint=file.with_suffix(".checkpoint") if method in TRAINED else None,
        resume=file.with_suffix(".checkpoint").is_dir(),
    )
    spent.write_text(str(before + time.process_time() - start))
    if detector.scorer.stopped_early:
        raise SystemExit(f"{file.stem}: stopped; run the same command again to go on")
    detector.save(file)
    return detector, float(spent.read_text())


def steps_of(detector: Detector) -> str:
    """How many steps were trained."""
    curve = getattr(detector.scorer, "held_out_loss_", None)
    return "–" if curve is None else f"{int(curve[-1, 0]):,}"


def accuracy(options: argparse.Namespace) -> None:
    """All figures of every method on every set."""
    print(
        "| set | method | image AUROC | image AP | pixel AUROC | pixel AP | AUPRO | misses | "
        "false rejects | steps | CPU s |\n| --- " + "| --- " * 10 + "|"
    )
    for name in options.sets:
        for method in options.methods:
            detector, seconds = fitted(options, name, method)
            scores, labels, maps, truth = judged(detector, options.data / name, options.side)
            pixels = pixel_metrics(maps, truth)
            rejected = scores > detector.threshold
            print(
                f"| {Path(name).name} | {method} | {auroc(scores, labels):.3f} "
                f"| {average_precision(scores, labels):.3f} | {pixels.auroc:.3f} "
                f"| {pixels.average_precision:.3f} | {aupro(maps, truth):.3f} "
                f"| {(~rejected[labels == 1]).mean():.3f} | {rejected[labels == 0].mean():.3f} "
                f"| {steps_of(detector)} | {seconds:.0f} |",
                flush=True,
            )


def judged(detector: Detector, folder: Path, side: int) -> tuple[Any, Any, Any, Any]:
    """Scores, labels, maps and masks of all test images, at the size of the input."""
    scores, labels, maps, truth = [], [], [], []
    for path in sorted((folder / "test").glob("*/*")):
        found = detector.run(prepare(read_frame(path), detector.spec)[None])
        scores.append(float(found.score[0]))
        labels.append(int(path.parent.name != "good"))
        maps.append(found.anomaly_map[0])
        truth.append(ground_truth(folder, path, side))
    return np.array(scores), np.array(labels), np.stack(maps), np.stack(truth)


def unseen(options: argparse.Namespace) -> None:
    """Share of simulated defects found, and AUROC against the same images without them."""
    print(
        "| set | method | "
        + " | ".join(f"{kind}: AUROC / found" for kind in UNSEEN)
        + " | false rejects |\n| --- | --- "
        + "| --- " * (len(UNSEEN) + 1)
        + "|"
    )
    for name in options.sets:
        paths = sorted((options.data / name / "test/good").glob("*"))[: options.hosts]
        for method in options.methods:
            detector, _ = fitted(options, name, method)
            frames = [prepare(read_frame(path), detector.spec) for path in paths]
            clean = np.array([float(detector.run(frame[None]).score[0]) for frame in frames])
            cells = []
            for kind in UNSEEN.values():
                rng = np.random.default_rng(options.seed)
                bad = np.array(
                    [
                        float(detector.run(defective(frames, host, kind, rng)).score[0])
                        for host in range(len(frames))
                        for _ in range(REPEATS)
                    ]
                )
                labels = np.repeat([0, 1], [len(clean), len(bad)])
                found = (bad > detector.threshold).mean()
                cells.append(f"{auroc(np.concatenate([clean, bad]), labels):.3f} / {found:.2f}")
            rejects = (clean > detector.threshold).mean()
            print(f"| {Path(name).name} | {method} | {' | '.join(cells)} | {rejects:.2f} |")


def defective(
    frames: list[NDArray[np.uint8]], host: int, kind: DefectKind, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A good frame with one defect, as a batch."""
    donor = frames[(host + 1) % len(frames)]
    return simulate_defect(frames[host], donor, kind, rng).frame[None]


def latency(options: argparse.Namespace) -> None:
    """Milliseconds a frame in ONNX Runtime, the graphs in turn; size of the file."""
    frames = [render("flange", seed=0, index=index, size=options.side).image for index in range(12)]
    engines, sizes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (kind, settings) in GRAPHS.items():
            path = Path(folder) / f"{name}.onnx"
            made = Detector(kind, image_size=options.side, **settings).fit(frames)
            sizes[name] = made.export(path).size_bytes
            engines[name] = open_engine(path, "onnxruntime", threads=options.threads)
        batch = prepare(frames[0], made.spec)[None]
        spent: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(options.rounds):
            for name, engine in engines.items():
                start = time.process_time()
                engine.run(batch)
                spent[name].append(1000 * (time.process_time() - start))
    base = float(np.median(spent["patchcore, pdn_edge"]))
    print(
        "| graph | CPU ms a frame | times patchcore on pdn_edge | MB |\n| --- | --- | --- | --- |"
    )
    for name, values in spent.items():
        middle = float(np.median(values))
        print(f"| {name} | {middle:.1f} | {middle / base:.2f} | {sizes[name] / 1e6:.1f} |")


def training(options: argparse.Namespace) -> None:
    """Memory of two steps, each in a process of its own, beside the estimate."""
    print("| method | estimated MB | measured MB | CPU s a step |\n| --- | --- | --- | --- |")
    for method in ("draem", "reconstruction"):
        for width in (0.125, 0.25) if method == "draem" else (None,):
            command = [sys.executable, __file__, "--only", "child", "--methods", method]
            command += ["--side", str(options.side), "--width", str(width or 1.0)]
            command += ["--bf16"] if options.bf16 else []
            shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(f"| {method} {width or ''} | {shown.strip()} |", flush=True)


def child(options: argparse.Namespace) -> None:
    """One fit; prints estimate, growth of the process, and seconds of the later steps."""
    (method,) = options.methods
    frames = [render("flange", seed=0, index=index, size=options.side).image for index in range(12)]
    settings = settings_of(options, method) | {"steps": 4}
    made = Detector(METHODS[method][0], image_size=options.side, **settings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times: list[float] = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage.startswith("training"):
            times.append(time.process_time())

    made.fit(frames, progress=progress)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    step = float(np.diff(times).mean())
    print(f"{made.memory_bytes() / 1e6:.0f} | {grown / 1e3:.0f} | {step:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    jobs = {
        "accuracy": accuracy,
        "unseen": unseen,
        "latency": latency,
        "training": training,
        "child": child,
    }
    parser.add_argument("--only", choices=jobs, default="accuracy")
    parser.add_argument("--sets", nargs="+", default=["mvtec_ad/bottle", "magnetic_tile"])
    parser.add_argument("--methods", nargs="+", default=[*TRAINED], choices=METHODS)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "draem")
    parser.add_argument("--width", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--textures", help="folder; procedural where left out")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    jobs[options.only](options)


if __name__ == "__main__":
    main()
