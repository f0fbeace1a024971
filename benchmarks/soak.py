"""Long runs: threads that share a model for 100,000 frames; commands killed at random moments.

    python benchmarks/soak.py frames                 # every engine that is installed
    python benchmarks/soak.py kills --tries 20       # 20 kills -9 and 20 SIGTERMs of each command
    python benchmarks/soak.py kills --only fit,score --first 10 --tries 5    # tries 10 to 14
    python benchmarks/soak.py frames --engine openvino

Everything is told as it goes; a run can be shared out, tries by their numbers, frames by engine.

Exit status 1 when a score differed, memory grew, a file was neither absent nor whole, or a run that
went on afterwards gave other bytes. The figures are quoted in docs/security.md.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

THREADS = 4
PARTS = 20
LARGEST_DRIFT = 0.02


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """Open files of this process."""
    return len(os.listdir("/proc/self/fd"))


def write_material(folder: Path) -> None:
    """Photographs of parts, labelled ones too, and a fitted detector with its edge file."""
    from safetensors.torch import save_file

    from anomalib_lite import Detector
    from anomalib_lite.backbones import create_backbone
    from anomalib_lite.data.parts import render, write_dataset

    for name, split, count in (("good", "train", 12), ("more", "test", 4), ("frames", "test", 12)):
        (folder / name).mkdir()
        for index in range(count):
            first = 20 if name == "more" else 0
            frame = render("flange", seed=0, index=first + index, split=split, size=96).image
            cv2.imwrite(str(folder / name / f"{index:03d}.png"), frame[:, :, ::-1])
    write_dataset(
        folder / "parts", "flange", seed=0, train=6, test_good=4, test_per_defect=1, size=96
    )
    detector = Detector("padim", backbone="filters", image_size=64, num_features=16)
    detector.fit(folder / "good")
    detector.save(folder / "part.safetensors")
    detector.export(folder / "part.onnx")
    teacher = create_backbone("resnet18", weights="random").net.state_dict()
    save_file(teacher, folder / "teacher.safetensors")


def soak_engine(model_file: Path, folder: Path, engine: str, total: int) -> bool:
    """Four threads, one model: every score is the first one's, nothing grows."""
    from anomalib_lite import EdgeModel
    from anomalib_lite.edge.frames import read_frame

    model = EdgeModel(model_file, engine=engine, threads=1)
    frames = [read_frame(path) for path in sorted(folder.glob("*.png"))]
    expected = [model.predict(frame).score for frame in frames]
    differing, done = Counter[int](), Counter[int]()
    size = -(-total // (PARTS * THREADS))

    def judge(thread: int) -> None:
        rng = np.random.default_rng(thread)
        for _ in range(size):
            index = int(rng.integers(len(frames)))
            differing[thread] += model.predict(frames[index]).score != expected[index]
            done[thread] += 1

    memory, opened, started = [], [], time.time()
    for part in range(PARTS):
        threads = [threading.Thread(target=judge, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gc.collect()
        memory.append(resident_bytes())
        opened.append(descriptors())
        print(
            f"  {engine} part {part + 1} of {PARTS}: {sum(done.values())} frames, "
            f"{sum(differing.values())} differing, {memory[-1] / 1e6:.1f} MB, {opened[-1]} "
            f"descriptors, {time.time() - started:.0f} s",
            flush=True,
        )
    # The first quarter fills arenas and thread stacks.
    settled, last = np.median(memory[PARTS // 4 : PARTS // 2]), np.median(memory[-PARTS // 4 :])
    drift = float(last / settled - 1)
    elapsed = time.time() - started
    print(
        f"{engine}: {sum(done.values())} frames by {THREADS} threads in {elapsed:.0f} s, "
        f"{sum(differing.values())} differing scores, memory {last / 1e6:.0f} MB, drift "
        f"{drift:+.2%}, descriptors {opened[PARTS // 4]} to {opened[-1]}",
        flush=True,
    )
    same = not sum(differing.values()) and opened[PARTS // 4] == opened[-1]
    return same and drift < LARGEST_DRIFT


def engines() -> list[str]:
    """Engines of the processor that are installed."""
    from importlib.util import find_spec

    return ["onnxruntime", *(["openvino"] if find_spec("openvino") else [])]


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["frames", "kills"])
    parser.add_argument("--frames", type=int, default=100_000, help="for each engine")
    parser.add_argument("--tries", type=int, default=20, help="of each signal and command")
    parser.add_argument("--engine", default="", help="one engine; else every one installed")
    parser.add_argument("--first", type=int, default=0, help="number of the first try")
    parser.add_argument("--only", default="", help="commands, comma-separated")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak_") as name:
        folder = Path(name)
        # In a process of its own: the one that commands are forked from must have no threads.
        maker = multiprocessing.get_context("fork").Process(target=write_material, args=(folder,))
        maker.start()
        maker.join()
        if given.what == "frames":
            results = [
                soak_engine(folder / "part.onnx", folder / "frames", engine, given.frames)
                for engine in ([given.engine] if given.engine else engines())
            ]
            return int(not all(results))
        import soak_kills

        soak_kills.import_all()
        wanted = given.only.split(",") if given.only else list(soak_kills.COMMANDS)
        numbers = range(given.first, given.first + given.tries)
        broken = [soak_kills.kill(folder, verb, numbers, given.seed) for verb in wanted]
        return int(any(broken))


if __name__ == "__main__":
    sys.exit(main())
