"""The record of one run of `score`: which model file judged which frames, how, when, to what end.

What is needed to trust a line of `results.jsonl` on its own stands in the line; what is constant in
a run and of interest only to audits stands once, in `run.json` beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.files import sha256_file, write_bytes_atomic
from anomalib_lite.edge.runs.scoring import ScoredFrame

FORMAT, FORMAT_VERSION = "anomalib_lite.run", 1
RUN_FILE = "run.json"


@dataclass(frozen=True)
class Judge:
    """Who judges: the same for all frames of a run.

    Attributes:
        file: the model file as it was named.
        sha256: of its content.
        calibration: threshold and promise that are in force, those of `product` where one is given.
        about: what the file says of itself: detector, backbone, data, versions.
        product: which product the frames are stated to show, or None.
        engine: what computes, with its version.
    """

    file: Path
    sha256: str
    calibration: Calibration
    about: Mapping[str, Any]
    product: str | None = None
    engine: str = "torch"

    def line(self) -> dict[str, Any]:
        """What each line of `results.jsonl` says of it."""
        operating = self.calibration.operating
        return {
            "model_sha256": self.sha256,
            "threshold": operating.threshold,
            "promised_false_reject": operating.false_reject_rate,
            **({"product": self.product} if self.product is not None else {}),
        }

    def to_dict(self) -> dict[str, Any]:
        """What `run.json` says of it; scores of single good images stay in the model file."""
        operating, stored = self.calibration.operating, self.calibration.to_dict()
        plain = {
            key: value for key, value in stored.items() if isinstance(value, (int, float, str))
        }
        return {
            "model": {
                "file": str(self.file),
                "sha256": self.sha256,
                "detector": self.about.get("detector"),
                "backbone": self.about.get("backbone"),
                "data_fingerprint": self.about.get("data", {}).get("fingerprint"),
                "fitted_with": self.about.get("versions"),
            },
            "engine": self.engine,
            "product": self.product,
            "decision": {**plain, "promise": operating.explain()},
        }


@dataclass
class RunRecord:
    """Counts what came, and writes `run.json`.

    Attributes:
        judge: who judges.
        source: what is judged, as it was named.
        options: how; a run with other options is another run.
        versions: of the programs that take part, by name.
        files: what belongs to the run in its folder, beside `run.json`.
        listing: what was found and left out in the source, in words; or empty.
        timestamps: whether each line says when its frame was judged.
        started: time of the start.
        counts: frames by outcome.
        first_unreadable: name of the first frame that could not be used, and why; or empty.
    """

    judge: Judge
    source: str
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    files: tuple[str, ...] = ("results.jsonl",)
    listing: str = ""
    timestamps: bool = False
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    counts: dict[str, int] = field(
        default_factory=lambda: {"scored": 0, "anomalous": 0, "unreadable": 0}
    )
    first_unreadable: str = ""

    def line(self, item: ScoredFrame) -> dict[str, Any]:
        """Count a frame; the object that `results.jsonl` holds of it."""
        self.count(item)
        at = {"time": _text(datetime.now(UTC))} if self.timestamps else {}
        return {**item.to_dict(), **self.judge.line(), **at}

    def count(self, item: ScoredFrame) -> None:
        """Count a frame by its outcome."""
        if item.prediction is None:
            self.counts["unreadable"] += 1
            self.first_unreadable = self.first_unreadable or f"{item.name}: {item.error}"
        else:
            self.counts["scored"] += 1
            self.counts["anomalous"] += item.prediction.is_anomalous

    def identity(self) -> dict[str, Any]:
        """What must agree for an interrupted run to be continued."""
        return {
            **self.options,
            **self.judge.line(),
            "engine": self.judge.engine,
            "source": self.source,
        }

    def write(self, folder: Path, exit_status: int, reason: str = "") -> None:
        """Write `run.json` atomically, once the results are in place.

        Args:
            folder: of the results.
            exit_status: of the program.
            reason: why it ended early; empty where all frames were seen.
        """
        results = folder / "results.jsonl"
        document = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **self.judge.to_dict(),
            "source": self.source,
            "listing": self.listing,
            "options": dict(self.options),
            "versions": dict(self.versions),
            "started": _text(self.started),
            "finished": _text(datetime.now(UTC)),
            "counts": self.counts,
            "complete": not reason,
            "ended": reason or "all frames were seen",
            "exit_status": exit_status,
            "files": [RUN_FILE, *self.files],
            "results_sha256": sha256_file(results) if results.is_file() else None,
        }
        text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
        write_bytes_atomic(folder / RUN_FILE, f"{text}\n".encode())


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
