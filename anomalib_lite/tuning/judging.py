"""How well a fitted model tells simulated defects from good images it has not seen.

The one judgement that `tune`, `fit --image-size auto` and `compare` go by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.inputs import prepare_view, stacked
from anomalib_lite.edge.promise import operating_point
from anomalib_lite.edge.runs.scoring import Model
from anomalib_lite.metrics.image import auroc_between

STRICT = 0.1
"""Share of held-out good images whose scores serve as thresholds: where a factory works."""

_AT_ONCE = 4

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Judgement:
    """Scores of one model on held-out good images and on simulated defects.

    Attributes:
        good: scores of held-out good images `(n,)`.
        defects: scores of pictures with a simulated defect, those on one image in a row
            `(n, per image)`; NaN where none could be made.
    """

    good: Floats
    defects: Floats

    @property
    def made(self) -> Floats:
        """Scores of the defects that could be made `(d,)`."""
        return self.defects[~np.isnan(self.defects)]

    @property
    def seen(self) -> Floats:
        """For each defect, the share of strict thresholds that it exceeds `(n, per image)`.

        The thresholds are the highest tenth of the good scores, so its mean is the share of
        defects that is found where at most a tenth of good images is rejected.
        """
        count = int(np.ceil(STRICT * len(self.good)))
        thresholds = np.sort(self.good)[-count:]
        shares = (self.defects[:, :, None] > thresholds).mean(axis=2)
        return np.where(np.isnan(self.defects), np.nan, shares)

    @property
    def found(self) -> float:
        """Mean of `seen`: what trials are ranked by."""
        return float(np.nanmean(self.seen))

    @property
    def auroc(self) -> float:
        """Probability that a picture with a simulated defect outscores a good one."""
        return auroc_between(self.good, self.made)

    def missed(self, rate: float) -> float:
        """Share of simulated defects below the threshold of a false-reject rate."""
        return self.missed_at(operating_point(self.good, rate).threshold)

    def missed_at(self, threshold: float) -> float:
        """Share of simulated defects that do not exceed a threshold."""
        return float((self.made <= threshold).mean())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; `from_dict` is the inverse."""
        return {
            "good": self.good.tolist(),
            "defects": self.defects.ravel().tolist(),
            "per_image": self.defects.shape[1],
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Judgement:
        """Rebuild from `to_dict`."""
        good, defects = (np.asarray(fields[name], np.float64) for name in ("good", "defects"))
        return cls(good, defects.reshape(-1, int(fields["per_image"])))


def standard_error(first: Judgement, second: Judgement) -> float:
    """Of the difference of two `found` on the same pictures; images are what is independent."""
    paired = (first.seen - second.seen).mean(axis=1)
    return float(paired.std(ddof=1) / np.sqrt(len(paired))) if len(paired) > 1 else 0.0


def judge(
    model: Model, good: Iterable[Frame], defects: Iterable[Frame | None], *, per_image: int
) -> Judgement:
    """Score held-out good frames and simulated defects on them; holds four frames at a time.

    Args:
        model: fitted on other frames.
        good: frames as the model is declared to see them.
        defects: as many on each of them, in the same order; None where none could be made.
        per_image: defects on each.
    """
    scores = np.concatenate(list(_scored(model, defects)))
    return Judgement(np.concatenate(list(_scored(model, good))), scores.reshape(-1, per_image))


def _scored(model: Model, frames: Iterable[Frame | None]) -> Iterator[Floats]:
    """Scores of a few frames at a time; NaN where there is none."""
    waiting = iter(frames)
    while batch := list(islice(waiting, _AT_ONCE)):
        scores = np.full(len(batch), np.nan)
        given = [frame is not None for frame in batch]
        if any(given):
            views = [prepare_view(frame, model.inputs) for frame in batch if frame is not None]
            scores[given] = model.run(stacked(views)).score
        yield scores
