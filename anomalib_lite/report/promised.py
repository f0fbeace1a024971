"""Misses and false rejects at promised rates, and the best that overlap allows: the headline.

A factory buys misses at a rate of false rejects, not areas under curves. What is missed with the
threshold at the highest good test part is the price of overlap; the rest is that of the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anomalib_lite.edge.calibration import Operating
from anomalib_lite.report.components import NO_VALUE, Cell, card, table
from anomalib_lite.report.data import Part, Run
from anomalib_lite.report.html import Markup, join, tag
from anomalib_lite.report.words import bracketed, counted, interval, percent

BEST = "best possible"


@dataclass(frozen=True)
class Tally:
    """How many of how many; several are added up."""

    hits: int
    total: int

    @classmethod
    def of(cls, parts: Sequence[Part], hit: Callable[[float], bool]) -> Tally:
        """Count the scores of parts that `hit`."""
        return cls(sum(hit(part.score) for part in parts), len(parts))

    @classmethod
    def sum(cls, tallies: Sequence[Tally]) -> Tally:
        """All of them together."""
        return cls(sum(one.hits for one in tallies), sum(one.total for one in tallies))

    def words(self) -> str:
        """`3 of 120`, or that there is nothing to count."""
        return counted(self.hits, self.total) if self.total else "none tested"

    def cell(self) -> Cell:
        """Count and interval in a table."""
        if not self.total:
            return Cell(NO_VALUE, math.nan, left=True)
        figures = tag("span", bracketed(self.hits, self.total), class_="sem")
        shown = [f"{self.words()} ", figures]
        return Cell(shown, self.hits / self.total, left=True)

    def share(self) -> Cell:
        """Share and count in a table."""
        if not self.total:
            return Cell(NO_VALUE, math.nan)
        value = self.hits / self.total
        return Cell([f"{percent(value)} ", tag("span", f"({self.words()})", class_="sem")], value)


def missed(run: Run, threshold: float, defect: str | None = None) -> Tally:
    """Defective parts up to a threshold, of all kinds or of one."""
    parts = [part for part in run.anomalous if defect in (None, part.defect)]
    return Tally.of(parts, lambda score: score <= threshold)


def rejected(run: Run, threshold: float) -> Tally:
    """Good parts above a threshold."""
    return Tally.of(run.good, lambda score: score > threshold)


def best_threshold(run: Run) -> float | None:
    """The score of the highest good test part: no lower one rejects none; None without any."""
    return max((part.score for part in run.good), default=None)


def rates(runs: Sequence[Run]) -> list[float]:
    """Requested rates at which every one of the runs is measured."""
    wanted = [{one.requested for one in run.compared} for run in runs]
    return sorted(set.intersection(*wanted)) if wanted else []


def promised_cards(runs: Sequence[Run]) -> list[Markup]:
    """Misses at each promised rate and at best, over the runs of one model."""
    if not any(run.anomalous for run in runs):
        return []
    found = []
    for rate in rates(runs):
        points = [(run, _at(run, rate)) for run in runs]
        lost = Tally.sum([missed(run, point.threshold) for run, point in points])
        good = Tally.sum([rejected(run, point.threshold) for run, point in points])
        found.append(
            card(
                f"Missed at {_rate_words([point for _, point in points])}",
                lost.words(),
                interval(lost.hits, lost.total),
                f"Good parts rejected: {_with_interval(good)}.",
            )
        )
    placed = [(run, at) for run in runs if (at := best_threshold(run)) is not None]
    if found and len(placed) == len(runs):
        lost = Tally.sum([missed(run, at) for run, at in placed])
        found.append(
            card(
                "Missed at best",
                lost.words(),
                interval(lost.hits, lost.total),
                "Threshold at the highest good test part: overlap costs this, the threshold the "
                "rest.",
            )
        )
    return found


def promised_heads(runs: Sequence[Run]) -> list[str]:
    """Columns of the results table."""
    found = [f"missed at {percent(rate)}" for rate in rates(runs)]
    return [*found, "missed at best"] if found else []


def promised_cells(group: Sequence[Run], runs: Sequence[Run]) -> list[Cell]:
    """Their cells for runs that differ by seed: all seeds together."""
    found = [
        Tally.sum([missed(run, _at(run, rate).threshold) for run in group]).share()
        for rate in rates(runs)
    ]
    if not found:
        return []
    placed = [(run, at) for run in group if (at := best_threshold(run)) is not None]
    return [*found, Tally.sum([missed(run, at) for run, at in placed]).share()]


def promised_table(run: Run) -> Markup | None:
    """Good parts rejected, and defects missed, in all and by kind, at each rate and at best."""
    limits = {_rate_words([point]): point.threshold for point in run.compared}
    best = best_threshold(run)
    if not limits or not run.parts:
        return None
    if best is not None:
        limits[BEST] = best
    levels = list(limits.values())
    rows = [[Cell("good parts rejected"), *(rejected(run, limit).cell() for limit in levels)]]
    if run.anomalous:
        rows.append([Cell("defects missed"), *(missed(run, limit).cell() for limit in levels)])
    if len(run.recall) > 1:
        for kind in run.recall:
            figures = (missed(run, limit, kind).cell() for limit in levels)
            rows.append([Cell(f"missed: {kind}"), *figures])
    words = (
        "Shares with their 95 % intervals. Each rate is asked of the good images alone, before a "
        "test part is looked at. "
        f"{BEST.capitalize()}: the threshold at the highest good test part, which nobody knows "
        "beforehand; no threshold misses fewer without rejecting a good part of this test."
    )
    return join(
        [
            tag("h3", "Misses at the promised rate"),
            table(["", *limits], rows, numbers_from=9),
            tag("p", words, class_="note"),
        ]
    )


def _at(run: Run, rate: float) -> Operating:
    return next(point for point in run.compared if point.requested == rate)


def _rate_words(points: Sequence[Operating]) -> str:
    """`1 % promised`, or what is promised where fewer images cannot promise it."""
    worst = max(points, key=lambda point: point.false_reject_rate)
    if worst.honoured:
        return f"{percent(worst.requested)} promised"
    return f"{percent(worst.requested)} asked, {percent(worst.false_reject_rate)} promised"


def _with_interval(tally: Tally) -> str:
    if not tally.total:
        return tally.words()
    return f"{tally.words()} ({interval(tally.hits, tally.total)})"
