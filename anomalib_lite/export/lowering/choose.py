"""Which parts of a graph stay in float: by measurement, the most sensitive first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

Part = TypeVar("Part")


@dataclass(frozen=True)
class Choice:
    """What stays in float, and what that was found by.

    Attributes:
        lowered: names of the parts in the lower precision.
        kept: names of the parts that stay in float, the most sensitive first.
        alone: part -> drift with it alone in the lower precision; empty where all pass together.
        drift: drift with `lowered` together.
    """

    lowered: tuple[str, ...]
    kept: tuple[str, ...] = ()
    alone: Mapping[str, float] = field(default_factory=dict)
    drift: float = 0.0


def choose_parts(
    parts: Mapping[str, Part],
    build: Callable[[Sequence[Part]], Any],
    drift_of: Callable[[Any], float],
    allowed: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Choice:
    """Keep the fewest of the most sensitive parts in float so that the rest drifts no more.

    Each part is lowered alone and ranked by the drift that it causes; along that order the fewest
    are kept that bring the rest, together, to `allowed`.

    Args:
        parts: by name.
        build: makes the graph with some parts lowered.
        drift_of: how far its maps are from those of the float graph.
        allowed: largest drift.
        progress: called with trials done and in total.
    """
    names = list(parts)
    together = drift_of(build(list(parts.values()))) if names else 0.0
    if together <= allowed:
        return Choice(tuple(names), drift=together)
    alone = {}
    for done, (name, part) in enumerate(parts.items()):
        alone[name] = drift_of(build([part]))
        progress(done + 1, len(parts))
    ranked = sorted(names, key=lambda name: -alone[name])
    # Invariant: keeping `few` is too little, keeping `enough` is enough.
    few, enough, found = 0, len(ranked), 0.0
    while enough - few > 1:
        kept = (few + enough) // 2
        drift = drift_of(build([parts[name] for name in names if name not in ranked[:kept]]))
        if drift <= allowed:
            enough, found = kept, drift
        else:
            few = kept
    left = tuple(name for name in names if name not in ranked[:enough])
    return Choice(left, tuple(ranked[:enough]), alone, found)
