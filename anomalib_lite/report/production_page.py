"""The production report's page."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.report.axes import Axis
from anomalib_lite.report.components import (
    Cell,
    card,
    cards,
    colour_key,
    colour_legend,
    facts,
    figure,
    gallery,
    hint,
    page,
    section,
    table,
    unreadable_list,
)
from anomalib_lite.report.examples import relative, verdict
from anomalib_lite.report.explain import explanations
from anomalib_lite.report.html import Child, Markup, join, shorten, tag
from anomalib_lite.report.plots import (
    UNLABELLED_BARS,
    ScoreRow,
    score_rows,
    scores_in_order,
    share_bars,
)
from anomalib_lite.report.production import JudgedFrame, ProductionReport
from anomalib_lite.report.production_words import ADVICE, COMPARED, P_VALUES, SAID
from anomalib_lite.report.statistics import P_BINS, Drift, p_value_shares, score_drift
from anomalib_lite.report.words import counted, interval, percent, promise

_ACCEPTED = "accepted"


def write_production(report: ProductionReport, path: str | Path) -> Path:
    """Write the page atomically; raises `AnomalibLiteError` when it cannot be written."""
    write_bytes_atomic(path, render_production(report).encode())
    return Path(path)


def render_production(report: ProductionReport) -> str:
    """The page as HTML text."""
    judged = report.scores.size
    body: list[Child] = [_headline(report)]
    if judged:
        drift = score_drift(
            report.scores, np.asarray(report.calibration.scores), report.calibration.threshold
        )
        body += [_advice(drift), _scores(report), _drift(report, drift)]
    else:
        body.append(hint("Nothing could be judged", "No frame has a score.", "bad"))
    body += [_rejected(report), _accepted(report)]
    body.append(explanations([(each.name, each.pairs) for each in report.pictured]))
    if report.unreadable_count:
        body.append(
            section("Not readable", unreadable_list(report.unreadable, report.unreadable_count))
        )
    if report.provenance:
        body.append(section("The model", facts(report.provenance)))
    lead = f"{shorten(report.source)}, judged by {report.model}. The frames have no labels."
    return page("Production report", lead, body)


def _headline(report: ProductionReport) -> Markup:
    judged, operating = report.scores.size, report.calibration.operating
    expected, worst = operating.false_reject_rate * judged, operating.upper_bound * judged
    return cards(
        [
            card("Frames judged", str(judged), f"{judged + report.unreadable_count} arrived."),
            card(
                "Rejected",
                str(report.rejected_count),
                interval(report.rejected_count, judged) if judged else None,
            ),
            card(
                "Rejects to expect of good parts",
                f"{expected:.2g}, at most {worst:.2g}" if judged else "–",
                f"Promised: {promise(operating.false_reject_rate, operating.upper_bound)}.",
                f"From {operating.images()}; {operating.standing()}.",
            ),
            card(
                "Not readable",
                str(report.unreadable_count),
                "Listed below; they are neither accepted nor rejected."
                if report.unreadable_count
                else None,
            ),
        ]
    )


def _advice(drift: Drift) -> Markup:
    headline, text, kind = ADVICE[drift.verdict]
    shown = tag("a", "highest accepted frames", href=f"#{_ACCEPTED}")
    return hint(headline, [text, " See the ", shown, "."] if drift.frames else text, kind)


def _scores(report: ProductionReport) -> Markup:
    calibration = report.calibration
    known = np.asarray(calibration.scores)
    rejected = counted(report.rejected_count, report.scores.size)
    rows = [
        ScoreRow("good images", known, *UNLABELLED_BARS, f"{known.size} in calibration"),
        ScoreRow("these frames", report.scores, *UNLABELLED_BARS, f"{rejected} rejected"),
    ]
    spoken = f"{rows[0].note}; {rows[1].note}"
    return section(
        "Scores",
        colour_key([("good", "accepted"), ("rejected", "rejected")]),
        score_rows(rows, calibration.threshold, f"Score histograms: {spoken}"),
        tag("p", "Each row has its own height scale.", class_="note"),
        tag("h3", "In order of arrival"),
        scores_in_order(
            report.scores, calibration.threshold, f"Scores in order of arrival; {rows[1].note}"
        ),
        tag(
            "p",
            "A slow rise is drift; a sudden step is a change of lamp, camera or variant."
            + (
                " A dot is the highest score of a group of frames, the line their median."
                if report.scores.size > 400
                else ""
            ),
            class_="note",
        ),
    )


def _drift(report: ProductionReport, drift: Drift) -> Markup:
    p_values = _p_values(report.scores, report.calibration)
    shares = p_value_shares(p_values)
    spoken = ", ".join(percent(share) for share in shares)
    bars = share_bars(
        shares, 1 / P_BINS, Axis(0, 1, "p-value"), f"Shares of p-values in ten bins: {spoken}"
    )
    values = {
        "accepted frames compared": drift.frames,
        "calibration images compared": drift.samples,
        "largest gap between the two (Kolmogorov-Smirnov)": drift.gap,
        "chance of such a gap without drift": _chance(drift.chance),
        "median p-value of accepted frames (0.5 expected)": None
        if math.isnan(drift.median_p)
        else drift.median_p,
    }
    remark = "Frames that follow each other are alike: this is a hint, not a proof."
    told = tag("p", tag("strong", SAID[drift.verdict]), " ", COMPARED, P_VALUES)
    compared = facts(values) if drift.verdict != "flood" else None
    text = tag("div", told, compared, tag("p", remark, class_="note"))
    return section("Drift", tag("div", bars, text, class_="beside"))


def _chance(chance: float) -> str:
    return "below 0.0001" if chance < 1e-4 else f"{chance:.3g}"


def _p_values(scores: NDArray[np.float64], calibration: Calibration) -> NDArray[np.float64]:
    """As `Calibration.p_value`, for all frames at once `(n,)`."""
    known = np.asarray(calibration.scores)
    above = 1 + known.size - np.searchsorted(known, scores, side="left") + calibration.doubtful
    shares: NDArray[np.float64] = above / (known.size + calibration.doubtful + 1)
    return shares


def _rejected(report: ProductionReport) -> Markup:
    pictured, named = report.pictured, report.named
    if not pictured:
        return section("Rejected frames", tag("p", "No frame was rejected.", class_="empty"))
    left = report.rejected_count - len(pictured) - len(named)
    return section(
        "Rejected frames",
        tag("p", f"The {len(pictured)} highest scores of {report.rejected_count} rejected frames.")
        if report.rejected_count > len(pictured)
        else tag("p", "Highest score first."),
        colour_legend() if _painted(pictured) else None,
        gallery(_figure(frame, report.calibration.threshold) for frame in pictured),
        _names(named, report.calibration.threshold) if named else None,
        tag("p", f"and {left} more: see results.jsonl", class_="note") if left > 0 else None,
    )


def _accepted(report: ProductionReport) -> Markup | None:
    """Whoever reads of no reject must see what a defect that passed would look like."""
    shown, rejected = report.accepted, report.pictured
    if not shown:
        return None
    passed = report.scores.size - report.rejected_count
    return section(
        "Highest accepted frames",
        tag(
            "p",
            f"{'The highest scores' if passed > len(shown) else 'All'} of {passed} accepted "
            "frames, highest first: a defect that passed is most likely among them.",
        ),
        colour_legend() if _painted(shown) and not _painted(rejected) else None,
        gallery(_figure(frame, report.calibration.threshold) for frame in shown),
        anchor=_ACCEPTED,
    )


def _painted(frames: list[JudgedFrame]) -> bool:
    return any(frame.picture and frame.picture.heat for frame in frames)


def _figure(frame: JudgedFrame, threshold: float) -> Markup:
    name = shorten(frame.name)
    places = f" · {frame.regions} region" + ("" if frame.regions == 1 else "s")
    caption: list[Child] = [
        verdict(frame.is_anomalous, wrong=frame.is_anomalous),
        f" · score {frame.score:.4g} ({relative(frame.score, threshold)})",
        f" · p\u00a0=\u00a0{frame.p_value:.3g}",
        places if frame.regions else None,
        tag("br"),
        tag("span", name, class_="file"),
    ]
    return figure(frame.picture, name, caption)


def _names(named: list[JudgedFrame], threshold: float) -> Markup:
    rows = [
        [
            Cell(shorten(frame.name)),
            Cell(f"{frame.score:.4g}", frame.score),
            Cell(relative(frame.score, threshold), frame.score),
            Cell(f"{frame.p_value:.3g}", frame.p_value),
        ]
        for frame in named
    ]
    heads = ["frame", "score", "of threshold", "p"]
    return join([tag("h3", "The next rejected frames"), table(heads, rows)])
