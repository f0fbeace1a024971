"""The one place that knows the files of an evaluation folder: `DIR` -> `ReportData`.

    DIR/metrics.json               order of the runs, protocol, provenance
    DIR/runs/<key>.json            figures, calibration and settings of a run
    DIR/runs/<key>.scores.jsonl    one line a scored test frame
    DIR/runs/<key>.maps.npz        network maps of the worst frames (optional)
    DIR/timing.json                seconds and bytes of each run (optional)

Pictures are read from the data set while it is where it was; without it the report has none.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from anomalib_lite.edge.calibration import Calibration, Operating
from anomalib_lite.edge.errors import AnomalibLiteError, SourceError
from anomalib_lite.report.data import CurveData, Part, ReportData, Run, Shift
from anomalib_lite.report.load_pictures import WorstMaps, worst_examples

_CURVE_HEIGHTS = {"pro": "overlap", "pimo": "recall"}
_SUMMARY_ONLY = ("protocol",)


def load_evaluation(folder: str | Path) -> ReportData:
    """Read what `anomalib-lite evaluate` wrote.

    Raises:
        SourceError: the folder holds no evaluation.
        AnomalibLiteError: a file of it is damaged.
    """
    home = Path(folder)
    summary = _read_json(home / "metrics.json", optional=True)
    records = {path.stem: _read_json(path) for path in sorted((home / "runs").glob("*.json"))}
    if not records and not summary:
        raise SourceError(
            f"{home}: holds no evaluation (no metrics.json, no runs/*.json); name the folder that "
            "was given to 'anomalib-lite evaluate --out'"
        )
    timing = _read_json(home / "timing.json", optional=True)
    listed = [str(run.get("key")) for run in summary.get("runs", [])]
    order = [key for key in listed if key in records]
    order += [key for key in records if key not in order]
    runs = []
    for key in order:
        try:
            name = _data_name(records[key])
            runs.append(_run(home, key, name, records[key], timing.get(key, {})))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(home / "runs" / f"{key}.json", error) from error
    provenance = dict(summary.get("provenance", {}))
    return ReportData(
        title="Evaluation report",
        runs=tuple(_told_apart(runs, records)),
        protocol=tuple(provenance.get("protocol", ())),
        provenance={
            name: _joined(value) for name, value in provenance.items() if name not in _SUMMARY_ONLY
        },
        missing=tuple(summary.get("missing", ())),
    )


def _run(
    home: Path, key: str, name: str, record: Mapping[str, Any], timing: Mapping[str, Any]
) -> Run:
    calibration = Calibration.from_dict(record["calibration"])
    parts = _read_parts(home / "runs" / f"{key}.scores.jsonl")
    maps = _read_maps(home / "runs" / f"{key}.maps.npz", len(parts))
    rejects, misses = worst_examples(record, parts, maps, calibration.colours)
    return Run(
        key=key,
        data=name,
        detector=str(record["detector"]),
        backbone=str(record["backbone"]),
        seed=int(record["seed"]),
        operating=calibration.operating,
        parts=parts,
        metrics=dict(record["metrics"]),
        compared=_compared(record, calibration),
        reasons=dict(record.get("reasons", {})),
        remarks=dict(record.get("remarks", {})),
        unreadable=dict(record.get("skipped_test_images", {})),
        curves=_curves(record.get("curves", {})),
        false_rejects=rejects,
        misses=misses,
        timing={
            name: float(value)
            for name, value in timing.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        },
        shifts=_shifts(record.get("shift", {})),
        provenance=_run_provenance(record, calibration),
    )


def _compared(record: Mapping[str, Any], calibration: Calibration) -> tuple[Operating, ...]:
    """The operating points beside the requested one; evaluations of earlier versions have none."""
    asked = sorted(float(rate) for rate in record.get("operating", {}).get("at", {}))
    return tuple(calibration.with_rate(rate).operating for rate in asked)


def _read_parts(path: Path) -> tuple[Part, ...]:
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        return tuple(
            Part(
                frame=str(line["frame"]),
                label=int(line["label"]),
                defect=str(line["defect"] or ("anomalous" if line["label"] else "good")),
                score=float(line["score"]),
                p_value=None if line.get("p_value") is None else float(line["p_value"]),
                is_anomalous=bool(line["is_anomalous"]),
            )
            for line in lines
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _read_maps(path: Path, parts: int) -> WorstMaps | None:
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            index = stored["frame_index"].astype(np.int64)
            if index.size and not 0 <= int(index.min()) <= int(index.max()) < parts:
                raise ValueError("a frame number is out of range")
            is_miss, maps = stored["is_miss"].astype(np.bool_), stored["maps"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error
    return WorstMaps(index, is_miss, maps)


def _curves(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, CurveData]:
    return {
        name: CurveData(tuple(curve["fpr"]), tuple(curve[_CURVE_HEIGHTS[name]]))
        for name, curve in curves.items()
        if name in _CURVE_HEIGHTS
    }


def _shifts(shift: Mapping[str, Any]) -> tuple[Shift, ...]:
    rows = []
    for change in shift.get("changes", {}).values():
        rate = change["false_reject"]
        rows.append(
            Shift(
                str(change["change"]),
                change["median_change_in_spreads"],
                int(rate["num_hits"]),
                int(rate["num_samples"]),
            )
        )
    return tuple(rows)


def _run_provenance(record: Mapping[str, Any], calibration: Calibration) -> dict[str, Any]:
    settings = record.get("settings", {})
    return {
        "run": record["key"],
        "data fingerprint sha256": settings.get("data_fingerprint"),
        "images": record.get("counts", {}),
        "skipped training images": len(record.get("skipped_training_images", {})),
        "detector": settings.get("detector", {}),
        "backbone": settings.get("backbone", {}),
        "image size, rows and columns": settings.get("image_size_hw"),
        "calibration": calibration.method,
        "threshold": calibration.threshold,
        "map threshold": calibration.map_threshold,
    }


def _data_name(record: Mapping[str, Any]) -> str:
    return f"{record['kind']}:{record['category']}"


def _told_apart(runs: Sequence[Run], records: Mapping[str, Mapping[str, Any]]) -> list[Run]:
    """Equal names of data sets in two places get their folder added."""
    places: dict[str, set[str]] = {}
    for run in runs:
        places.setdefault(run.data, set()).add(str(records[run.key].get("root")))
    return [
        run
        if len(places[run.data]) == 1
        else replace(run, data=f"{run.data} in {records[run.key].get('root')}")
        for run in runs
    ]


def _joined(value: Any) -> Any:
    """Lists of descriptions as numbered entries, so that a table can show them."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return {str(number): item for number, item in enumerate(value, 1)}
    return value


def _read_json(path: Path, *, optional: bool = False) -> dict[str, Any]:
    if optional and not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
        return content
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> AnomalibLiteError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return AnomalibLiteError(
        f"{path}: not a file of an evaluation ({type(error).__name__}: {reason}); "
        "run 'anomalib-lite evaluate' again"
    )
