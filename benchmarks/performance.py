"""Milliseconds from a camera's frame to a verdict, beside others; writes docs/performance.md.

    benchmarks/performance.py [--peers DIR] [--work DIR] [--rounds 9] [--frames 20] [--no-write]

`--peers DIR` names a folder with an environment for each of `anomalib` and `anomavision`
(`DIR/anomalib/bin/python`, made as docs/performance.md says); what is not there is skipped with a
line. Every judge is a process of its own that waits for its turn: one round gives each a turn, and
the median over all rounds counts. `--work DIR` keeps fitted files for another run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from performance_page import write_page
from performance_plot import Machine, Network, write_roofline

ROOT = Path(__file__).resolve().parents[1]
WORKERS = ROOT / "benchmarks" / "performance_workers"
PARTS = ROOT / "data" / "parts" / "flange" / "train" / "good"
OURS = ("default", "padim pdn_edge", "padim resnet18", "patchcore resnet18")
BARE = ("bare pdn_edge", "bare resnet18")
ENGINES = ("onnxruntime", "openvino", "openvino-bf16")
PEERS = {
    "anomalib": [(m, e) for m in ("padim", "patchcore") for e in ("torch", "openvino")],
    "anomavision": [("padim", "onnxruntime")],
}
LARGE_MARGIN_MS = 4.0


@dataclass
class Judge:
    """A process that judges when it is asked to.

    Attributes:
        name: of the detector or network.
        engine: what computes it.
        kinds: what it can be asked for: `frame`, `jpeg`, `large`, `network`.
        ms: kind -> times of all rounds.
    """

    name: str
    engine: str
    process: subprocess.Popen[str]
    kinds: list[str] = field(default_factory=list)
    ms: dict[str, list[float]] = field(default_factory=dict)

    def turn(self, kind: str, repeats: int) -> None:
        """Judge a few times."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"kind": kind, "repeats": repeats}) + "\n")
        self.process.stdin.flush()
        self.ms.setdefault(kind, []).extend(self.answer()["ms"])

    def answer(self) -> dict[str, Any]:
        """The next line; raises `EOFError` where the process has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(f"{self.name} on {self.engine} ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def started(name: str, engine: str, command: list[str], log: Path) -> Judge | None:
    """A judge that is ready, or None with a line that says why not."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log.open("w"),
        text=True,
        env=environment if command[0] == sys.executable else None,
    )
    judge = Judge(name, engine, process)
    try:
        judge.kinds = judge.answer()["kinds"]
    except (EOFError, ValueError):
        last = [line.strip() for line in log.read_text().splitlines() if line.strip()]
        print(f"skipped: {name} on {engine}: {last[-1][:200] if last else 'no answer'}", flush=True)
        process.kill()
        return None
    print(f"ready: {name} on {engine}", flush=True)
    return judge


def commands(folder: Path, jpeg: str, given: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """Name, engine and command of every judge; a line for each peer that is not installed."""
    threads = str(given.threads)
    for names, worker in ((OURS, "ours.py"), (BARE, "bare.py")):
        for name in names:
            for engine in ENGINES:
                script = [sys.executable, str(WORKERS / worker)]
                yield (name, engine, *script, str(folder / f"{name}.onnx"), engine, threads, jpeg)
    good = str(folder / "parts" / "good")
    for peer, kinds in PEERS.items():
        python = (given.peers or Path("/none")) / peer / "bin" / "python"
        if not python.is_file():
            print(f"skipped: {peer} is not installed in {python.parents[1]}", flush=True)
            continue
        for model, engine in kinds:
            script = [str(python), str(WORKERS / f"{peer}_peer.py"), model, engine, threads, jpeg]
            yield (f"{peer} {model}", engine, *script, good, str(folder))


def measured(judges: list[Judge], given: argparse.Namespace) -> None:
    """Rounds of turns; a judge that fails at a kind of frame loses that kind."""
    for done in range(given.rounds):
        for kind in ("frame", "network", "jpeg", "large"):
            for judge in judges:
                if kind not in judge.kinds:
                    continue
                try:
                    judge.turn(kind, max(3, given.frames // (4 if kind == "large" else 1)))
                except (EOFError, OSError) as error:
                    print(f"skipped: {error}", flush=True)
                    judge.kinds = []
        print(f"round {done + 1} of {given.rounds}, load {os.getloadavg()[0]:.1f}", flush=True)


def child(*command: str) -> dict[str, Any]:
    """The JSON object that a script prints last."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)} if command[0] == sys.executable else None,
    )
    if done.returncode:
        sys.exit(f"{command[1]} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def models(folder: Path) -> dict[str, Any]:
    """What was fitted and exported in a folder, now or in an earlier run."""
    told = folder / "models.json"
    if not told.is_file():
        script = str(ROOT / "benchmarks" / "performance_models.py")
        found = child(sys.executable, script, str(PARTS), str(folder))
        told.write_text(json.dumps(found))
    found = json.loads(told.read_text())
    return dict(found)


def starts(folder: Path, jpeg: str, rounds: int) -> dict[str, float]:
    """Medians over fresh edge processes with the default detector."""
    script = [sys.executable, str(WORKERS / "start.py"), str(folder / "default.onnx"), jpeg]
    runs = []
    for _ in range(rounds):
        start = time.perf_counter()
        runs.append(child(*script))
        runs[-1]["process_s"] = time.perf_counter() - start
    return {name: median(run[name] for run in runs) for name in runs[0]}


def installs(peers: Path | None) -> dict[str, Any]:
    """Megabytes of each package and what it requires."""
    found = {}
    pythons = {"anomalib-lite": sys.executable}
    for peer in PEERS:
        python = (peers or Path("/none")) / peer / "bin" / "python"
        if python.is_file():
            pythons[peer] = str(python)
    for name, python in pythons.items():
        found[name] = child(python, str(WORKERS / "installed.py"), name)
    return found


def networks(judges: list[Judge], work: dict[str, list[float]]) -> list[Network]:
    """Each network's quickest float32 engine, for the roofline."""
    best: dict[str, float] = {}
    for judge in judges:
        if judge.name in work and "network" in judge.ms and not judge.engine.endswith("bf16"):
            taken = median(judge.ms["network"])
            best[judge.name] = min(taken, best.get(judge.name, taken))
    return [Network(name, *work[name], ms) for name, ms in best.items()]


def main() -> None:
    """Fit, start all judges, take turns, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, help="folder with their environments")
    parser.add_argument("--work", type=Path, help="keep fitted files here")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--frames", type=int, default=20, help="a turn's frames")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", help="judges whose name has this in it")
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    loads = [os.getloadavg()[0]]
    with contextlib.ExitStack() as stack:
        folder = given.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        told = models(folder)
        jpeg = str(folder / "frame.jpg")
        judges = []
        for name, engine, *command in commands(folder, jpeg, given):
            if given.only is None or given.only in name:
                judge = started(name, engine, list(command), folder / f"{name} {engine}.log")
                judges += [judge] if judge else []
        measured(judges, given)
        for judge in judges:
            judge.process.kill()
        script = str(ROOT / "benchmarks" / "performance_machine.py")
        machine = child(sys.executable, script, str(given.threads), jpeg)
        found = {
            "threads": given.threads,
            "rounds": given.rounds,
            "frames": given.frames,
            "judges": [
                {
                    "name": judge.name,
                    "engine": judge.engine,
                    "ms": {kind: median(times) for kind, times in judge.ms.items()},
                    "least_ms": {kind: min(times) for kind, times in judge.ms.items()},
                }
                for judge in judges
            ],
            "machine": machine,
            "start": starts(folder, jpeg, min(given.rounds, 5)),
            "install": installs(given.peers),
            "load": [*loads, os.getloadavg()[0]],
            "margin_ms": LARGE_MARGIN_MS,
        }
        drawn = networks(judges, told["work"])
        roof = Machine(machine["gflops"], machine["gigabytes_s"])
        if given.no_write:
            print(json.dumps(found, indent=2))
            return
        write_roofline(ROOT / "docs" / "images" / "roofline.svg", roof, drawn)
        write_page(ROOT / "docs" / "performance.md", found, drawn)


if __name__ == "__main__":
    main()
