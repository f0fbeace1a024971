"""Precisions and engines side by side: `benchmarks/precision.py [--sets A,B] [--detectors X,Y]`.

For each detector and set: fit, export in each precision (refusals are printed), then in one run,
interleaved, the median latency of each file in each engine as a ratio to fp32 in ONNX Runtime and
to the bare backbone; image AUROC and AUPRO on the real test folder, false rejects and misses at the
promised rate, by each file's own threshold. Settings are not chosen here: the test folder is only
measured. `--spinning` measures what waiting threads cost a busy neighbour instead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import onnx
from onnx.utils import Extractor
from real_sets import SHARED, ground_truth

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.edge.benchmark import example_prepared
from anomalib_lite.edge.errors import AnomalibLiteError
from anomalib_lite.edge.inputs import FRAMES
from anomalib_lite.metrics.image import auroc
from anomalib_lite.metrics.pro import aupro

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
ENGINES = ("onnxruntime", "openvino", "openvino-bf16")
_MAP_SIDE = 256


def main() -> None:
    """Print one table a detector and set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--sets", default="mvtec_ad/bottle")
    parser.add_argument(
        "--detectors", default="patchcore:pdn_edge,padim:resnet18,patchcore:resnet18"
    )
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--spinning", action="store_true")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {options.threads} threads")
    for name in options.sets.split(","):
        for kind in options.detectors.split(","):
            detector, _, backbone = kind.partition(":")
            with tempfile.TemporaryDirectory() as folder:
                fitted = Detector(
                    detector, backbone=backbone or None, image_size=options.image_size
                ).fit(options.data / name / "train" / "good")
                print(f"\n{name} {kind}: {fitted.calibration.operating.explain()}")
                if options.spinning:
                    spinning(fitted.export(Path(folder) / "part.onnx").path, options.threads)
                    continue
                files = exported(fitted, Path(folder), options.data / name / "train" / "good")
                compare(files, options.data / name, options)


def exported(fitted: Detector, folder: Path, good: Path) -> dict[str, Path]:
    """The files that the gate lets pass, by precision."""
    files = {}
    for precision in PRECISIONS:
        path = folder / f"{precision}.onnx"
        start = time.perf_counter()
        try:
            report = fitted.export(
                path, precision=precision, frames=None if precision == "fp32" else good
            )
        except AnomalibLiteError as error:
            print(f"{precision}: {error}")
            continue
        files[precision] = path
        took = time.perf_counter() - start
        print(f"{precision}: {report.size_bytes / 1e6:.1f} MB, exported in {took:.0f} s")
        if report.lowered is not None:
            print("  " + json.dumps(report.lowered.to_dict()["drift"]))
            print(f"  in float: {', '.join(report.lowered.choice.kept) or 'nothing'}")
    return files


def compare(files: dict[str, Path], data: Path, options: argparse.Namespace) -> None:
    """Latency of every file in every engine in one run, then accuracy of each file."""
    models: dict[tuple[str, str], EdgeModel] = {}
    for precision, path in files.items():
        for engine in ENGINES:
            try:
                models[precision, engine] = EdgeModel(path, engine=engine, threads=options.threads)
            except AnomalibLiteError as error:
                print(f"{precision} in {engine}: {str(error)[-150:]}")
    calls: dict[Any, Callable[[], object]] = {
        key: partial(model.run, example_prepared(model)) for key, model in models.items()
    }
    calls["backbone", "onnxruntime"] = bare_backbone(files["fp32"], options.threads)
    times = interleaved(calls, options.repeats)
    base, bare = times["fp32", "onnxruntime"], times["backbone", "onnxruntime"]
    print(
        f"{'':24}{'ms':>8}{'/ fp32':>8}{'/ bare':>8}{'AUROC':>8}{'AUPRO':>8}{'rejects':>9}"
        f"{'misses':>8}{'promise':>9}"
    )
    print(f"{'bare backbone':24}{bare * 1e3:8.2f}{bare / base:8.2f}{1:8.2f}")
    for (precision, engine), model in models.items():
        took = times[precision, engine]
        figures = accuracy(model, data)
        print(
            f"{precision + ' ' + engine:24}{took * 1e3:8.2f}{took / base:8.2f}{took / bare:8.2f}"
            f"{figures['auroc']:8.4f}{figures['aupro']:8.4f}{figures['rejects']:9.3f}"
            f"{figures['misses']:8.3f}{model.calibration.operating.false_reject_rate:9.4f}"
        )


def interleaved(calls: dict[Any, Callable[[], object]], repeats: int) -> dict[Any, float]:
    """Median seconds of each call; all take turns, so that a busy moment falls on all alike."""
    for call in calls.values():
        call()
    found: dict[Any, list[float]] = {key: [] for key in calls}
    for _ in range(repeats):
        for key, call in calls.items():
            start = time.perf_counter()
            call()
            found[key].append(time.perf_counter() - start)
    return {key: median(values) for key, values in found.items()}


def accuracy(model: EdgeModel, data: Path) -> dict[str, float]:
    """Figures on a labelled test folder by the file's own threshold."""
    scores, labels, maps, masks = [], [], [], []
    for path in sorted((data / "test").glob("*/*")):
        prediction = model.predict(path)
        scores.append(prediction.score)
        labels.append(int(path.parent.name != "good"))
        maps.append(cv2.resize(np.asarray(prediction.anomaly_map), (_MAP_SIDE, _MAP_SIDE)))
        masks.append(ground_truth(data, path, _MAP_SIDE))
    flagged, bad = np.array(scores) > model.threshold, np.array(labels) == 1
    return {
        "auroc": auroc(scores, labels),
        "aupro": aupro(maps, masks),
        "rejects": float(flagged[~bad].mean()),
        "misses": float((~flagged[bad]).mean()),
    }


def bare_backbone(path: Path, threads: int) -> Callable[[], object]:
    """The graph up to its last feature map, in ONNX Runtime."""
    import onnxruntime

    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    inside = [node for node in model.graph.node if node.name.startswith("/backbone/")]
    taken = {name for node in inside for name in node.input}
    ends = [name for node in inside for name in node.output if name not in taken]
    part = Extractor(model).extract_model([FRAMES], ends)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        part.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    frame = example_prepared(EdgeModel(path, threads=threads))
    return lambda: session.run(ends, {FRAMES: frame})


BUSY = """
import sys, time
count, end = 0, time.time() + float(sys.argv[1])
while time.time() < end:
    count += sum(range(1000)) > 0
print(count)
"""


def spinning(path: Path, threads: int, seconds: float = 8.0, pause_s: float = 0.04) -> None:
    """Latency with spinning on and off, processor time, and what is left to a busy neighbour.

    A frame every 40 ms, as from a camera of 25 frames a second, beside one process that counts.
    """
    alone = _neighbour(seconds, lambda: None, pause_s)[0]
    for spins in (True, False, True, False):
        model = EdgeModel(path, threads=threads, allow_spinning=spins)
        work = partial(model.run, example_prepared(model))
        before = time.process_time()
        count, times = _neighbour(seconds, work, pause_s)
        used = (time.process_time() - before) / max(1, len(times))
        print(
            f"spinning {'on ' if spins else 'off'}: {median(times) * 1e3:.2f} ms a frame, "
            f"{used * 1e3:.1f} ms of processor time a frame, neighbour at {count / alone:.2f}"
        )


def _neighbour(
    seconds: float, work: Callable[[], object], pause_s: float
) -> tuple[int, list[float]]:
    """What a busy neighbour counts while frames come, and the seconds of each frame."""
    busy = subprocess.Popen(
        [sys.executable, "-c", BUSY, str(seconds)], stdout=subprocess.PIPE, text=True
    )
    times = []
    while busy.poll() is None:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
        time.sleep(pause_s)
    return int(busy.communicate()[0]), times


if __name__ == "__main__":
    main()
