"""Operating points side by side, to choose with open eyes: what differs, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from anomalib_lite.edge.promise import Operating, images_needed, percent


class RateRow(NamedTuple):
    """One threshold and the rates that lead to it.

    Attributes:
        asked: requested rates, ascending.
        point: what they give.
    """

    asked: tuple[float, ...]
    point: Operating

    @property
    def words(self) -> str:
        """The rates for people: `0.5 %, 1 %`."""
        return ", ".join(percent(rate) for rate in self.asked)


def distinct_rows(points: Sequence[Operating]) -> list[RateRow]:
    """Each threshold once: of few images several rates ask for the same one."""
    rows: list[RateRow] = []
    for point in points:
        if rows and rows[-1].point.threshold == point.threshold:
            rows[-1] = RateRow((*rows[-1].asked, point.requested), rows[-1].point)
        else:
            rows.append(RateRow((point.requested,), point))
    return rows


def out_of_reach(points: Sequence[Operating]) -> str:
    """From how many images rates can be promised that these are too few for; else empty."""
    missing = [point for point in points if point.parts < images_needed(point.requested)]
    if not missing:
        return ""
    needs = ", ".join(
        f"{percent(point.requested)} from {images_needed(point.requested)}"
        for point in reversed(missing)
    )
    return f"more good images of different parts can promise less: {needs} ({missing[0].parts} now)"
