"""Measure EfficientAD and STFPM: accuracy, ablations, training, latency of the exported graphs.

    python benchmarks/efficientad.py --only accuracy --sets mvtec_ad/bottle --steps 5000
    python benchmarks/efficientad.py --only ablation --sets mvtec_loco_flat/juice_bottle
    python benchmarks/efficientad.py --only choice --sets mvtec_ad/bottle
    python benchmarks/efficientad.py --only latency
    python benchmarks/efficientad.py --only training

`accuracy` trains on all good images of a set, one tenth of them held out for the map normalisation,
and measures the last step at 256 x 256; `padim`, `patchcore` and `mvg` on resnet18 stand beside
it. `ablation` switches one part off at a time. Both leave checkpoints in --work and go on from
there when they are run again. `maps` asks each map of the whole one alone, and takes up what
`ablation` has trained. `choice` compares hard quantiles without a defect: every fifth good
image is kept out and judged beside copies with simulated defects. `latency` exports both sizes and
runs them in turn in ONNX Runtime and OpenVINO, beside their multiply-adds and the machine's
matrix-product peak. `gpu` measures S on CUDA, transfers included. Nothing is chosen by these test
images.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from real_sets import SETS, SHARED, ground_truth
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from anomalib_lite import Detector
from anomalib_lite.data.parts import render
from anomalib_lite.data.simulate import DEFECT_KINDS, simulate_defect
from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.edge.engines import open_engine
from anomalib_lite.edge.sources import open_source
from anomalib_lite.metrics import aupro, auroc, pixel_metrics
from anomalib_lite.scorers import FitContext
from anomalib_lite.scorers.student_teacher.efficientad_training import Lesson

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "efficientad edge": ("efficientad", {"size": "edge"}),
    "efficientad S": ("efficientad", {"size": "S"}),
    "stfpm": ("stfpm", {"backbone": "resnet18"}),
    "stfpm pdn_edge": ("stfpm", {"backbone": "pdn_edge"}),
    "padim": ("padim", {"backbone": "resnet18"}),
    "patchcore": ("patchcore", {"backbone": "resnet18", "coreset_ratio": 0.1}),
    "mvg": ("mvg", {"backbone": "resnet18"}),
}
TRAINED = ("efficientad", "stfpm")
ABLATIONS: dict[str, dict[str, Any]] = {
    "whole": {},
    "hard loss off": {"hard_quantile": 0},
    "penalty off": {"penalty": False},
    "autoencoder off": {"autoencoder": False},
    "map normalisation off": {"map_normalisation": False},
}
HARD_QUANTILES = (0.999, 0.99, 0.0)
KEPT_OUT = 5
ENGINES = ("onnxruntime", "openvino", "openvino-bf16")
SIDE = 256


def accuracy(options: argparse.Namespace) -> None:
    """Image AUROC, pixel AUROC and AUPRO of every method on every set."""
    print("| set | method | image AUROC | pixel AUROC | AUPRO | good images | steps | fit, s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in options.sets:
        for method in options.methods:
            measure(options, name, method, *METHODS[method])


def ablation(options: argparse.Namespace) -> None:
    """One part off at a time."""
    print("| set | variant | image AUROC | pixel AUROC | AUPRO | good images | steps | fit, s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in options.sets:
        for label, changed in ABLATIONS.items():
            settings = {"size": options.size, **changed}
            measure(options, name, f"{options.size}: {label}", "efficientad", settings)


def measure(
    options: argparse.Namespace, name: str, label: str, kind: str, settings: dict[str, Any]
) -> None:
    """Fit on all good images, measure on the test images, print one row."""
    start = time.perf_counter()
    detector, count = trained(options, name, label, kind, settings)
    seconds = time.perf_counter() - start
    figures = test_figures(detector, options.data / name)
    curve = getattr(detector.scorer, "held_out_loss_", None)
    steps = "–" if curve is None else str(int(curve[-1, 0]))
    print(
        f"\r| {Path(name).name} | {label} | {figures} | {count} | {steps} | {seconds:.0f} |",
        flush=True,
    )


def maps(options: argparse.Namespace) -> None:
    """Image AUROC of each of EfficientAD's two maps alone, by kind of defect."""
    print("| set | defects | student - teacher | student - autoencoder | both |")
    print("| --- | --- | --- | --- | --- |")
    for name in options.sets:
        label = f"{options.size}: whole"
        detector, _ = trained(options, name, label, "efficientad", {"size": options.size})
        scorer = detector.scorer
        found: dict[str, list[NDArray[np.float64]]] = {}
        for path in sorted(path for path in (options.data / name / "test").glob("*/*")):
            stream = ImageStream(open_source([path]), detector.backbone, detector.spec)
            with torch.no_grad():
                features = next(iter(stream)).features
                pair = scorer.difference_maps(features)  # type: ignore[attr-defined]
                both = float(scorer(features).image)
            largest = [float(scorer.head.counted(one).amax()) for one in pair]  # type: ignore[union-attr]
            found.setdefault(path.parent.name, []).append(np.array([*largest, both]))
        good = np.stack(found.pop("good"))
        for kind, rows in found.items():
            scores = np.concatenate([good, np.stack(rows)])
            labels = np.arange(len(scores)) >= len(good)
            cells = " | ".join(f"{auroc(column, labels):.4f}" for column in scores.T)
            print(f"| {Path(name).name} | {kind} | {cells} |", flush=True)


def trained(
    options: argparse.Namespace, name: str, label: str, kind: str, settings: dict[str, Any]
) -> tuple[Detector, int]:
    """A detector whose scorer is fitted on all good images, and how many there were."""
    settings = dict(settings)
    if kind in TRAINED and options.steps is not None:
        settings["steps"] = options.steps
    if kind in TRAINED:
        settings["bf16"] = options.bf16
    if kind == "efficientad":
        settings["device"] = options.device
        if options.penalty_pictures:
            settings["penalty_pictures"] = str(options.penalty_pictures)
    detector = Detector(kind, image_size=SIDE, seed=options.seed, **settings)
    folder = options.data / name
    paths = sorted(path for path in (folder / "train/good").iterdir() if path.is_file())
    # A folder per variant: a checkpoint of another fit beside it would be refused.
    variant = label.replace(" ", "-").replace(":", "") + ("-bf16" if options.bf16 else "")
    checkpoint = options.work / Path(name).name / variant
    tell = progress(f"{Path(name).name} {label}")
    context = FitContext(options.seed, tell, checkpoint, resume=checkpoint.is_dir())
    stream = ImageStream(open_source(paths), detector.backbone, detector.spec)
    with torch.no_grad():
        detector.scorer.fit(stream, context)
    if detector.scorer.stopped_early:
        sys.exit("stopped; run the same command again to go on")
    return detector, len(paths)


def choice(options: argparse.Namespace) -> None:
    """Hard quantiles judged by simulated defects on good images that were kept out."""
    print("| set | hard quantile | image AUROC | pixel AUROC | steps |", flush=True)
    print("| --- | --- | --- | --- | --- |")
    for name in options.sets:
        good = options.data / name / "train/good"
        paths = sorted(path for path in good.iterdir() if path.is_file())
        learnt = [path for index, path in enumerate(paths) if index % KEPT_OUT]
        for quantile in HARD_QUANTILES:
            settings = {"hard_quantile": quantile, "steps": options.steps, "bf16": options.bf16}
            detector = Detector("efficientad", image_size=SIDE, seed=options.seed, **settings)
            tell = progress(f"{Path(name).name} {quantile}")
            stream = ImageStream(open_source(learnt), detector.backbone, detector.spec)
            with torch.no_grad():
                detector.scorer.fit(stream, FitContext(options.seed, tell))
            image, pixel = simulated_figures(detector, paths[::KEPT_OUT])
            print(
                f"| {Path(name).name} | {quantile} | {image:.4f} | {pixel:.4f} | {options.steps} |",
                flush=True,
            )


def simulated_figures(detector: Detector, paths: list[Path]) -> tuple[float, float]:
    """Image and pixel AUROC of good images against copies with one simulated defect each."""
    stream = ImageStream(open_source(paths), detector.backbone, detector.spec)
    frames = np.stack([frame for _, frame in stream.prepared()])
    shown, masks, labels = list(frames), [np.zeros(frames.shape[1:3], np.uint8)] * len(frames), []
    labels += [False] * len(frames)
    for index, frame in enumerate(frames):
        for number, kind in enumerate(DEFECT_KINDS):
            rng = np.random.default_rng([7, index, number])
            made = simulate_defect(frame, frames[(index + 1) % len(frames)], kind, rng)
            shown.append(made.frame)
            masks.append((made.mask > 0.5).astype(np.uint8))
            labels.append(True)
    found = [detector.run(np.stack(shown[at : at + 8])) for at in range(0, len(shown), 8)]
    scores = np.concatenate([outputs.score for outputs in found])
    maps = np.concatenate([outputs.anomaly_map for outputs in found])
    return auroc(scores, np.array(labels)), pixel_metrics(maps, np.stack(masks)).auroc


def test_figures(detector: Detector, folder: Path) -> str:
    """Image AUROC, pixel AUROC, AUPRO at 256 x 256 of a fitted scorer."""
    paths = sorted(path for path in (folder / "test").glob("*/*") if path.is_file())
    labels = np.array([path.parent.name != "good" for path in paths])
    scores, maps = [], []
    with torch.no_grad():
        for batch in ImageStream(open_source(paths), detector.backbone, detector.spec):
            found = detector.scorer(batch.features)
            scores.append(found.image.numpy())
            maps.append(found.map.numpy())
    image = auroc(np.concatenate(scores), labels)
    if not detector.localises:
        return f"{image:.4f} | – | –"
    joined, truth = np.concatenate(maps), np.stack([ground_truth(folder, path) for path in paths])
    return f"{image:.4f} | {pixel_metrics(joined, truth).auroc:.4f} | {aupro(joined, truth):.4f}"


def progress(label: str) -> Callable[[str, int, int], None]:
    """A line on stderr every ten seconds."""
    told = [0.0]

    def tell(stage: str, done: int, total: int) -> None:
        if time.monotonic() - told[0] > 10:
            told[0] = time.monotonic()
            print(f"{label}: {stage} {done}/{total}", file=sys.stderr, flush=True)

    return tell


def quick(size: str, weights: str | None) -> Detector:
    """A detector of a size, trained for one step on generated parts: cost does not depend on it."""
    frames = [render("flange", seed=0, index=index, size=SIDE).image for index in range(6)]
    detector = Detector("efficientad", size=size, weights=weights, image_size=SIDE, steps=1)
    return detector.fit(frames)


def multiply_adds(network: nn.Module, given: torch.Tensor) -> int:
    """Multiply-adds of all convolutions and matrix products for one image."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(given)
    return counter.get_total_flops() // 2


def peak_gflops() -> float:
    """Fastest of 20 matrix products of 2048 x 2048, GFLOP/s, float32."""
    one, other = torch.randn(2, 2048, 2048)
    took = []
    for _ in range(20):
        start = time.perf_counter()
        one @ other
        took.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(took) / 1e9


def latency(options: argparse.Namespace) -> None:
    """Both sizes in each engine, in turn, batch 1."""
    peak = peak_gflops()
    print(f"matrix-product peak {peak:.0f} GFLOP/s with {torch.get_num_threads()} threads")
    frame = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        work, runs = {}, {}
        for size in ("edge", "S"):
            detector = quick(size, options.latency_weights)
            path = Path(folder) / f"{size}.onnx"
            report = detector.export(path)
            merged = multiply_adds(detector.graph.merged(), torch.from_numpy(frame))
            plain = multiply_adds(detector.graph, torch.from_numpy(frame))
            print(
                f"{size}: {plain / 1e9:.2f} G multiply-adds apart, {merged / 1e9:.2f} G merged, "
                f"file {report.size_bytes / 1e6:.1f} MB"
            )
            work[size] = merged
            for engine in ENGINES:
                runs[size, engine] = open_engine(path, engine, threads=options.threads)
        took = interleaved(runs, frame, options.turns)
    show_latency(took, work, peak)


def interleaved(
    runs: dict[tuple[str, str], Any], frame: Any, turns: int
) -> dict[tuple[str, str], list[float]]:
    """Seconds of each engine, in turn; the large size in one turn of ten."""
    took: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for turn in range(-5, turns):
        for key, engine in runs.items():
            if key[0] == "S" and turn % 10:
                continue
            start = time.perf_counter()
            engine.run(frame)
            if turn >= 0:
                took[key].append(time.perf_counter() - start)
    return took


def show_latency(
    took: dict[tuple[str, str], list[float]], work: dict[str, int], peak: float
) -> None:
    """The table, and how the sizes compare in turns that stood side by side."""
    print(
        "| engine | size | median, ms | fastest, ms | GFLOP/s at the median | share of the peak |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for (size, engine), values in took.items():
        median = float(np.median(values))
        speed = 2 * work[size] / median / 1e9
        print(
            f"| {engine} | {size} | {1e3 * median:.2f} | {1e3 * min(values):.2f} | {speed:.0f} | "
            f"{speed / peak:.0%} |"
        )
    for engine in ENGINES:
        pairs = zip(took["edge", engine][::10], took["S", engine], strict=True)
        ratio = np.median([fast / slow for fast, slow in pairs])
        print(f"{engine}: edge takes {ratio:.3f} of S")


def training(options: argparse.Namespace) -> None:
    """Milliseconds and CPU milliseconds per training step; memory beside the estimate."""
    for size, turns in (("edge", 60), ("S", 8)):
        frames = [render("flange", seed=0, index=index, size=SIDE).image for index in range(6)]
        detector = Detector(
            "efficientad", size=size, weights=options.latency_weights, image_size=SIDE
        )
        stream = ImageStream(open_source(frames), detector.backbone, detector.spec)
        lesson = Lesson(detector.scorer.networks, detector.scorer.course, stream, FitContext())  # type: ignore[union-attr]
        task = lesson.training()
        took: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for turn in range(turns):
            for bf16, pairs in took.items():
                lesson.scorer.bf16 = bf16
                start, busy = time.perf_counter(), time.process_time()
                task.step(turn)
                pairs.append((time.perf_counter() - start, time.process_time() - busy))
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        for bf16, pairs in took.items():
            wall, busy = 1e3 * np.median(pairs[3:], axis=0)
            print(
                f"{size} {'bfloat16' if bf16 else 'float32'}: {wall:.0f} ms per step, "
                f"CPU {busy:.0f} ms",
                flush=True,
            )
        estimate = detector.memory_bytes() / 1e6
        print(f"process so far {used:.0f} MB, estimate for the fit {estimate:.0f} MB", flush=True)


def gpu(options: argparse.Namespace) -> None:
    """S on CUDA in half precision: batch 1 and 16, frames up and maps down included."""
    if not torch.cuda.is_available():
        print("no CUDA device here")
        return
    for size in ("S", "edge"):
        graph = quick(size, options.latency_weights).graph.merged().cuda().half()
        for batch in (1, 16, 64):
            host = torch.zeros(batch, SIDE, SIDE, 3, dtype=torch.uint8).pin_memory()
            run = captured(graph, host)
            took = []
            for turn in range(options.turns + 50):
                start = time.perf_counter()
                run()
                if turn >= 50:
                    took.append(time.perf_counter() - start)
            median = float(np.median(took))
            print(
                f"{size} on {torch.cuda.get_device_name()}, batch {batch}: {1e3 * median:.3f} ms, "
                f"{batch / median:.0f} images/s",
                flush=True,
            )


def captured(graph: nn.Module, host: torch.Tensor) -> Callable[[], None]:
    """One call = frames to the device, the whole graph, scores and maps back, waited for."""
    device = host.cuda()
    scale, shift = graph.backbone.scale, graph.backbone.shift  # type: ignore[union-attr]

    def forward() -> Any:
        pixels = device.permute(0, 3, 1, 2).half() * scale + shift
        return graph.network(pixels.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]

    graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad():
        for _ in range(5):
            forward()
        torch.cuda.synchronize()
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            score, anomaly_map = forward()
    down = [torch.empty_like(item, device="cpu").pin_memory() for item in (score, anomaly_map)]

    def run() -> None:
        device.copy_(host, non_blocking=True)
        recorded.replay()
        down[0].copy_(score, non_blocking=True)
        down[1].copy_(anomaly_map, non_blocking=True)
        torch.cuda.synchronize()

    return run


PARTS = {
    "accuracy": accuracy,
    "ablation": ablation,
    "maps": maps,
    "choice": choice,
    "training": training,
    "latency": latency,
    "gpu": gpu,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--weights", type=Path, default=SHARED / "weights")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "efficientad")
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="folders below --data")
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=list(METHODS),
        default=["efficientad edge", "padim", "patchcore", "mvg"],
    )
    parser.add_argument("--size", choices=("edge", "S", "M"), default="edge", help="of ablations")
    parser.add_argument("--steps", type=int, help="budget; default: that of the method")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16")
    parser.add_argument("--penalty-pictures", type=Path, help="folder; default: procedural")
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--latency-weights", default="random", help="weights of the teacher where only time counts"
    )
    parser.add_argument("--only", choices=list(PARTS), default="accuracy")
    options = parser.parse_args()
    if options.only in ("accuracy", "ablation", "maps", "choice"):
        if not options.data.is_dir():
            sys.exit(f"needs {options.data}; name another with --data")
        if options.weights.is_dir():
            os.environ["ANOMALIB_LITE_WEIGHTS"] = str(options.weights)
    PARTS[options.only](options)


if __name__ == "__main__":
    main()
