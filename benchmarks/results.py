"""Measure the detectors on the real images beside the project, and write docs/results.md.

    python benchmarks/results.py --seeds 3
    python benchmarks/results.py --resume

Runs `anomalib-lite evaluate` from the repository root on every set that is there, with `mvg`,
`padim` and `patchcore` on `resnet18` (where its weights are), `pdn_edge` and `filters`, and
replaces what lies between the markers in docs/results.md. Sets that are not there are named with
the reason. Nothing is tuned on these test images.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.evaluation.tables import category_table, provenance_text

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
DETECTORS = ("mvg", "padim", "patchcore")
SETS = (
    ("mvtec_ad", "bottle"),
    ("mvtec_ad", "screw"),
    ("mvtec_loco_flat", "juice_bottle"),
    (".", "magnetic_tile"),
    (".", "hazelnut_toy"),
)
"""Folder below the data folder, and category; all are in MVTec AD's layout."""


def find_sets(data: str) -> tuple[list[str], list[str]]:
    """Specifications of the sets that are there, and why others are left out."""
    found, absent = [], []
    for folder, category in SETS:
        path = data if folder == "." else f"{data}/{folder}"
        if (ROOT / path / category / "train" / "good").is_dir():
            found.append(f"mvtec:{path}:{category}")
        else:
            absent.append(f"{category}: no folder {path}/{category}/train/good")
    return found, absent


def find_backbones(weights: str) -> tuple[list[str], list[str]]:
    """Backbones that can be had, and why another is left out."""
    if (ROOT / weights / "resnet18.safetensors").is_file():
        return ["resnet18", "pdn_edge", "filters"], []
    return ["pdn_edge", "filters"], [f"resnet18: no {weights}/resnet18.safetensors"]


def run_evaluation(options: argparse.Namespace, sets: list[str], backbones: list[str]) -> str:
    """Run the command from the repository root and return it; ends the script on failure."""
    words = ["evaluate", *(word for name in sets for word in ("--data", name))]
    words += [word for name in DETECTORS for word in ("--detector", name)]
    words += [word for name in backbones for word in ("--backbone", name)]
    words += ["--seeds", str(options.seeds), "--image-size", "256", "--out", options.out]
    program = [sys.executable, "-c", "from anomalib_lite.cli.main import run; run()"]
    environment = {**os.environ, "ANOMALIB_LITE_WEIGHTS": options.weights}
    extra = ["--resume"] if options.resume else []
    done = subprocess.run([*program, *words, *extra], cwd=ROOT, env=environment, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return f"ANOMALIB_LITE_WEIGHTS={options.weights} " + shlex.join(["anomalib-lite", *words])


def timing_table(summary: dict[str, Any], timing: dict[str, Any]) -> str:
    """Seconds and memory of each run of seed 0."""
    lines = [
        "| data | detector | backbone | fit, s | one frame, ms | streamed, ms | peak memory, MB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for run in summary["runs"]:
        if run["seed"]:
            continue
        took = timing[run["key"]]
        lines.append(
            f"| {run['kind']}:{run['category']} | {run['detector']} | {run['backbone']} "
            f"| {took['fit_seconds']:.1f} | {took['latency_ms_batch_1']:.1f} "
            f"| {took['score_ms_per_frame']:.1f} | {took['peak_memory_bytes'] / 1e6:.0f} |"
        )
    return "\n".join(lines)


def section(command: str, absent: list[str], folder: Path) -> str:
    """Everything between the markers."""
    summary = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    timing = json.loads((folder / "timing.json").read_text(encoding="utf-8"))
    parts = [
        category_table(summary["by_category"]),
        "",
        "Percent; mean ± standard error over seeds where there are several. n = test images behind",
        "a rate; *promised* is the false-reject rate that the held-out images can vouch for.",
        "",
        "## Time and memory",
        "",
        timing_table(summary, timing),
        "",
        "Seed 0. *One frame*: median from a decoded frame to the verdict, torch, batch 1.",
        "*Streamed*: a frame's share, decoding included, batch 16. The machine was shared, busy:",
        "these are upper bounds, good for comparing rows only roughly.",
        "",
        "## How these figures were made",
        "",
        provenance_text(summary["provenance"]),
        "",
        "Run from the repository root as",
        "",
        "```",
        command,
        "```",
    ]
    if absent:
        parts += ["", "Left out:", "", *(f"- {line}" for line in absent)]
    return "\n".join(parts)


def main() -> None:
    """Evaluate what is there and rewrite the section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data", help="folder of the image sets")
    parser.add_argument("--weights", default="../shared/weights", help="folder of the weights")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="build/results", help="folder for the runs")
    parser.add_argument("--resume", action="store_true", help="keep finished runs")
    parser.add_argument("--doc", default="docs/results.md", help="file with the markers")
    options = parser.parse_args()
    sets, no_sets = find_sets(options.data)
    backbones, no_backbones = find_backbones(options.weights)
    if not sets:
        sys.exit(f"nothing to measure: {'; '.join(no_sets)}")
    command = run_evaluation(options, sets, backbones)
    path = ROOT / options.doc
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"{path}: expected the markers {BEGIN} and {END} once each")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    made = section(command, no_sets + no_backbones, ROOT / options.out)
    write_bytes_atomic(path, f"{before}{BEGIN}\n\n{made}\n\n{END}{after}".encode())
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
