"""The folder of an evaluation: finished runs, each written so that a kill leaves whole files.

DIR/runs/<key>.scores.jsonl   one line a scored test frame, in the data set's order
DIR/runs/<key>.maps.npz       network maps of the worst frames
DIR/runs/<key>.json           figures and settings; written last, so it marks the run finished
DIR/timing.json               seconds and bytes of each run
DIR/metrics.json, .csv, .md   the summary
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anomalib_lite.edge.errors import AnomalibLiteError, SettingsError
from anomalib_lite.edge.files import atomic_path, write_bytes_atomic, write_json
from anomalib_lite.evaluation.execute import RunResult
from anomalib_lite.evaluation.plan import PlannedRun, digest_settings

RUNS = "runs"
TIMING = "timing.json"


class RunStore:
    """Reads and writes the runs of one evaluation folder.

    Args:
        folder: made if needed.

    Raises:
        AnomalibLiteError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / RUNS
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AnomalibLiteError(f"cannot make {self.runs}: {error.strerror}") from error

    def finished(self, plan: Sequence[PlannedRun]) -> dict[str, dict[str, Any]]:
        """Records of planned runs that are finished, by key.

        Drafts that a kill left behind are removed.

        Raises:
            SettingsError: the folder holds a run of other settings, or one that is not planned.
            AnomalibLiteError: a record is damaged.
        """
        for draft in [*self.runs.glob(".*.part"), *self.folder.glob(".*.part")]:
            draft.unlink(missing_ok=True)
        planned = {run.key: run for run in plan}
        records = {}
        for path in sorted(self.runs.glob("*.json")):
            record = read_record(path)
            if path.stem not in planned:
                raise SettingsError(
                    f"{path} belongs to a run that this command does not ask for; choose another "
                    "--out, or name its data, detector, backbone and seed as well"
                )
            _compare(path, record, planned[path.stem])
            records[path.stem] = record
        return records

    def write(self, key: str, result: RunResult) -> None:
        """Write a finished run; its `.json` comes last.

        Raises:
            AnomalibLiteError: the disk is full or read-only.
        """
        lines = "".join(dump_line(frame.to_dict()) for frame in result.frames)
        write_bytes_atomic(self.runs / f"{key}.scores.jsonl", lines.encode())
        with atomic_path(self.runs / f"{key}.maps.npz") as draft, draft.open("wb") as stream:
            np.savez(
                stream,
                frame_index=result.worst.frame_index,
                is_miss=result.worst.is_miss,
                maps=result.worst.maps,
            )
        self._write_timing(key, result.timing)
        write_json(self.runs / f"{key}.json", result.record)

    def _write_timing(self, key: str, timing: dict[str, Any]) -> None:
        path = self.folder / TIMING
        known: dict[str, Any] = {}
        if path.exists():
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                known = {}
        known[key] = timing
        write_json(path, dict(sorted(known.items())))


def read_record(path: Path) -> dict[str, Any]:
    """One `<key>.json`; raises `AnomalibLiteError` when it is damaged or foreign."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if digest_settings(record["settings"]) != record["settings_sha256"]:
            raise ValueError("the settings do not match their digest")
        return dict(record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AnomalibLiteError(
            f"{path}: not a record of a run ({type(error).__name__}); delete it to run it again"
        ) from error


def dump_line(content: dict[str, Any]) -> str:
    """One line of a `.jsonl` file."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"


def _compare(path: Path, record: dict[str, Any], run: PlannedRun) -> None:
    if record["settings_sha256"] == run.digest:
        return
    for name in sorted({*record["settings"], *run.settings}):
        before, now = record["settings"].get(name), run.settings.get(name)
        if before != now:
            raise SettingsError(
                f"{path} was made with other settings ({name}: {_short(before)} there, "
                f"{_short(now)} now); choose another --out, or delete the folder {path.parent}"
            )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "..."
