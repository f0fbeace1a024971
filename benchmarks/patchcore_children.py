"""Fits that `patchcore.py` times, each in a fresh process: ours, and anomalib's in its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from anomalib_child import TORCHVISION

ROOT = Path(__file__).resolve().parents[1]

FIT = """
import json, resource, sys, time
from pathlib import Path
from anomalib_lite import Detector
paths = sorted(Path(sys.argv[1]).iterdir())[:int(sys.argv[2])]
detector = Detector("patchcore", backbone="resnet18", **json.loads(sys.argv[3]))
start, cpu = time.perf_counter(), time.process_time()
detector.fit(paths)
print(json.dumps({"images": len(paths), "fit_s": time.perf_counter() - start,
                  "cpu_s": time.process_time() - cpu,
                  "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                  "estimate_mb": detector.memory_bytes() / 1e6}))
"""

ANOMALIB = (
    """
import json, os, resource, sys, tempfile, time
from pathlib import Path
import torch
"""
    + TORCHVISION
    + """
import numpy as np, cv2
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
torch.set_num_threads(2)
paths = sorted(Path(sys.argv[1]).iterdir())[:int(sys.argv[2])]
model = PatchcoreModel(layers=["layer2", "layer3"], backbone="resnet18", pre_trained=False)
model.train()
start, cpu = time.perf_counter(), time.process_time()
rows = []
with torch.no_grad():
    for first in range(0, len(paths), 16):
        frames = [cv2.resize(cv2.imread(str(p)), (256, 256), interpolation=cv2.INTER_AREA)
                  for p in paths[first:first + 16]]
        batch = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255
        rows.append(model(batch))
    try:
        model.subsample_embedding(0.1)
    except TypeError:
        model.subsample_embedding(torch.vstack(rows), 0.1)
print(json.dumps({"images": len(paths), "fit_s": time.perf_counter() - start,
                  "cpu_s": time.process_time() - cpu,
                  "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                  "bank_rows": int(model.memory_bank.shape[0])}))
"""
)


def child(python: str, code: str, *arguments: str) -> dict[str, float]:
    """Run code in a fresh process; its last line is JSON."""
    environment = dict(os.environ)
    if code is FIT:
        environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [python, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        sys.exit(f"{python} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def show(name: str, result: dict[str, float]) -> None:
    """One line of figures."""
    print(
        f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in result.items()), flush=True
    )
