"""PatchCore's quick search against its exact search and the bare backbone: time and accuracy.

    python benchmarks/search.py                                  # five sets, 256 x 256, seed 0
    python benchmarks/search.py mvtec_ad/bottle --only accuracy
    python benchmarks/search.py --only time --set hazelnut_toy

`accuracy` learns the default's bank of each set named, and scores the test images with it and with
a twin that searches the same bank exactly, as `directions=none` does. `time` exports the default
detector of one set, its exact twin and the bare backbone (frames in, the maps that are read out),
and runs them in turns: wall time with `--threads`, and CPU time on one thread, which other work on
the machine hardly changes. Nothing is chosen by these test images.
"""

from __future__ import annotations

import argparse
import copy
import io
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real_sets import SETS, SHARED, ground_truth

from anomalib_lite import Detector
from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.edge.sources import open_source
from anomalib_lite.metrics import aupro, auroc
from anomalib_lite.scorers import FitContext

WARM_UP = 5
OPSET = 17


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--only", nargs="+", default=["time", "accuracy"])
    parser.add_argument("--set", default="hazelnut_toy", help="of the graphs that are timed")
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--directions", type=int, default=48)
    parser.add_argument("--backbone", help="default: the detector's own")
    options = parser.parse_args()
    data = SHARED / "data"
    if not data.is_dir():
        sys.exit(f"needs {data}")
    os.environ["ANOMALIB_LITE_WEIGHTS"] = str(SHARED / "weights")
    settings = {"directions": options.directions, "backbone": options.backbone}
    if "accuracy" in options.only:
        print("| set | images | image AUROC exact | quick | AUPRO exact | quick ", end="")
        print("| score off, median / largest | map off, share of its peak | rms |")
        print("|---|---|---|---|---|---|---|---|---|", flush=True)
        for name in options.sets:
            accuracy(with_bank(data / name, settings), data / name)
    if "time" in options.only:
        detector = Detector("patchcore", **settings).fit(data / options.set / "train/good")
        measure_time(detector, options.turns, options.threads)


def with_bank(folder: Path, settings: dict[str, Any]) -> Detector:
    """The default detector with the bank of a set, without a calibration."""
    detector = Detector("patchcore", **settings)
    detector.scorer.build(detector.backbone.layout(detector.spec.size_hw))
    good = ImageStream(open_source(folder / "train/good"), detector.backbone, detector.spec)
    with torch.no_grad():
        detector.scorer.fit(good, FitContext(seed=0))
    return detector


def exact_twin(detector: Detector) -> Detector:
    """The same bank, searched exactly."""
    twin = copy.deepcopy(detector)
    scorer = twin.scorer
    bank = (scorer.bank_ + scorer.mean_, scorer.origin_.cpu().numpy())
    scorer.take_bank(bank, None, scorer.mean_, exact=True)
    return twin


def accuracy(quick: Detector, folder: Path) -> None:
    """Image AUROC, AUPRO and deviations on the test images of one set."""
    exact = exact_twin(quick)
    paths = sorted(path for path in (folder / "test").glob("*/*") if path.is_file())
    labels = np.array([path.parent.name != "good" for path in paths])
    masks = np.stack([ground_truth(folder, path) for path in paths])
    found: dict[str, list[list[np.ndarray]]] = {"exact": [[], []], "quick": [[], []]}
    with torch.no_grad():
        for batch in ImageStream(open_source(paths), quick.backbone, quick.spec):
            patches = quick.scorer.patches(batch.features.maps)
            for kind, detector in (("exact", exact), ("quick", quick)):
                scores = detector.scorer.scores(patches)
                found[kind][0].append(scores.image.numpy())
                found[kind][1].append(scores.map.numpy())
    scores, maps = (
        {kind: np.concatenate(each[part]) for kind, each in found.items()} for part in (0, 1)
    )
    off = np.abs(scores["quick"] / scores["exact"] - 1)
    peak = maps["exact"].max(axis=(1, 2))
    apart = np.abs(maps["quick"] - maps["exact"])
    far, rms = apart.max(axis=(1, 2)) / peak, np.sqrt((apart**2).mean(axis=(1, 2))) / peak
    figures = [f"{auroc(scores[kind], labels):.4f}" for kind in ("exact", "quick")]
    figures += [f"{aupro(maps[kind], masks):.4f}" for kind in ("exact", "quick")]
    figures += [f"{np.median(each):.4f} / {each.max():.4f}" for each in (off, far)]
    print(
        "|",
        " | ".join([folder.name, str(len(paths)), *figures, f"{np.median(rms):.3f}"]),
        "|",
        flush=True,
    )


def measure_time(quick: Detector, turns: int, threads: int) -> None:
    """Milliseconds of a frame: bare backbone, quick and exact search, in turns."""
    with tempfile.TemporaryDirectory() as name:
        graphs = {"bare backbone": bare(quick)}
        for kind, detector in (("quick", quick), ("exact", exact_twin(quick))):
            path = Path(name, f"{kind}.onnx")
            detector.export(path)
            graphs[kind] = path.read_bytes()
    rows, columns = quick.spec.size_hw
    frames = np.random.default_rng(0).integers(0, 255, (1, rows, columns, 3), np.uint8)
    wall = in_turns(graphs, frames, turns, threads, time.perf_counter)
    cpu = in_turns(graphs, frames, turns, 1, time.thread_time)
    print(f"\n| graph | {threads} threads, ms | times the bare backbone ", end="")
    print("| 1 thread, CPU ms | times the bare backbone |")
    print("|---|---|---|---|---|")
    for kind in graphs:
        cells = []
        for times in (wall, cpu):
            ratios = [
                one / base for one, base in zip(times[kind], times["bare backbone"], strict=True)
            ]
            cells += [f"{statistics.median(times[kind]):.2f}", f"{statistics.median(ratios):.2f}"]
        print(f"| {kind} | {' | '.join(cells)} |")
    print(f"load average {os.getloadavg()[0]:.1f}; medians of {turns} turns, ratios turn by turn")


def in_turns(graphs, frames, turns, threads, clock) -> dict[str, list[float]]:
    """Milliseconds of each graph, turn by turn."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    sessions = {
        kind: onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for kind, graph in graphs.items()
    }
    times: dict[str, list[float]] = {kind: [] for kind in graphs}
    for turn in range(turns + WARM_UP):
        for kind, session in sessions.items():
            started = clock()
            session.run(None, {"frames": frames})
            if turn >= WARM_UP:
                times[kind].append(1e3 * (clock() - started))
    return times


def bare(detector: Detector) -> bytes:
    """Normalisation and backbone alone, with a batch of any size, as the detector is exported."""
    layers = [layer.name for layer in detector.scorer.patches.layers]

    class Maps(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = detector.backbone

        def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
            maps = self.backbone.read(frames).maps
            return tuple(maps[name] for name in layers)

    rows, columns = detector.spec.size_hw
    buffer = io.BytesIO()
    torch.onnx.export(
        Maps().eval(),
        (torch.zeros(2, rows, columns, 3, dtype=torch.uint8),),
        buffer,
        input_names=["frames"],
        output_names=layers,
        dynamic_axes={name: {0: "N"} for name in ("frames", *layers)},
        opset_version=OPSET,
        dynamo=False,
    )
    return buffer.getvalue()


if __name__ == "__main__":
    main()
