"""Measure the bars of docs/benchmarks.md on this machine: `benchmarks/bars.py [--only NAME]`.

Compares within one run, repeats, and prints medians and ratios. Needs the real images and weights
of ../shared (or --data and --weights); figures that do not need them are measured in any case.
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
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
REPEATS = 5


def child(code: str, *arguments: str, env: dict[str, str] | None = None) -> dict[str, float]:
    """Run Python code in a fresh process; its last line is JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **(env or {})},
    )
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


FIT = """
import json, resource, sys, time
from pathlib import Path
import numpy as np, torch
from anomalib_lite import Detector
from anomalib_lite.edge import prepare, read_frame
paths = sorted(Path(sys.argv[1]).iterdir())
detector = Detector("padim", backbone="resnet18")
backbone, spec = detector.backbone, detector.spec
def plain():
    for start in range(0, len(paths), 16):
        frames = [prepare(read_frame(path), spec) for path in paths[start:start + 16]]
        with torch.no_grad():
            backbone(backbone.normalise(torch.from_numpy(np.stack(frames))))
plain()
ratios, plains, fits = [], [], []
for _ in range(int(sys.argv[2])):
    start = time.perf_counter(); plain(); middle = time.perf_counter()
    detector.fit(paths); end = time.perf_counter()
    plains.append(middle - start); fits.append(end - middle)
median = lambda values: float(np.median(values))
print(json.dumps({"images": len(paths), "decode_and_backbone_s": median(plains), "fit_s":
median(fits),
                  "ratio": median([f / p for f, p in zip(fits, plains)])}))
"""

EXPORT = """
import json, sys
from pathlib import Path
import torch
from anomalib_lite import Detector, EdgeModel
detector = Detector("padim", backbone="resnet18")
detector.fit(sys.argv[1])
report = detector.export(sys.argv[2] + "/padim.onnx")
detector.save(sys.argv[2] + "/padim.safetensors")
class Bare(torch.nn.Module):
    def __init__(self, backbone):
        super().__init__(); self.backbone = backbone
    def forward(self, frames):
        maps = list(self.backbone.extract(self.backbone.normalise(frames)).values())
        return maps[0], maps[1], maps[2]
torch.onnx.export(Bare(detector.backbone).eval(), (torch.zeros(1, 256, 256, 3, dtype=torch.uint8),),
    sys.argv[2] + "/bare.onnx", dynamo=False, opset_version=17, input_names=["frames"])
edge = EdgeModel(sys.argv[2] + "/padim.onnx")
worst = 0.0
for path in sorted(Path(sys.argv[1]).parents[1].glob("test/*/*"))[::4]:
    a, b = detector.predict(path).score, edge.predict(path).score
    worst = max(worst, abs(a - b) / abs(a))
print(json.dumps({"file_mb": report.size_bytes / 1e6, "probe_score_difference":
report.parity.score_difference,
                  "test_frames_score_difference": worst}))
"""

LATENCY = """
import json, sys, time
import numpy as np, onnxruntime
from anomalib_lite.edge.footprint import shared_allocator
options = onnxruntime.SessionOptions(); options.intra_op_num_threads = 2
if shared_allocator(onnxruntime):
    options.add_session_config_entry("session.use_env_allocators", "1");
    options.enable_mem_pattern = False
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
frame = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
for _ in range(20): session.run(None, {"frames": frame})
times = []
for _ in range(150):
    start = time.perf_counter(); session.run(None, {"frames": frame});
    times.append(time.perf_counter() - start)
print(json.dumps({"ms": float(np.median(times)) * 1e3}))
"""

PEAK = """
import json, resource, sys
from pathlib import Path
from anomalib_lite import Detector
paths = sorted(Path(sys.argv[1]).iterdir())
count = int(sys.argv[2])
paths = [paths[i % len(paths)] for i in range(count)]
Detector(sys.argv[3], backbone=sys.argv[4]).fit(paths)
print(json.dumps({"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""

EDGE = """
import json, sys
class Block:
    names = {"torch", "timm", "sklearn", "scipy", "albumentations", "pandas", "matplotlib", "onnx"}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names: raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
from anomalib_lite.edge import EdgeModel
model = EdgeModel(sys.argv[1])
verdict = model.predict(sys.argv[2])
lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({"resident_mib": int(lines["VmRSS"].split()[0]) / 1024,
                  "peak_mib": int(lines["VmHWM"].split()[0]) / 1024, "score": verdict.score}))
"""

SEEDED = """
import json, hashlib, sys
from pathlib import Path
from anomalib_lite import Detector
detector = Detector("padim", backbone=sys.argv[3], seed=0).fit(sys.argv[1])
out = Path(sys.argv[2])
detector.save(out / "a.safetensors"); detector.export(out / "a.onnx")
print(json.dumps({name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in
("a.safetensors", "a.onnx")}))
"""

SHIPPED = """
import json, resource, sys, time
from anomalib_lite import Detector
start = time.perf_counter()
detector = Detector(sys.argv[3]).fit(sys.argv[1])
fit_s = time.perf_counter() - start
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
report = detector.export(sys.argv[2] + "/" + sys.argv[3] + ".onnx")
print(json.dumps({"fit_s": fit_s, "peak_mb": peak_mb, "file_mb": report.size_bytes / 1e6}))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data/mvtec_ad/bottle")
    parser.add_argument("--weights", type=Path, default=SHARED / "weights")
    parser.add_argument("--only", help="one of: " + ", ".join(BARS))
    options = parser.parse_args()
    if not options.data.is_dir() or not options.weights.is_dir():
        sys.exit(f"needs {options.data} and {options.weights}; name others with --data, --weights")
    os.environ["ANOMALIB_LITE_WEIGHTS"] = str(options.weights)
    good = options.data / "train" / "good"
    for name, measure in BARS.items():
        if options.only in (None, name):
            print(f"== {name}", flush=True)
            measure(good)


def fit_time(good: Path) -> None:
    """Fit, calibration included, against decoding + one backbone pass."""
    show(child(FIT, str(good), str(REPEATS)))


def edge_file(good: Path) -> None:
    """Size, parity, latency against the bare backbone, resident memory without torch."""
    with tempfile.TemporaryDirectory() as folder:
        show(child(EXPORT, str(good), folder))
        pairs = []
        for _ in range(REPEATS):
            bare = child(LATENCY, f"{folder}/bare.onnx")["ms"]
            pairs.append((bare, child(LATENCY, f"{folder}/padim.onnx")["ms"]))
        show(
            {
                "bare_backbone_ms": median(bare for bare, _ in pairs),
                "padim_ms": median(padim for _, padim in pairs),
                "ratio": median(padim / bare for bare, padim in pairs),
            }
        )
        frame = next(iter(sorted(good.iterdir())))
        show(child(EDGE, f"{folder}/padim.onnx", str(frame)))


def default_path(good: Path) -> None:
    """What a user gets who names nothing but a folder, and `padim` on the same shipped backbone."""
    with tempfile.TemporaryDirectory() as folder:
        times: dict[str, list[float]] = {}
        for name in ("patchcore", "padim"):
            show({"detector": name, **child(SHIPPED, str(good), folder, name)})
            times[name] = []
        for _ in range(REPEATS):
            for name, found in times.items():
                found.append(child(LATENCY, f"{folder}/{name}.onnx")["ms"])
        frame = next(iter(sorted(good.iterdir())))
        for name, found in times.items():
            edge = child(EDGE, f"{folder}/{name}.onnx", str(frame))
            show({"detector": name, "ms": median(found), "least_ms": min(found), **edge})


def peak_memory(good: Path) -> None:
    """Peak of a fit on 100 and on 1000 images."""
    for detector in ("padim", "mvg"):
        small = child(PEAK, str(good), "100", detector, "resnet18")["peak_mb"]
        large = child(PEAK, str(good), "1000", detector, "resnet18")["peak_mb"]
        show(
            {
                "detector": detector,
                "peak_100_mb": small,
                "peak_1000_mb": large,
                "ratio": large / small,
            }
        )


def start_up(good: Path) -> None:
    """`import anomalib_lite` and `anomalib-lite --help`."""
    del good
    program = Path(sys.executable).parent / "anomalib-lite"
    imports, helps = [], []
    for _ in range(2 * REPEATS):
        imports.append(seconds([sys.executable, "-c", "import anomalib_lite"]))
        helps.append(seconds([str(program), "--help"]))
    bare = median(seconds([sys.executable, "-c", "pass"]) for _ in range(REPEATS))
    show({"python_s": bare, "import_s": median(imports), "help_s": median(helps)})


def same_bytes(good: Path) -> None:
    """Two processes, one seed: are the files the same?"""
    for backbone in ("filters", "resnet18"):
        with tempfile.TemporaryDirectory() as folder:
            first = child(SEEDED, str(good), folder, backbone)
            second = child(SEEDED, str(good), folder, backbone)
        show({"backbone": backbone, "identical": first == second})


def seconds(command: list[str]) -> float:
    """Wall time of a process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def show(figures: dict[str, object]) -> None:
    """One line of figures."""
    parts = [
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in figures.items()
    ]
    print("   " + ", ".join(parts), flush=True)


BARS: dict[str, Callable[[Path], None]] = {
    "fit-time": fit_time,
    "edge-file": edge_file,
    "default": default_path,
    "peak-memory": peak_memory,
    "start-up": start_up,
    "same-bytes": same_bytes,
}

if __name__ == "__main__":
    main()
