"""Measure the metrics at full resolution: value, seconds and peak memory.

    python benchmarks/metrics.py
    python benchmarks/metrics.py --install-anomalib /tmp/anomalib-env
    python benchmarks/metrics.py --anomalib-python /path/to/other/env/bin/python

The first form measures this project: AUPRO and the pixel metrics on 100 maps of 1024 x 1024, and
the same while the maps are streamed, so that only the metric's own memory is seen. The others also
run anomalib's AUPRO, from another environment, on the same arrays in its own process, and
prints the ratios. Both sides use one thread unless `--threads` says otherwise.

CPU seconds are steadier than seconds on a shared machine. Memory is the process's peak resident
set, imports and arrays included; "beside inputs" is the peak less what was resident when the clock
started.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from anomalib_child import TORCHVISION

OURS = """
import json, resource, sys, time
import numpy as np
from anomalib_lite import metrics

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**30

folder, name, streamed = sys.argv[1], sys.argv[2], sys.argv[3] == "streamed"
if streamed:
    stored = [np.load(f"{folder}/{kind}.npy", mmap_mode="r") for kind in ("maps", "masks")]
    maps, masks = (
        (lambda rows=rows: (np.fromfile(rows.filename, rows.dtype, rows[0].size,
                                        offset=rows.offset + i * rows[0].nbytes)
                            .reshape(rows.shape[1:]) for i in range(len(rows))))
        for rows in stored
    )
else:
    maps, masks = (np.load(f"{folder}/{kind}.npy") for kind in ("maps", "masks"))
before, start, cpu = resident(), time.perf_counter(), time.process_time()
value = getattr(metrics, name)(maps, masks)
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
if name == "pixel_metrics":
    value = value.auroc
elif name == "aupimo":
    value = value.mean
print(json.dumps({"value": float(value), "seconds": seconds, "cpu_seconds": cpu,
                  "peak_gib": peak, "own_gib": peak - before}))
"""

ANOMALIB = (
    """
import json, resource, sys, time
import numpy as np, torch
"""
    + TORCHVISION
    + """
from anomalib.metrics.aupro import _AUPRO

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**30

torch.set_num_threads(int(sys.argv[3]))
maps = torch.from_numpy(np.load(sys.argv[1] + "/maps.npy"))
masks = torch.from_numpy(np.load(sys.argv[1] + "/masks.npy"))
before, start, cpu = resident(), time.perf_counter(), time.process_time()
metric = _AUPRO(fpr_limit=0.3)
metric.update(maps, masks)
value = float(metric.compute())
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"value": value, "seconds": seconds, "cpu_seconds": cpu,
                  "peak_gib": peak, "own_gib": peak - before}))
"""
)


def write_arrays(folder: Path, count: int, side: int) -> None:
    """Write float32 noise maps with a signal on three discs in every second mask (0 or 1)."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (count, side, side)
    maps = np.lib.format.open_memmap(folder / "maps.npy", "w+", np.float32, shape)
    masks = np.lib.format.open_memmap(folder / "masks.npy", "w+", np.uint8, shape)
    for index in range(count):
        mask = np.zeros((side, side), np.uint8)
        for _ in range(3 * (index % 2)):
            x, y = (int(v) for v in rng.integers(side // 10, side - side // 10, 2))
            cv2.circle(mask, (x, y), int(rng.integers(side // 200 + 1, side // 16)), 1, -1)
        maps[index] = rng.standard_normal((side, side), dtype=np.float32) + 1.5 * mask
        masks[index] = mask


def run(python: str, code: str, arguments: list[str], threads: int) -> dict[str, float]:
    """Run `code` in a process of its own and return what it measured."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    if code is OURS:
        environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    done = subprocess.run(
        [python, "-c", code, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode:
        sys.exit(f"{python} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def show(name: str, result: dict[str, float]) -> None:
    """Print one row of the table."""
    print(
        f"{name:38} {result['value']:.10f} {result['seconds']:7.2f} s "
        f"({result['cpu_seconds']:.2f} s CPU) "
        f"{result['peak_gib']:7.2f} GiB peak {result['own_gib']:7.2f} GiB beside inputs",
        flush=True,
    )


def install_anomalib(folder: Path) -> Path:
    """An environment of its own with anomalib 2.7 on this project's torch; its interpreter."""
    python = folder / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        pinned = {
            line.split("==")[0]: line.strip()
            for line in (Path(__file__).parents[1] / "constraints.txt").read_text().splitlines()
        }
        torch, vision = pinned["torch"], pinned["torchvision"]
        subprocess.run([*pip, torch], check=True)
        subprocess.run([*pip, torch, vision, "anomalib==2.7.*"], check=True)
    return python


def main() -> None:
    """Write the arrays once, then measure every case in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="number of maps")
    parser.add_argument("--side", type=int, default=1024, help="height and width of a map in px")
    parser.add_argument("--threads", type=int, default=1, help="threads of either side")
    parser.add_argument(
        "--anomalib-python", help="interpreter of an environment with anomalib, to compare with"
    )
    parser.add_argument(
        "--install-anomalib", type=Path, help="make that environment in this folder first"
    )
    options = parser.parse_args()
    if options.install_anomalib:
        options.anomalib_python = str(install_anomalib(options.install_anomalib))
    with tempfile.TemporaryDirectory() as folder:
        write_arrays(Path(folder), options.count, options.side)
        pixels = options.count * options.side**2
        print(f"{options.count} maps of {options.side} x {options.side}: {pixels:.3g} pixels")
        ours = None
        for name in ("aupro", "pixel_metrics", "aupimo"):
            for how in ("in memory", "streamed"):
                result = run(sys.executable, OURS, [folder, name, how], options.threads)
                show(f"anomalib_lite {name}, {how}", result)
                ours = ours or result
        if options.anomalib_python and ours:
            arguments = [folder, "-", str(options.threads)]
            theirs = run(options.anomalib_python, ANOMALIB, arguments, options.threads)
            show("anomalib AUPRO, in memory", theirs)
            for key in ("seconds", "cpu_seconds", "peak_gib", "own_gib"):
                print(f"anomalib / anomalib_lite, {key}: {theirs[key] / ours[key]:.1f} x")
            print(f"difference of the values: {theirs['value'] - ours['value']:+.2e}")


if __name__ == "__main__":
    main()
