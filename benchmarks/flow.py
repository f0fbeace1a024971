"""Do the stages of `score` overlap? A folder of JPEGs, against its slowest stage alone.

    python benchmarks/flow.py [--frames 1000] [--side 1024] [--heatmaps] [--threads 1]

Three stages, as in `anomalib-lite score`: decode and prepare (two threads), the network, and the
writing of lines (and heat maps). Each is run alone over all frames, then all together; rounds are
interleaved and medians taken. The bar is `score` within 20 % of the slowest stage alone on two
cores. Stages share the cores: the processor seconds are printed beside, since no overlap can be
quicker than their sum divided by the cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

_DISTINCT = 25
_ROUNDS = 3


def write_frames(folder: Path, count: int, side: int) -> None:
    """So many JPEG photographs of parts; 25 different ones, as separate files."""
    from anomalib_lite.data.parts import render

    folder.mkdir()
    for index in range(count):
        target = folder / f"{index:05d}.jpg"
        if index < _DISTINCT:
            frame = render("flange", seed=1, index=index, size=min(1024, side)).image
            frame = cv2.resize(frame, (side, side), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(target), frame[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        else:
            shutil.copy(folder / f"{index % _DISTINCT:05d}.jpg", target)


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--heatmaps", action="store_true")
    parser.add_argument("--threads", type=int, help="inside one inference")
    given = parser.parse_args()
    from anomalib_lite import Detector, EdgeModel
    from anomalib_lite.cli.run_file import run_record
    from anomalib_lite.cli.score import score_to_folder
    from anomalib_lite.edge import footprint
    from anomalib_lite.edge.runs.scoring import _preparer, score_source
    from anomalib_lite.edge.sources import open_source, read_ahead
    from anomalib_lite.report.side_outputs import SideOutputs

    footprint.own_process()
    with tempfile.TemporaryDirectory(prefix="flow_") as name:
        home = Path(name)
        write_frames(home / "line", given.frames, given.side)
        detector = Detector("patchcore", image_size=256)
        detector.fit(sorted(map(str, (home / "line").glob("*.jpg")))[:_DISTINCT])
        detector.export(home / "part.onnx")
        model = EdgeModel(home / "part.onnx", threads=given.threads)
        source = open_source(home / "line")
        blank = np.zeros((1, 256, 256, 3), np.uint8)
        judged = next(iter(score_source(model, source)))
        side = SideOutputs(home, source.name, model.calibration, heatmaps=given.heatmaps)

        def decode() -> None:
            for _ in read_ahead(source.jobs(), _preparer(model.inputs), ahead=8):
                pass

        def network() -> None:
            for _ in range(given.frames):
                model.run(blank)

        def write() -> None:
            record = run_record(home / "part.onnx", model, source=source, files=(), options={})
            for _ in range(given.frames):
                side.of(judged)
                record.line(judged)

        def whole() -> None:
            out = home / "out"
            shutil.rmtree(out, ignore_errors=True)
            record = run_record(home / "part.onnx", model, source=source, files=(), options={})
            score_to_folder(model, source, out, record, heatmaps=given.heatmaps, batch=1)

        stages = {"decode and prepare": decode, "network": network, "write": write, "score": whole}
        found: dict[str, list[tuple[float, float]]] = {stage: [] for stage in stages}
        for _ in range(_ROUNDS):
            for stage, work in stages.items():
                found[stage].append(timed(work))
        medians = {stage: np.median(rows, axis=0) for stage, rows in found.items()}
        print(f"{given.frames} JPEGs {given.side}x{given.side}, load {os.getloadavg()[0]:.1f}")
        print("| stage | wall ms a frame | processor ms a frame |\n|---|---|---|")
        for stage, (wall, processor) in medians.items():
            per = 1e3 / given.frames
            print(f"| {stage} | {wall * per:.2f} | {processor * per:.2f} |")
        alone = [float(medians[stage][0]) for stage in stages if stage != "score"]
        busy = sum(float(medians[stage][1]) for stage in stages if stage != "score")
        together = float(medians["score"][0])
        cores = len(os.sched_getaffinity(0))
        floor = max(max(alone), busy / cores)
        print(
            f"no overlap on {cores} cores is quicker than {floor / max(alone):.2f} x the slowest;"
        )
        print(f"score takes {together / max(alone):.2f} x its slowest stage alone,")
        print(f"{together / sum(alone):.2f} x its stages one after the other, and")
        print(f"{float(medians['score'][1]) / busy:.2f} x their processor time")


if __name__ == "__main__":
    main()
