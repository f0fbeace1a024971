"""`auto`: which engine is quickest for one file on this box, measured once and remembered."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalib_lite.edge.errors import AnomalibLiteError, ModelFileError
from anomalib_lite.edge.files import sha256_file
from anomalib_lite.edge.quiet import import_onnxruntime
from anomalib_lite.edge.running.cache import remember, remembered
from anomalib_lite.edge.running.timing import interleaved_ms

_ROUNDS = 15
_LONGEST_S = 1.5
_FORMAT = 1


@dataclass(frozen=True)
class EngineChoice:
    """Which engine was chosen for a file, and why.

    Attributes:
        engine: the quickest that reproduces the file.
        milliseconds: median time of one inference, by engine that reproduces it.
        refused: why each other engine was no choice.
        remembered: whether it was measured at an earlier start.
    """

    engine: str
    milliseconds: Mapping[str, float]
    refused: Mapping[str, str]
    remembered: bool

    def explain(self) -> str:
        """One line for people."""
        times = ", ".join(f"{name} {ms:.2f} ms" for name, ms in self.milliseconds.items())
        others = "".join(f"; {name}: {reason}" for name, reason in self.refused.items())
        when = "measured earlier on this machine" if self.remembered else "measured now"
        return f"engine auto: {self.engine} ({times}{others}; {when})"


def choose_engine(
    path: str | Path,
    names: Sequence[str],
    opened: Callable[[str], Callable[[], object]],
    setting: str,
) -> EngineChoice:
    """Measure each engine on the file's own probes, or remember what an earlier start measured.

    Args:
        path: edge file; the choice is kept for its sha256 and this machine.
        names: engines to try.
        opened: opens the file with an engine, proves that it reproduces the probes (else it raises
            `AnomalibLiteError`), and gives one inference to time.
        setting: what else the times depend on, such as the number of threads.

    Raises:
        ModelFileError: no engine reproduces the file.
    """
    place = f"engines/{sha256_file(path)[:32]}-{_machine(names, setting)}.json"
    kept = _from_document(remembered(place), names)
    if kept is not None:
        return kept
    ready: dict[str, Callable[[], object]] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            ready[name] = opened(name)
        except AnomalibLiteError as error:
            refused[name] = _short(str(error).removeprefix(f"{path}: "))
    if not ready:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise ModelFileError(f"{path}: no engine of this machine reproduces it ({reasons})")
    found = interleaved_ms(ready, rounds=_ROUNDS, longest_s=_LONGEST_S)
    times = {name: round(ms, 3) for name, ms in found.items()}
    chosen = EngineChoice(min(times, key=lambda name: times[name]), times, refused, False)
    document = {"engine": chosen.engine, "milliseconds": times, "refused": refused}
    remember(place, {**document, "format": _FORMAT})
    return chosen


def _from_document(document: dict[str, Any] | None, names: Sequence[str]) -> EngineChoice | None:
    """A remembered choice; None for what is broken or of another format."""
    if document is None or document.get("format") != _FORMAT:
        return None
    try:
        times = {str(name): float(ms) for name, ms in document["milliseconds"].items()}
        refused = {str(name): str(reason) for name, reason in document["refused"].items()}
        engine = str(document["engine"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    known = engine in times and set(times) | set(refused) == set(names)
    return EngineChoice(engine, times, refused, True) if known else None


def _machine(names: Sequence[str], setting: str) -> str:
    """What the times depend on besides the file, in 16 hex digits."""
    parts = [
        platform.machine(),
        platform.node(),
        _processor(),
        str(os.cpu_count()),
        import_onnxruntime().__version__,
        _version_of("openvino"),
        *names,
        setting,
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _version_of(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            lines = [
                line for line in stream if line.startswith(("model name", "flags", "Features"))
            ]
    except OSError:
        return platform.processor()
    return "".join(dict.fromkeys(lines))


def _short(text: str, longest: int = 160) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
