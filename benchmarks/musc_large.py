"""A large pool through `Pool` to the end: what it takes, and whether every score is a number."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
_EVERY_S = 2.0


class Meter:
    """Seconds, memory and disk of all runs on one pool; noted in a file while it goes.

    Args:
        record: the file.
        folder: whose size counts.
    """

    def __init__(self, record: Path, folder: Path) -> None:
        self._record, self._folder = record, folder
        self._start, self._cpu, self._noted = time.perf_counter(), time.process_time(), 0.0
        self._before: dict[str, Any] = {"runs": 0, "wall_s": 0.0, "cpu_s": 0.0, "memory": 0}
        self._before |= {"disk": 0, "estimate": "", "finished": False}
        if record.is_file():
            self._before |= json.loads(record.read_text())
        self.facts = dict(self._before)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Progress call-back."""
        if time.perf_counter() - self._noted >= _EVERY_S:
            self.note()
            sys.stderr.write(f"\r{stage} {done} of {total}   ")

    def note(self, **facts: Any) -> None:
        """Bring the file up to date; a finished pool takes no more time."""
        self._noted = time.perf_counter()
        if self._before["finished"]:
            return
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.facts.update(
            runs=self._before["runs"] + 1,
            wall_s=self._before["wall_s"] + self._noted - self._start,
            cpu_s=self._before["cpu_s"] + time.process_time() - self._cpu,
            memory=max(self.facts["memory"], peak),
            disk=max(self.facts["disk"], _size(self._folder)),
            **facts,
        )
        self._record.write_text(json.dumps(self.facts, indent=1) + "\n")


def measure_large(options: argparse.Namespace, backbone: str, layers: tuple[str, ...]) -> None:
    """Judge `--images` different images of all folders; goes on from what `--work` holds."""
    from anomalib_lite.edge.errors import SettingsError
    from anomalib_lite.transductive.pool import Pool

    paths = different_images(options.data, options.images)
    counts = Counter(path.relative_to(options.data).parts[0] for path in paths)
    print(f"{len(paths)} different images: {dict(sorted(counts.items()))}", flush=True)
    folder = options.work / "pool"
    folder.mkdir(parents=True, exist_ok=True)
    meter = Meter(options.work / "runs.json", folder)
    pool = Pool("musc", backbone=backbone, layers=list(layers), products=options.products)
    estimate = meter.facts["estimate"] or pool.cost(len(paths))
    print(f"estimate before the start: {estimate}", flush=True)
    names = [str(path) for path in paths]
    try:
        report = pool.score(names, folder=folder, resume=True, keep=True, progress=meter)
    except SettingsError:
        sys.exit(f"{options.work} holds another pool; name another folder with --work")
    finally:
        meter.note(estimate=estimate)
        sys.stderr.write("\n")
    meter.note(finished=True)
    _tell(report, len(paths), meter.facts)


def different_images(data: Path, count: int) -> list[Path]:
    """So many files of different content below a folder, drawn by a seed; no ground truth."""
    from anomalib_lite.edge.files import sha256_file

    found = sorted(
        path
        for path in data.rglob("*")
        if path.suffix.lower() in _SUFFIXES and "ground_truth" not in path.parts
    )
    chosen: dict[str, Path] = {}
    for place in np.random.default_rng(0).permutation(len(found)):
        chosen.setdefault(sha256_file(found[place]), found[place])
        if len(chosen) == count:
            return sorted(chosen.values())
    sys.exit(f"{data} has only {len(chosen)} different images; choose fewer --images")


def _tell(report: Any, wanted: int, facts: dict[str, Any]) -> None:
    scores = report.scores
    print(
        f"{facts['runs']} run(s): {facts['wall_s']:.0f} s of wall time, {facts['cpu_s']:.0f} s of "
        f"the processor, peak {facts['memory'] / 1e6:.0f} MB resident, "
        f"{facts['disk'] / 1e6:.0f} MB of disk"
    )
    finite = all(np.isfinite(part).all() for part in (scores.image, scores.map_peak, scores.maps))
    print(
        f"{len(report.names)} of {wanted} images judged by {scores.judges} others or more, "
        f"{scores.products} pairs multiplied; all scores and maps finite: {finite}"
    )
    if not finite or len(report.names) + len(report.skipped) != wanted:
        sys.exit("something is missing or not a number")


def _size(folder: Path) -> int:
    """Bytes that the files of a folder take on the disk."""
    total = 0
    for path in folder.iterdir():
        try:
            total += path.stat().st_blocks * 512
        except OSError:
            continue  # a temporary file that was renamed meanwhile
    return total
