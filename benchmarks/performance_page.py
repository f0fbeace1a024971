"""docs/performance.md from what `performance.py` measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from performance_plot import Network

from anomalib_lite.edge.files import write_bytes_atomic

KINDS = {
    "frame": "1024×1024 frame",
    "network": "network alone",
    "jpeg": "1024×1024 JPEG",
    "large": "4096×3000 frame",
}
BUSY = 0.5
"""Load a core, before a run starts, from which times are not to be trusted."""
FIRST = """# Performance

Milliseconds from a frame to a verdict, batch 1, network input 256×256. `benchmarks/performance.py`
fits, exports and times everything, and writes this page:

```bash
python3 -m venv peers/anomalib     # what is not there is skipped; install PyTorch's CPU build first
peers/anomalib/bin/pip install 'anomalib==2.7.*' openvino
python3 -m venv peers/anomavision
peers/anomavision/bin/pip install anomavision onnx onnxruntime
python benchmarks/performance.py --peers peers
```
"""


def write_page(path: Path, found: dict[str, Any], networks: Sequence[Network]) -> None:
    """Write the page; every figure is of one run."""
    parts = [
        FIRST,
        _conditions(found),
        "## From frame to verdict\n",
        _times(found["judges"]),
        _ratios(found["judges"]),
        "## What the machine allows\n",
        _machine(found, networks),
        "## Preparation of a large frame\n",
        _preparation(found),
        "## A fresh edge process, and what is installed\n",
        _process(found),
    ]
    write_bytes_atomic(path, "\n".join(parts).encode())


def _conditions(found: dict[str, Any]) -> str:
    before, after = found["load"]
    cores = os.cpu_count() or 1
    names = ("numpy", "opencv-python-headless", "opencv-python", "onnxruntime", "openvino")
    versions = ", ".join(f"{name} {told}" for name in names if (told := _version(name)))
    busy = (
        " **The machine was busy**: times are several times those of a quiet one; only their "
        "order, and figures of processor time, mean anything. Run it again on a quiet machine."
        if before > BUSY * cores
        else ""
    )
    return (
        f"Measured with {found['threads']} threads on {cores} cores of {_processor()}, Python "
        f"{platform.python_version()}, {versions}; {found['rounds']} rounds in which every judge "
        f"had a turn of {found['frames']} frames; medians, and the least in "
        f"brackets. Load of the machine before the run {before:.1f}, after it {after:.1f}.{busy}\n"
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except ImportError:
        return ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _times(judges: list[dict[str, Any]]) -> str:
    rows = [f"| judge | engine | {' | '.join(KINDS.values())} |", "|---|---|" + "---|" * len(KINDS)]
    for judge in judges:
        cells = [
            f"{judge['ms'][kind]:.1f} ({judge['least_ms'][kind]:.1f})"
            if kind in judge["ms"]
            else "–"
            for kind in KINDS
        ]
        rows.append(f"| {judge['name']} | {judge['engine']} | {' | '.join(cells)} |")
    note = (
        "\n`default` is patchcore with 4,000 rows on `pdn_edge`. *bare* is the backbone alone, "
        "with the same preparation and engine. A frame is uint8 in memory; anomalib and "
        "anomavision get theirs as their own inferencers take it.\n"
    )
    return "\n".join(rows) + "\n" + note


def _ratios(judges: list[dict[str, Any]]) -> str:
    """Ours beside the bare backbone in the same engine, and beside the quickest peer."""
    frame = {(j["name"], j["engine"]): j["ms"]["frame"] for j in judges if "frame" in j["ms"]}
    rows = ["| ours | engine | × bare backbone | quickest peer / ours |", "|---|---|---|---|"]
    for (name, engine), taken in frame.items():
        if name.startswith(("bare", "anoma")):
            continue
        kind, backbone = ("patchcore", "pdn_edge") if name == "default" else name.split()
        bare = frame.get((f"bare {backbone}", engine))
        peers = {
            f"{peer} on {on}": ms
            for (peer, on), ms in frame.items()
            if peer.startswith("anoma") and peer.endswith(f" {kind}")
        }
        quickest = min(peers, key=lambda peer: peers[peer], default="")
        beside = f"{peers[quickest] / taken:.1f} ({quickest})" if quickest else "–"
        times = f"{taken / bare:.2f}" if bare else "–"
        rows.append(f"| {name} | {engine} | {times} | {beside} |")
    return "\n".join(rows) + "\n"


def _machine(found: dict[str, Any], networks: Sequence[Network]) -> str:
    machine = found["machine"]
    rows = ["| network | GFLOP | MB moved | ms | GFLOP/s reached | of the matrix product |"]
    rows.append("|---|---|---|---|---|---|")
    rows += [
        f"| {item.name} | {item.gflop:.2f} | {item.megabytes:.0f} | {item.ms:.1f} | "
        f"{item.reached:.0f} | {100 * item.reached / machine['gflops']:.0f} % |"
        for item in networks
    ]
    return (
        f"A 1024×1024 float32 product reaches **{machine['gflops']:.0f} GFLOP/s**, a copy in "
        f"memory {machine['gigabytes_s']:.1f} GB/s (read and written). Networks "
        "in their quickest float32 engine; *moved* is what all nodes read and "
        "write were nothing fused, an upper bound.\n\n"
        "![roofline](images/roofline.svg)\n\n" + "\n".join(rows) + "\n"
    )


def _preparation(found: dict[str, Any]) -> str:
    told, margin = found["machine"]["preparation"], found["margin_ms"]
    more = told["large_ms"] - told["small_ms"]
    threads = found["threads"]
    text = (
        f"A 1024×1024 frame is prepared in {told['small_ms']:.1f} ms ({told['small_cpu_ms']:.1f} "
        f"ms of processor time), a 4096×3000 one in {told['large_ms']:.1f} ms "
        f"({told['large_cpu_ms']:.1f}): {more:.1f} ms more. "
    )
    if more <= margin:
        return text + f"The bar is {margin:g} ms.\n"
    per_byte = told["large_cpu_ms"] / told["large_mb"]
    return text + (
        f"The bar of {margin:g} ms is **missed**. Reading its {told['large_mb']:.1f} MB once takes "
        f"{told['read_once_ms']:.1f} ms here, so memory is not what holds it: OpenCV's area resize "
        f"by a broken factor (3000 / 256) takes {per_byte:.2f} ns a byte of one core, "
        f"{told['large_cpu_ms'] / threads:.1f} ms at best on {threads} cores, which share it "
        "(`edge/resize.py`; OpenCV alone leaves it to one). Whole factors cost less than half: a "
        "4096×3072 frame. Fewer bytes would need another resize, and with it other scores.\n"
    )


def _process(found: dict[str, Any]) -> str:
    start = found["start"]
    rows = ["| package with what it requires | packages | MB | largest |", "|---|---|---|---|"]
    for name, item in found["install"].items():
        largest = ", ".join(f"{key} {value:.0f}" for key, value in item["largest"].items())
        rows.append(f"| {name} | {item['packages']} | {item['mb']:.0f} | {largest} |")
    return (
        f"The default detector in a fresh process: import {start['import_s']:.2f} s, load and "
        f"self-test {start['load_and_self_test_s']:.2f} s, first verdict "
        f"{start['first_verdict_s']:.2f} s: **{start['total_s']:.2f} s** "
        f"(the whole process {start['process_s']:.2f} s), **{start['resident_mib']:.0f} MiB** "
        "resident.\n\n" + "\n".join(rows) + "\n"
    )
