"""Commands killed at random moments, for `soak.py`: what is left is absent, old, or whole.

Each try is a process forked from one that has imported torch already, so that the moments fall into
the command's work and not into imports.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

VOLATILE = ("timing.json", "run.json", "report.html")
"""Files that tell times; they have to be whole, not the same."""
FAST = ("--image-size", "64")
LIMIT_S = 120.0


@dataclass(frozen=True)
class Command:
    """A command that is killed.

    Attributes:
        words: from the folder of material and the output folder to the command line.
        resume: option that goes on with an interrupted run; else empty.
        starts_with: file of the material that is in the output folder before.
    """

    words: Callable[[Path, Path], list[object]]
    resume: str = ""
    starts_with: str = ""


def _distill(given: Path, out: Path) -> list[object]:
    weights = given / "teacher.safetensors"
    small = ["--steps", 3, "--procedural", 2, "--batch-size", 1, "--crop", 64]
    return ["distill", given / "good", "--out", out / "d.safetensors", "--weights", weights, *small]


COMMANDS = {
    "fit": Command(
        lambda given, out: [
            *("fit", given / "good", "--out", out / "part.safetensors", "--detector", "padim"),
            *("--backbone", "filters", *FAST),
        ]
    ),
    "export": Command(lambda given, out: ["export", given / "part.safetensors", out / "part.onnx"]),
    "score": Command(
        lambda given, out: ["score", given / "part.onnx", given / "frames", "--out", out / "run"],
        resume="--resume",
    ),
    "evaluate": Command(
        lambda given, out: [
            *("evaluate", "--data", f"mvtec:{given / 'parts'}", "--detector", "mvg", *FAST),
            *("--detector", "padim", "--backbone", "filters", "--seeds", 1, "--out", out / "run"),
        ],
        resume="--resume",
    ),
    "score-pool": Command(
        lambda given, out: [
            *("score-pool", given / "frames", "--out", out / "run", "--backbone", "filters"),
            *(*FAST, "--set", "degrees=[1]"),
        ],
        resume="--resume",
    ),
    "update": Command(
        lambda given, out: ["update", out / "part.safetensors", "--add", given / "more", "--force"],
        starts_with="part.safetensors",
    ),
    "distill": Command(_distill, resume="--resume"),
}


def import_all() -> None:
    """Load what commands load, and start no thread."""
    for name in (
        "torch",
        "anomalib_lite.backbones.timm_backbone",
        "onnx",
        "anomalib_lite.cli.main",
        "anomalib_lite.detector.learner",
    ):
        import_module(name)


def kill(folder: Path, verb: str, numbers: range, seed: int) -> bool:
    """Kill a command once a number by each signal, tell what was left; whether anything broke.

    The moment of a try depends on seed, command, number and signal only, so that tries can be
    shared out among runs, and one that broke can be repeated alone.
    """
    command = COMMANDS[verb]
    reference = _fresh(folder, command, "reference")
    started = time.time()
    status = _finish(_begin(command.words(folder, reference)))
    whole, duration = contents(reference), time.time() - started
    if status != 0:
        print(f"{verb}: ends with {status} when nobody kills it")
        return True
    left, ends, broken = Counter[str](), Counter[str](), []
    resumable = command.resume and _offers(verb, command.resume)
    for number, by in [(n, s) for n in numbers for s in (signal.SIGKILL, signal.SIGTERM)]:
        rng = np.random.default_rng([seed, sum(verb.encode()), number, int(by)])
        out = _fresh(folder, command, "killed")
        before = contents(out)
        process = _begin(command.words(folder, out))
        time.sleep(float(rng.uniform(0, 1.05 * duration)))
        _signal(process, by)
        end = _finish(process)
        ends[f"{by.name} {end}"] += 1
        wrong = _judge(out, before, whole, left, stopped=verb == "distill" and end == 143)
        if by == signal.SIGTERM and end == -signal.SIGTERM and _hidden(out):
            wrong += [f"leftovers after SIGTERM: {_hidden(out)}"]
        again = command.words(folder, out) + ([command.resume] if resumable else [])
        if contents(out) != whole or resumable:
            status = _finish(_begin(again))
            if verb != "update" and (status != 0 or contents(out) != whole):
                wrong += [f"afterwards status {status}, {_unlike(contents(out), whole)}"]
            if _hidden(out):
                wrong += [f"leftovers that the next run keeps: {_hidden(out)}"]
        broken += [f"{by.name} {number}: {words}" for words in wrong]
        print(f"  {verb} {number} {by.name}: ended with {end}, {wrong or 'right'}", flush=True)
    onwards = "resumed" if resumable else "run again"
    print(
        f"{verb}: {2 * len(numbers)} killed within {duration:.1f} s; files {dict(left)}; ends "
        f"{dict(ends)}; {onwards} to the same bytes; {len(broken)} broken",
        flush=True,
    )
    for line in broken[:10]:
        print(f"  {line}", flush=True)
    return bool(broken)


def contents(folder: Path) -> dict[str, bytes]:
    """Every finished file by its relative path, without those that tell times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/")) or name.endswith(".part")
        if path.is_file() and not hidden and path.name not in VOLATILE:
            found[name] = _without_times(path)
    return found


def _without_times(path: Path) -> bytes:
    """A file's bytes; of lines of JSON those that do not tell when it was judged."""
    data = path.read_bytes()
    if path.suffix != ".jsonl":
        return data
    lines = []
    for line in data.splitlines():
        fields = json.loads(line)
        lines.append({key: value for key, value in fields.items() if key != "time"})
    return json.dumps(lines).encode()


def _judge(
    out: Path,
    before: dict[str, bytes],
    whole: dict[str, bytes],
    left: Counter[str],
    *,
    stopped: bool,
) -> list[str]:
    """What is wrong with the files that a killed command has left.

    Training that was stopped in order writes what it has learnt: a whole file of fewer steps.
    """
    try:
        found = contents(out)
    except ValueError as error:
        return [f"lines that are no JSON: {error}"]
    wrong = []
    for name, expected in whole.items():
        if name not in found:
            left["absent"] += 1
        elif found[name] == expected:
            left["whole"] += 1
        elif found[name] == before.get(name):
            left["as before"] += 1
        elif name.endswith(".jsonl") and _begins(found[name], expected):
            left["whole lines"] += 1
        elif stopped and name.endswith(".safetensors") and _loads(out / name):
            left["of fewer steps"] += 1
        elif name.endswith((".json", ".csv", ".md")):
            left["of fewer results"] += 1  # an evaluation's tables grow run by run
        else:
            wrong.append(f"{name} is neither absent nor whole")
    for path in out.rglob("run.json"):
        json.loads(path.read_text())
    return wrong


def _loads(path: Path) -> bool:
    from safetensors.numpy import load_file

    return bool(load_file(path))


def _begins(found: bytes, expected: bytes) -> bool:
    some, lines = json.loads(found), json.loads(expected)
    return bool(some == lines[: len(some)])


def _unlike(found: dict[str, bytes], whole: dict[str, bytes]) -> str:
    names = sorted(name for name in {*found, *whole} if found.get(name) != whole.get(name))
    return f"differing {names[:4]}"


def _hidden(out: Path) -> list[str]:
    return [path.name for path in out.rglob(".*.part")]


def _offers(verb: str, option: str) -> bool:
    from typer.main import get_command

    from anomalib_lite.cli.main import app

    command = get_command(app).commands[verb]  # type: ignore[attr-defined]
    return any(option in parameter.opts for parameter in command.params)


def _fresh(folder: Path, command: Command, name: str) -> Path:
    out = folder / f"out_{name}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    if command.starts_with:
        shutil.copy(folder / command.starts_with, out)
    return out


def _begin(words: list[object]) -> int:
    """Fork a process that runs a command line; its id."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        quiet = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(quiet, number)
        sys.argv = ["anomalib-lite", *map(str, words)]
        from anomalib_lite.cli.main import run

        run()
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _signal(process: int, number: signal.Signals) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return


def _finish(process: int) -> int:
    """Exit status of a child, negative for the signal that ended it."""
    deadline = time.time() + LIMIT_S
    while time.time() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return 124
