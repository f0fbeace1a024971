"""The threshold of a coarser graph: earned by its own scores, not by those of its float parent.

Two ways, and the file says which:

* *held out*: good frames that the model has not learnt are scored by the coarser graph itself. This
  is split-conformal calibration, guaranteed for frames like them.
* *moved*: the held-out scores of the fit come from fold models, which exist no more. Each is moved
  by what the coarser graph changes on frames that score alike, `coarser(x) - float(x)`, the upper
  quartile of the 16 nearest among the good frames, harmless changes of them and simulated defects.
  Alike in score, because rounding adds noise e to a distance d, `sqrt(d^2 + e^2) - d`, which is
  most where d is small, as for a frame that was learnt. Measured (docs/precision.md), not
  guaranteed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.calibration import Calibration, in_order
from anomalib_lite.edge.outputs import Outputs
from anomalib_lite.edge.promise import MOVED, OUT_OF_FOLD, images_needed
from anomalib_lite.export.lowering.request import GoodFrame

Pair: TypeAlias = tuple[Outputs, Outputs]
"""By the float graph, and by the coarser one."""

Values: TypeAlias = NDArray[np.floating[Any]]

HELD_OUT, MOVED_WAY = "held out", "moved"
_NEAREST, _QUANTILE = 16, 0.75


@dataclass(frozen=True)
class Recalibrated:
    """Calibrations that can be compared.

    Attributes:
        before: of the float graph.
        after: of the coarser one, from the same images.
        way: `held out` or `moved`.
        images: frames whose scores by the coarser graph were used.
    """

    before: Calibration
    after: Calibration
    way: str
    images: int

    def explain(self) -> str:
        """One line: what is promised, by how many images, and how it was earned."""
        own = (
            f"{self.images} good frames that the model has not learnt, scored by this graph"
            if self.way == HELD_OUT
            else f"the fit's {len(self.after.scores)} held-out scores, moved by what this graph "
            f"changes on frames that score alike (of {self.images})"
        )
        return f"threshold from {own}; {self.after.operating.explain()}"


def recalibrate(
    calibration: Calibration,
    frames: Sequence[GoodFrame],
    good: Pair,
    further: Sequence[Pair],
    precision: str,
    *,
    fresh: Collection[int],
) -> Recalibrated:
    """The calibration of the coarser graph.

    Held out where the unlearnt frames can promise the requested rate, or at least as much as the
    moved scores; else moved.

    Args:
        calibration: of the fitted model.
        frames: good frames.
        good: outputs of the float graph and of the coarser one for them.
        further: outputs for frames made from them.
        precision: of the coarser graph, for the file.
        fresh: places of the frames that had no part in making the graph: only these can be held
            out.
    """
    unseen = [index for index in sorted(fresh) if not frames[index].learnt]
    parts = len({frames[index].shows for index in unseen})
    enough = images_needed(calibration.max_false_reject)
    if parts >= min(enough, calibration.operating.parts):
        return _held_out(calibration, frames, good, unseen, precision)
    return _moved(calibration, [good, *further], precision)


def _held_out(
    calibration: Calibration,
    frames: Sequence[GoodFrame],
    outputs: Pair,
    unseen: list[int],
    precision: str,
) -> Recalibrated:
    origins = [frames[index].shows for index in unseen]
    before, after = (
        replace(
            Calibration.from_scores(
                side.score[unseen],
                _peaks(side)[unseen],
                max_false_reject=calibration.max_false_reject,
                method=f"held-out good frames through the {name} graph",
                origins=origins,
            ),
            doubtful=calibration.doubtful,
        )
        for side, name in zip(outputs, ("float", precision), strict=True)
    )
    return Recalibrated(before, after, HELD_OUT, len(unseen))


def _moved(calibration: Calibration, pairs: Sequence[Pair], precision: str) -> Recalibrated:
    scores = _joined(pairs, lambda side: side.score)
    peaks = _joined(pairs, _peaks)
    start = calibration.method
    if not start.startswith(OUT_OF_FOLD):
        start = f"{MOVED}: {start}"
    after = replace(
        calibration,
        method=f"{start}, moved to {precision}",
        reference={},
        **_in_order("scores", "views", calibration.scores, calibration.views, scores),
        **_in_order("map_peaks", "map_views", calibration.map_peaks, calibration.map_views, peaks),
    )
    return Recalibrated(calibration, after, MOVED_WAY, len(scores[0]))


def _joined(pairs: Sequence[Pair], take: Callable[[Outputs], Values]) -> tuple[Values, Values]:
    """A figure of all frames by the float graph, and by the coarser one."""
    before, after = (
        np.concatenate([take(pair[side]) for pair in pairs]).astype(np.float64) for side in (0, 1)
    )
    return before, after


def moved_scores(held_out: Values, before: Values, after: Values) -> Values:
    """Held-out scores `(n,)` as the coarser graph would give them.

    Args:
        held_out: by the float graph.
        before: scores of some frames by the float graph `(k,)`.
        after: the same by the coarser one.
    """
    change = after - before
    nearest = min(_NEAREST, len(change))
    found = np.empty(len(held_out), np.float64)
    for index, score in enumerate(held_out):
        alike = np.argsort(np.abs(before - score), kind="stable")[:nearest]
        found[index] = score + np.quantile(change[alike], _QUANTILE)
    return found


def _in_order(
    name: str,
    views_name: str,
    values: Sequence[float],
    views: Sequence[int],
    pair: tuple[Values, Values],
) -> dict[str, Any]:
    """Fields of a calibration with its values moved, ascending again, each with its views."""
    moved = moved_scores(np.asarray(values, np.float64), *pair).astype(np.float32)
    sizes = np.asarray(views, np.int64) if views else None
    ordered, ordered_views = in_order(moved, sizes)
    return {name: ordered, views_name: ordered_views}


def _peaks(outputs: Outputs) -> Values:
    flat = outputs.anomaly_map.reshape(len(outputs.score), -1)
    peaks: Values = flat.max(axis=1)
    return peaks
