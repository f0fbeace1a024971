"""The summary as Markdown, for people and for docs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_COLUMNS = (
    ("image_auroc", "image AUROC"),
    ("image_average_precision", "image AP"),
    ("image_f1_max", "image F1-max"),
    ("pixel_auroc", "pixel AUROC"),
    ("pixel_average_precision", "pixel AP"),
    ("pixel_f1_max", "pixel F1-max"),
    ("aupro", "AUPRO@0.3"),
    ("aupimo", "AUPIMO"),
    ("au_spro", "AU-sPRO@0.05"),
)
_RATES = (
    ("false_reject_rate", "false rejects"),
    ("promised_false_reject", "promised"),
    ("miss_rate", "misses"),
)
_COMPARED = (
    ("miss_at_1", "misses at 1 %"),
    ("false_reject_at_1", "rejects at 1 %"),
    ("miss_at_5", "misses at 5 %"),
    ("false_reject_at_5", "rejects at 5 %"),
    ("miss_best", "best misses"),
)
_NONE = "–"
_BEST = (
    "Percent, at thresholds that promise 1 % and 5 %. *Best misses*: with the threshold at the "
    "highest good test part; what is missed there is overlap, the rest is the threshold's price."
)
_CHANGES = "median score change in held-out spreads; false rejects"


def to_markdown(summary: dict[str, Any]) -> str:
    """`metrics.md`: table a category, table a kind of data, reasons, shift, provenance."""
    parts = ["# Evaluation", ""]
    if not summary["complete"]:
        parts += [f"**Not complete:** {len(summary['missing'])} runs are missing.", ""]
    parts += [category_table(summary["by_category"]), ""]
    parts += ["Percent; mean ± standard error over seeds. n = test images behind a rate.", ""]
    parts += ["## Misses and false rejects", "", miss_table(summary["by_category"]), "", _BEST, ""]
    kinds = defect_table(summary["runs"])
    if kinds:
        parts += ["## Misses by kind of defect", "", kinds, ""]
    families = family_table(summary["by_category"])
    if families:
        parts += ["## Families of MVTec LOCO", "", families, ""]
    parts += ["## Mean over categories", "", kind_table(summary["by_kind"]), ""]
    shift = shift_table(summary["runs"])
    if shift:
        parts += ["## Good images under a shift", "", shift, "", f"Each cell: {_CHANGES}.", ""]
    notes = _notes(summary["by_category"])
    if notes:
        parts += ["## Without a value, or with a remark", "", *notes, ""]
    parts += ["## How these figures were made", "", provenance_text(summary["provenance"]), ""]
    return "\n".join(parts)


def category_table(summaries: Sequence[dict[str, Any]]) -> str:
    """One row a category, detector and backbone."""
    columns = _used(summaries)
    head = ["data", "detector", "backbone", *(title for _, title in columns)]
    rows = []
    for summary in summaries:
        metrics, counts = summary["metrics"], summary["counts"]
        good, anomalous = counts["test_good"], counts["test_anomalous"]
        row = [_data(summary), summary["detector"], summary["backbone"]]
        row += [_cell(metrics[name]) for name, _ in columns]
        row += [
            f"{_cell(metrics['false_reject_rate'])} (n {good})",
            f"≤ {_cell(metrics['promised_false_reject'], spread=False)}",
            f"{_cell(metrics['miss_rate'])} (n {anomalous})",
        ]
        rows.append(row)
    return _table([*head, *(title for _, title in _RATES)], rows)


def miss_table(summaries: Sequence[dict[str, Any]]) -> str:
    """One row a category, detector and backbone: what the line feels at promised rates."""
    head = ["data", "detector", "backbone", "image AUROC", *(title for _, title in _COMPARED)]
    rows = []
    for summary in summaries:
        metrics, counts = summary["metrics"], summary["counts"]
        row = [_data(summary), summary["detector"], summary["backbone"]]
        row.append(_cell(metrics["image_auroc"]))
        for name, _ in _COMPARED:
            behind = counts["test_good" if name.startswith("false") else "test_anomalous"]
            row.append(f"{_cell(metrics[name])} (n {behind})")
        rows.append(row)
    return _table(head, rows)


def defect_table(runs: Sequence[dict[str, Any]]) -> str:
    """One row a run of the first seed and kind of defect, or an empty text."""
    head = ["data", "detector", "backbone", "defect", "missed at 1 %", "missed at 5 %", "best"]
    rows = []
    for run in runs:
        operating = run["operating"]
        if run["seed"] or not operating["recall_per_defect"]:
            continue
        for defect in operating["recall_per_defect"]:
            row = [_data(run), run["detector"], run["backbone"], defect]
            for found in (operating["at"]["0.01"], operating["at"]["0.05"], operating["best"]):
                recall = (found or {"recall_per_defect": {}})["recall_per_defect"].get(defect)
                row.append(_NONE if recall is None else _missed(recall))
            rows.append(row)
    return _table(head, rows) if rows else ""


def _missed(recall: dict[str, Any]) -> str:
    return f"{recall['num_samples'] - recall['num_hits']} of {recall['num_samples']}"


def kind_table(summaries: Sequence[dict[str, Any]]) -> str:
    """One row a kind of data, detector and backbone."""
    columns = [*_used(summaries), *(pair for pair in _RATES if pair[0] != "promised_false_reject")]
    head = ["kind", "categories", "detector", "backbone", *(title for _, title in columns)]
    rows = []
    for summary in summaries:
        total = len(summary["categories"])
        row = [summary["kind"], str(total), summary["detector"], summary["backbone"]]
        for name, _ in columns:
            figure = summary["metrics"][name]
            partial = 0 < figure["categories"] < total
            row.append(_cell(figure) + (f" ({figure['categories']} of {total})" if partial else ""))
        rows.append(row)
    return _table(head, rows)


def family_table(summaries: Sequence[dict[str, Any]]) -> str:
    """One row a family of LOCO, or an empty text."""
    rows = []
    for summary in summaries:
        for family, metrics in summary["families"].items():
            row = [_data(summary), summary["detector"], summary["backbone"], family]
            rows.append(row + [_cell(metrics[name]) for name, _ in _COLUMNS])
    head = ["data", "detector", "backbone", "family", *(title for _, title in _COLUMNS)]
    return _table(head, rows) if rows else ""


def shift_table(runs: Sequence[dict[str, Any]]) -> str:
    """One row a run with re-scored good images, or an empty text."""
    shifted = [run for run in runs if run.get("shift", {}).get("changes")]
    if not shifted:
        return ""
    changes = shifted[0]["shift"]["changes"]
    head = ["data", "detector", "backbone", "seed", "unchanged"]
    head += [change["change"] for change in changes.values()]
    rows = []
    for run in shifted:
        shift = run["shift"]
        row = [_data(run), run["detector"], run["backbone"], str(run["seed"])]
        row.append(_percent(shift["unchanged"]["false_reject"]["value"]))
        for change in shift["changes"].values():
            moved = change["median_change_in_spreads"]
            words = _NONE if moved is None else f"{moved:+.2f}"
            row.append(f"{words}; {_percent(change['false_reject']['value'])}")
        rows.append(row)
    return _table(head, rows)


def provenance_text(provenance: dict[str, Any]) -> str:
    """Protocol, command and everything that figures depend on, as a list."""
    lines = [f"- {sentence}" for sentence in provenance["protocol"]]
    lines.append(f"- Seeds: {', '.join(str(seed) for seed in provenance['seeds'])}.")
    for backbone in provenance["backbones"]:
        layers = ", ".join(backbone["layers"])
        digest = backbone["weights_sha256"] or "none needed"
        lines.append(f"- Backbone {backbone['name']} (layers {layers}), weights sha256 `{digest}`.")
    for detector in provenance["detectors"]:
        pairs = ", ".join(f"{name}={value}" for name, value in detector["settings"].items())
        lines.append(f"- Detector {detector['name']}: {pairs or 'no settings'}.")
    for data in provenance["data"]:
        digest = data["fingerprint_sha256"]
        lines.append(f"- Data {data['data']} ({data['category']}), sha256 `{digest}`.")
    versions = ", ".join(f"{name} {value}" for name, value in provenance["versions"].items())
    lines.append(f"- Versions: {versions}.")
    for machine in provenance["hardware"]:
        memory = machine["memory_bytes"] / 2**30
        lines.append(
            f"- Machine: {machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, "
            f"{memory:.1f} GiB, {machine['device']}."
        )
    lines += ["", "```", provenance["command"], "```"]
    return "\n".join(lines)


def _notes(summaries: Sequence[dict[str, Any]]) -> list[str]:
    """Each reason and remark once, with where it holds; AU-sPRO is expected of LOCO only."""
    places: dict[tuple[str, str], list[str]] = {}
    for summary in summaries:
        titles = dict(_COLUMNS if summary["kind"] == "loco" else _COLUMNS[:-1])
        where = f"{_data(summary)} {summary['detector']} {summary['backbone']}"
        texts: dict[str, list[str]] = {}
        for notes in (summary["reasons"], summary["remarks"]):
            for name, text in notes.items():
                if name in titles:
                    texts.setdefault(text, []).append(titles[name])
        for text, names in texts.items():
            places.setdefault((", ".join(names), text), []).append(where)
    return [f"- {names}: {text} ({'; '.join(where)})" for (names, text), where in places.items()]


def _used(summaries: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Columns that have a value somewhere; AU-sPRO is for LOCO only."""
    return [
        (name, title)
        for name, title in _COLUMNS
        if any(summary["metrics"][name]["mean"] is not None for summary in summaries)
    ]


def _data(summary: dict[str, Any]) -> str:
    return f"{summary['kind']}:{summary['category']}"


def _cell(figure: dict[str, Any], *, spread: bool = True) -> str:
    if figure["mean"] is None:
        return _NONE
    text = f"{100 * figure['mean']:.1f}"
    if spread and figure["sem"] is not None:
        text += f" ± {100 * figure['sem']:.1f}"
    return text


def _percent(value: float | None) -> str:
    return _NONE if value is None else f"{100 * value:.1f} %"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    return "\n".join([line(head), line(["---"] * len(head)), *(line(row) for row in rows)])
