"""The folder of a tuning: finished trials, each written so that a kill leaves whole files.

DIR/trials/<rung>/<key>.json   what a trial gave; its presence marks it finished
DIR/trials/<key>.onnx          its file, until it is timed
DIR/trials/milliseconds.json   times of all files, measured once
DIR/trials/settings.json       what it was made with
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anomalib_lite.edge.errors import AnomalibLiteError, SettingsError
from anomalib_lite.edge.files import write_json
from anomalib_lite.tuning.grid import Configuration
from anomalib_lite.tuning.trials import TrialRecord

TRIALS = "trials"
_BUDGET = "budget_ms"  # chooses among trials and changes none; earlier versions wrote it, too


class TrialStore:
    """Reads and writes the trials of one folder.

    Args:
        folder: of the tuning; `trials/` in it is made.
        settings: everything that can change what a trial gives, plain JSON types.
        resume: keep trials that are there.

    Raises:
        SettingsError: the folder holds trials of other settings, or trials and no `resume`.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], *, resume: bool) -> None:
        self.folder = folder / TRIALS
        path = self.folder / "settings.json"
        if path.is_file():
            if not resume:
                raise SettingsError(
                    f"{folder} holds trials; go on with --resume, or choose another --out"
                )
            _compare(folder, _read(path), json.loads(json.dumps(settings)))
        write_json(path, settings)

    def file(self, configuration: Configuration) -> Path:
        """Where the exported file of a trial lies until it is timed."""
        return self.folder / f"{configuration.key}.onnx"

    def known(self, configuration: Configuration, rung: int) -> TrialRecord | None:
        """A finished trial, or None."""
        path = self._record(configuration, rung)
        if not path.is_file():
            return None
        try:
            return TrialRecord.from_dict(_read(path))
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path) from error

    def keep(self, record: TrialRecord, rung: int) -> None:
        """Write a finished trial."""
        write_json(self._record(record.configuration, rung), record.to_dict())

    def milliseconds(self) -> dict[tuple[str, str], float] | None:
        """Times of the files by `(key, engine)`, or None before they were measured."""
        path = self.folder / "milliseconds.json"
        if not path.is_file():
            return None
        try:
            return {(item["key"], item["engine"]): float(item["ms"]) for item in _read(path)["ms"]}
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path) from error

    def keep_milliseconds(self, times: dict[tuple[str, str], float]) -> None:
        """Write the times, and remove the files, which are as large as all else together."""
        found = [{"key": key, "engine": engine, "ms": ms} for (key, engine), ms in times.items()]
        write_json(self.folder / "milliseconds.json", {"ms": found})
        for path in self.folder.glob("*.onnx"):
            path.unlink(missing_ok=True)

    def _record(self, configuration: Configuration, rung: int) -> Path:
        return self.folder / str(rung) / f"{configuration.key}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> AnomalibLiteError:
    return AnomalibLiteError(f"{path}: not a record of a trial; delete it to run it again")


def _compare(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    for name in sorted({*before, *now} - {_BUDGET}):
        if before.get(name) != now.get(name):
            raise SettingsError(
                f"{folder} was tuned with other settings ({name}: "
                f"{json.dumps(before.get(name))[:80]} there, {json.dumps(now.get(name))[:80]} "
                "now); choose another --out"
            )
