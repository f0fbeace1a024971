"""`run.json` of a judged pool: what judged which frames, how, when, and what was written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_lite.edge.files import sha256_file, write_bytes_atomic
from anomalib_lite.edge.runs.run_record import RUN_FILE
from anomalib_lite.edge.sources import Source

if TYPE_CHECKING:
    from anomalib_lite.transductive.pool import PoolReport

FORMAT, FORMAT_VERSION = "anomalib_lite.pool_run", 1
_UNUSABLE = 3


@dataclass(frozen=True)
class PoolRecord:
    """A run that was begun.

    Attributes:
        listing: what was found and left out in the source, in words; or empty.
        options: of the command, plain JSON types.
        started: time of the start.
    """

    listing: str
    options: Mapping[str, Any]
    started: datetime

    @classmethod
    def begin(cls, frames: Source, options: Mapping[str, Any]) -> PoolRecord:
        """Note the time, and what the source says of itself."""
        listing = getattr(frames, "listing", None)
        said = listing.explain() if listing is not None else ""
        return cls(said, dict(options), datetime.now(UTC))

    def write(self, folder: Path, report: PoolReport, files: Sequence[str]) -> None:
        """Write `run.json` atomically, once all that it names is in place."""
        document = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **report.facts,
            "source": report.source,
            "listing": self.listing,
            "options": self.options,
            "started": _text(self.started),
            "finished": _text(datetime.now(UTC)),
            "counts": {
                "scored": len(report.names),
                "anomalous": len(report.suspects),
                "unreadable": len(report.skipped),
            },
            "complete": True,
            "ended": "all frames were seen",
            "exit_status": _UNUSABLE if report.skipped else 0,
            "files": [RUN_FILE, *files],
            "results_sha256": sha256_file(folder / "results.jsonl"),
        }
        text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
        write_bytes_atomic(folder / RUN_FILE, f"{text}\n".encode())


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
