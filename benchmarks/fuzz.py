"""Damaged and forged model files, pictures and videos: none may end in a traceback or hang.

    python benchmarks/fuzz.py                         # the figures that docs/security.md quotes
    python benchmarks/fuzz.py --models 40 --pictures 40 --videos 0

Every try is one function call in a worker process with a time limit; a worker that does not answer
is killed and counted. Same seed, same tries. Exit status 1 when anything broke; Ctrl-C ends
early and tells the counts so far.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

LIMIT_S = 60.0
LARGEST_BYTES = 1 << 30
FORMATS = {
    "jpg": ".jpg",
    "png": ".png",
    "bmp": ".bmp",
    "tif": ".tif",
    "webp": ".webp",
    "ppm": ".ppm",
    "gif": ".gif",
    "avif": ".avif",
}
VIDEOS = {"mp4": ".mp4", "avi": ".avi"}
BROKEN = ("traceback", "hang", "crash", "over 1 GB", "answers differently")


def prepare_material(folder: Path) -> None:
    """The whole files that are damaged, and what models answer on two frames."""
    from anomalib_lite import Detector
    from anomalib_lite.data.parts import render

    frames = [render("flange", seed=0, index=index, size=96).image for index in range(12)]
    defects = [
        render("flange", seed=0, index=index, split="test", defect="scratch", size=96).image
        for index in range(2)
    ]
    np.savez(folder / "frames.npz", frames=np.stack([frames[3], *defects]))
    roi = np.zeros((96, 96), np.uint8)
    roi[8:88, 8:88] = 255
    from anomalib_lite.edge import InputSpec

    spec = InputSpec(height=64, width=64).with_roi(roi)
    for name, detector in {
        "padim": Detector("padim", backbone="filters", image_size=spec, num_features=16),
        "patchcore": Detector("patchcore", backbone="filters", image_size=64, rows=200),
        "mvg": Detector("mvg", backbone="filters", image_size=64),
    }.items():
        detector.fit(frames)
        detector.save(folder / f"{name}.safetensors")
        detector.export(folder / f"{name}.onnx")
    for name, suffix in FORMATS.items():
        done, data = cv2.imencode(suffix, frames[0][:, :, ::-1])
        if not done:
            raise RuntimeError(f"OpenCV cannot write {name}")
        (folder / f"picture{suffix}").write_bytes(data.tobytes())
    for suffix, code in {".mp4": "mp4v", ".avi": "MJPG"}.items():
        fourcc = cv2.VideoWriter.fourcc(*code)
        writer = cv2.VideoWriter(str(folder / f"video{suffix}"), fourcc, 10, (96, 96))
        for frame in frames:
            writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
        writer.release()


class Tries:
    """What a worker does; one instance a process."""

    def __init__(self, material: Path) -> None:
        self._material = material
        self._scratch = Path(tempfile.mkdtemp(prefix="fuzz_", dir=material))
        self._expected: dict[str, list[tuple[float, ...]]] = {}

    def run(self, kind: str, index: int, seed: int) -> tuple[str, str]:
        """One try: outcome and what was done."""
        rng = np.random.default_rng([seed, index, sum(kind.encode())])
        reset_peak()
        before = peak_bytes()
        try:
            outcome, told = getattr(self, kind.split(" ")[0])(rng, kind)
        except Exception:
            outcome, told = "traceback", traceback.format_exc()
        grown = peak_bytes() - before
        if grown > LARGEST_BYTES:
            return "over 1 GB", f"{grown / 1e9:.1f} GB: {told}"
        return outcome, told

    def onnx(self, rng: np.random.Generator, kind: str) -> tuple[str, str]:
        """A model file: `info`, then an edge model that judges three frames."""
        from anomalib_lite import EdgeModel

        return self._model(rng, kind, ".onnx", EdgeModel)

    def safetensors(self, rng: np.random.Generator, kind: str) -> tuple[str, str]:
        """A detector file."""
        from anomalib_lite import Detector

        return self._model(rng, kind, ".safetensors", Detector.load)

    def _model(
        self, rng: np.random.Generator, kind: str, suffix: str, load: Any
    ) -> tuple[str, str]:
        import fuzz_models

        from anomalib_lite.edge import AnomalibLiteError

        name = ("padim", "patchcore", "mvg")[int(rng.integers(3))]
        source, target = self._material / f"{name}{suffix}", self._scratch / f"x{suffix}"
        damage = fuzz_models.damaged_onnx if suffix == ".onnx" else fuzz_models.damaged_detector
        while True:
            try:
                told = f"{name}: " + damage(source, target, rng, "forged" in kind)
                break
            except (ValueError, TypeError, OverflowError, UnicodeError, IndexError):
                continue  # not every damage can be written
        if source not in self._expected:
            self._expected[source] = self._answers(load(source))
        self._command("info", target)
        try:
            found = self._answers(load(target))
        except AnomalibLiteError as error:
            if "\n" in str(error) or len(str(error)) > 2000:
                return "traceback", f"{told}: a message of several lines: {error}"
            return ("self-test" if "self-test" in str(error) else "refused"), told
        if found == self._expected[source]:
            return "same answers", told
        return ("forged, answers" if "forged" in kind else "answers differently"), told

    def _answers(self, model: Any) -> list[tuple[float, ...]]:
        frames = np.load(self._material / "frames.npz")["frames"]
        found = [model.predict(frame) for frame in frames]
        return [
            (item.score, item.p_value, float(item.is_anomalous), float(item.anomaly_map.sum()))
            for item in found
        ]

    def _command(self, verb: str, target: Path) -> None:
        """A command on the file; whatever it says has to be one line or the usual table."""
        from anomalib_lite.cli.main import run

        arguments, sys.argv = sys.argv, ["anomalib-lite", verb, str(target)]
        try:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                run()
        except SystemExit:
            pass
        finally:
            sys.argv = arguments

    def picture(self, rng: np.random.Generator, kind: str) -> tuple[str, str]:
        """A picture file, read as a frame."""
        from anomalib_lite.edge import FrameError
        from anomalib_lite.edge.frames import read_frame

        suffix = FORMATS[kind.split(" ")[1]]
        target, told = self._damaged("picture", suffix, rng)
        try:
            frame = read_frame(target)
        except FrameError as error:
            return ("traceback" if "\n" in str(error) else "refused"), told
        return ("read" if frame.size else "traceback"), told

    def video(self, rng: np.random.Generator, kind: str) -> tuple[str, str]:
        """A video file, all frames of it."""
        from anomalib_lite.edge import AnomalibLiteError, FrameError
        from anomalib_lite.edge.sources import open_source

        suffix = VIDEOS[kind.split(" ")[1]]
        target, told = self._damaged("video", suffix, rng)
        try:
            source = open_source(str(target), exif="apply")
            for job in source.jobs():
                with contextlib.suppress(FrameError):
                    job.load()
        except AnomalibLiteError as error:
            return ("traceback" if "\n" in str(error) else "refused"), told
        return "read", told

    def _damaged(self, stem: str, suffix: str, rng: np.random.Generator) -> tuple[Path, str]:
        import fuzz_models

        data = bytearray((self._material / f"{stem}{suffix}").read_bytes())
        told = []
        for _ in range(int(rng.integers(1, 4))):
            told.append(fuzz_models.mutate_bytes(data, rng))
            if not data:
                data = bytearray(b"\0")
        target = self._scratch / f"x{suffix}"
        target.write_bytes(data)
        return target, "; ".join(told)


def reset_peak() -> None:
    """Let the kernel count this process's largest memory anew."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """Largest resident memory since `reset_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def work(connection: Connection, material: str) -> None:
    """A worker: answers tries until told to stop."""
    import torch

    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders of C libraries write there
    tries = Tries(Path(material))
    while (task := connection.recv()) is not None:
        connection.send(tries.run(*task))


class Worker:
    """A worker process, begun anew whenever it hangs or dies."""

    def __init__(self, material: Path) -> None:
        self._material = material
        self._context = multiprocessing.get_context("spawn")
        self._process: Any = None

    def run(self, kind: str, index: int, seed: int) -> tuple[str, str]:
        """The outcome of one try."""
        if self._process is None:
            self._connection, theirs = self._context.Pipe()
            self._process = self._context.Process(
                target=work, args=(theirs, str(self._material)), daemon=True
            )
            self._process.start()
            theirs.close()
        self._connection.send((kind, index, seed))
        try:
            if self._connection.poll(LIMIT_S):
                return self._connection.recv()
            outcome = "hang", f"no answer in {LIMIT_S:.0f} s"
        except EOFError:
            self._process.join()
            outcome = "crash", f"exit code {self._process.exitcode}"
        self.stop()
        return outcome

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.join()
            self._process = None


def plan(models: int, pictures: int, videos: int) -> list[str]:
    """The kind of every try."""
    kinds = [
        ("onnx", "safetensors", "onnx forged", "safetensors forged")[i % 4] for i in range(models)
    ]
    kinds += [f"picture {list(FORMATS)[i % len(FORMATS)]}" for i in range(pictures)]
    kinds += [f"video {list(VIDEOS)[i % len(VIDEOS)]}" for i in range(videos)]
    return kinds


def fuzz(kinds: list[str], seed: int, material: Path, log: Any = None) -> dict[str, Counter[str]]:
    """Run all tries; counts of outcomes by kind."""
    counts: dict[str, Counter[str]] = {}
    worker = Worker(material)
    try:
        for index, kind in enumerate(kinds):
            outcome, told = worker.run(kind, index, seed)
            counts.setdefault(kind, Counter())[outcome] += 1
            if outcome in BROKEN:
                print(f"{kind} {index}: {outcome}: {told}", file=log or sys.stdout, flush=True)
    except KeyboardInterrupt:
        print("interrupted; the counts are of what was tried", file=log or sys.stdout)
    finally:
        worker.stop()
    return counts


def main() -> int:
    """Run and print the table; 1 when anything broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=2000)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz_"))
    started = time.time()
    try:
        prepare_material(folder)
        counts = fuzz(plan(given.models, given.pictures, given.videos), given.seed, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for kind, outcomes in counts.items():
        print(f"{kind:20} {json.dumps(dict(sorted(outcomes.items())))}")
    broken = {name: sum(c[name] for c in counts.values()) for name in BROKEN}
    print(f"{sum(sum(c.values()) for c in counts.values())} tries, {time.time() - started:.0f} s")
    print(", ".join(f"{count} {name}" for name, count in broken.items()))
    return int(any(broken.values()))


if __name__ == "__main__":
    sys.exit(main())
