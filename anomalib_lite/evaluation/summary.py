"""From run records to the summary: rows, means over seeds, means over categories."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from anomalib_lite.evaluation.measure import METRICS
from anomalib_lite.evaluation.operating import COMPARED_RATES
from anomalib_lite.evaluation.plan import PlannedRun
from anomalib_lite.evaluation.settings import EvaluationSettings
from anomalib_lite.metrics import mean_and_sem

FORMAT = "anomalib-lite evaluation"
FORMAT_VERSION = 1

RATES = (
    "false_reject_rate",
    "miss_rate",
    "promised_false_reject",
    *(f"{name}_at_{100 * rate:g}" for rate in COMPARED_RATES for name in ("false_reject", "miss")),
    "miss_best",
)
_ID = ("data", "kind", "category", "detector", "backbone")
_NOT_IN_SUMMARY = ("curves", "aupimo_per_frame", "input_spec", "hardware")

Record = dict[str, Any]


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def summarise(
    settings: EvaluationSettings, plan: Sequence[PlannedRun], records: dict[str, Record]
) -> dict[str, Any]:
    """The content of `metrics.json`: provenance, runs, means over seeds, means over categories.

    Args:
        settings: of the evaluation.
        plan: all runs that it asks for.
        records: those that are finished, by key.
    """
    finished = [records[run.key] for run in plan if run.key in records]
    missing = [run.key for run in plan if run.key not in records]
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "complete": not missing,
        "missing": missing,
        "provenance": _provenance(settings, plan, finished),
        "runs": [_short(record) for record in finished],
        "by_category": mean_over_seeds(finished),
        "by_kind": mean_over_categories(finished),
    }


def flat_row(record: Record) -> dict[str, Any]:
    """One run as the columns of `metrics.csv`; None where there is no value."""
    operating = record["operating"]
    row = {name: record[name] for name in (*_ID, "seed")}
    row.update(record["metrics"])
    for family, figures in record.get("families", {}).items():
        row.update({f"{family}.{name}": value for name, value in figures["metrics"].items()})
    row.update(
        false_reject_rate=operating["false_reject"]["value"],
        false_rejects=operating["false_reject"]["num_hits"],
        test_good=operating["false_reject"]["num_samples"],
        promised_false_reject=operating["promised_false_reject"],
        miss_rate=operating["miss"]["value"],
        misses=operating["miss"]["num_hits"],
        test_anomalous=operating["miss"]["num_samples"],
        threshold=operating["threshold"],
        train_good=record["counts"]["train_good"],
        miss_best=(operating["best"] or {"miss": {"value": None}})["miss"]["value"],
    )
    for rate in COMPARED_RATES:
        found = operating["at"][f"{rate:g}"]
        row[f"false_reject_at_{100 * rate:g}"] = found["false_reject"]["value"]
        row[f"miss_at_{100 * rate:g}"] = found["miss"]["value"]
    return row


def to_csv(records: Iterable[Record]) -> str:
    """`metrics.csv`: a header and one row a run; empty cells where there is no value."""
    rows = [flat_row(record) for record in records]
    columns: dict[str, None] = {}
    for row in rows:
        columns.update(dict.fromkeys(row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would compute is quoted: folder names come from anywhere."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def mean_over_seeds(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Per category, detector and backbone: mean and standard error of each figure over seeds."""
    summaries = []
    for group in _grouped(records, lambda record: tuple(record[name] for name in _ID)):
        rows = [flat_row(record) for record in group]
        first = group[0]
        summary: dict[str, Any] = {name: first[name] for name in _ID}
        summary["seeds"] = [record["seed"] for record in group]
        summary["counts"] = first["counts"]
        summary["metrics"] = {
            name: _mean([row[name] for row in rows]) for name in (*METRICS, *RATES)
        }
        summary["families"] = {
            family: {
                name: _mean([record["families"][family]["metrics"][name] for record in group])
                for name in METRICS
            }
            for family in first.get("families", {})
        }
        summary["reasons"] = first["reasons"]
        summary["remarks"] = first["remarks"]
        summaries.append(summary)
    return summaries


def mean_over_categories(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Per kind of data, detector and backbone: categories averaged a seed, then seeds.

    A figure is averaged over the categories that have it; `categories` beside each says how many.
    """
    summaries = []
    names = ("kind", "detector", "backbone")
    for group in _grouped(records, lambda record: tuple(record[name] for name in names)):
        categories = list(
            dict.fromkeys(f"{record['data']} {record['category']}" for record in group)
        )
        rows = [(record["seed"], flat_row(record)) for record in group]
        metrics = {}
        for name in (*METRICS, *RATES):
            per_seed = []
            for seed in sorted({seed for seed, _ in rows}):
                found = [row[name] for s, row in rows if s == seed and row[name] is not None]
                per_seed.append(sum(found) / len(found) if found else None)
            having = {row["data"] + row["category"] for _, row in rows if row[name] is not None}
            metrics[name] = {**_mean(per_seed), "categories": len(having)}
        summaries.append(
            {**{name: group[0][name] for name in names}, "categories": categories}
            | {"metrics": metrics}
        )
    return summaries


def _mean(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean and standard error; None where no run has a value, error None for a single one."""
    found = [value for value in values if value is not None]
    if not found:
        return {"mean": None, "sem": None, "runs": 0}
    mean, sem = mean_and_sem(found)
    return {"mean": mean, "sem": None if math.isnan(sem) else sem, "runs": len(found)}


def _grouped(
    records: Sequence[Record], key: Callable[[Record], tuple[Any, ...]]
) -> list[list[Record]]:
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return list(groups.values())


def _short(record: Record) -> Record:
    """A record without what is long; the whole one is `runs/<key>.json`."""
    short = {name: value for name, value in record.items() if name not in _NOT_IN_SUMMARY}
    short["calibration"] = {
        name: value
        for name, value in record["calibration"].items()
        if name not in ("scores", "map_peaks")
    }
    if "families" in record:
        short["families"] = {
            family: {k: v for k, v in figures.items() if k not in _NOT_IN_SUMMARY}
            for family, figures in record["families"].items()
        }
    return short


def _provenance(
    settings: EvaluationSettings, plan: Sequence[PlannedRun], finished: Sequence[Record]
) -> dict[str, Any]:
    backbones = {run.backbone: run.settings["backbone"] for run in plan}
    detectors = {run.detector: run.settings["detector"] for run in plan}
    data = {
        run.category.data + run.category.name: {
            "data": run.category.data,
            "kind": run.category.kind,
            "category": run.category.name,
            "fingerprint_sha256": run.category.fingerprint,
        }
        for run in plan
    }
    machines: list[Any] = []
    for record in finished:
        if record["hardware"] not in machines:
            machines.append(record["hardware"])
    return {
        "command": settings.command(),
        "protocol": settings.protocol(),
        "seeds": list(range(settings.seeds)),
        "image_size_hw": list(settings.image_size),
        "map_resolution": settings.map_resolution if settings.pixel else None,
        "max_false_reject": settings.max_false_reject,
        "detectors": list(detectors.values()),
        "backbones": list(backbones.values()),
        "data": list(data.values()),
        "versions": plan[0].settings["versions"],
        "hardware": machines,
    }
