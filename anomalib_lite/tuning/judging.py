"""How well a fitted, exported model tells simulated defects from good images it has not seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.detector.detector import Detector
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.model import EdgeModel
from anomalib_lite.edge.prepare import InputSpec, prepare
from anomalib_lite.edge.promise import operating_point
from anomalib_lite.metrics.image import auroc
from anomalib_lite.scorers import Progress
from anomalib_lite.scorers.base import no_progress
from anomalib_lite.tuning.good_frames import GoodFrames, spread

STRICT = 0.1
"""Share of held-out good images whose scores serve as thresholds: where a factory works."""

MOST_HELD_OUT = 64
"""Scoring costs little beside a fit, and the thresholds are the noisiest part of a judgement."""

_DEFECTS = 160
_AT_ONCE = 4


@dataclass(frozen=True, eq=False)
class Judgement:
    """Scores of one model on held-out good images and on simulated defects.

    Attributes:
        good: scores of held-out good images `(n,)`.
        defects: scores of pictures with a simulated defect `(d,)`, those of one image together.
        per_image: defects on each image.
    """

    good: NDArray[np.float64]
    defects: NDArray[np.float64]
    per_image: int

    @property
    def seen(self) -> NDArray[np.float64]:
        """For each defect, the share of strict thresholds that it exceeds `(d,)`.

        The thresholds are the highest tenth of the good scores, so its mean is the share of
        defects that is found where at most a tenth of good images is rejected.
        """
        count = int(np.ceil(STRICT * len(self.good)))
        thresholds = np.sort(self.good)[-count:]
        return np.asarray((self.defects[:, None] > thresholds).mean(axis=1), np.float64)

    @property
    def found(self) -> float:
        """Mean of `seen`: what trials are ranked by."""
        return float(self.seen.mean())

    @property
    def auroc(self) -> float:
        """Probability that a picture with a simulated defect outscores a good one."""
        labels = np.repeat([0, 1], [len(self.good), len(self.defects)])
        return float(auroc(np.concatenate([self.good, self.defects]), labels))

    def missed(self, rate: float) -> float:
        """Share of simulated defects below the threshold of a false-reject rate."""
        return float(np.mean(self.defects <= operating_point(self.good, rate).threshold))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; `from_dict` is the inverse."""
        return {
            "good": self.good.tolist(),
            "defects": self.defects.tolist(),
            "per_image": self.per_image,
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Judgement:
        """Rebuild from `to_dict`."""
        good, defects = (np.asarray(fields[name], np.float64) for name in ("good", "defects"))
        return cls(good, defects, int(fields["per_image"]))


def standard_error(first: Judgement, second: Judgement) -> float:
    """Of the difference of two `found` on the same pictures; images are what is independent."""
    paired = (first.seen - second.seen).reshape(-1, first.per_image).mean(axis=1)
    return float(paired.std(ddof=1) / np.sqrt(len(paired))) if len(paired) > 1 else 0.0


def fit_on(
    detector: Detector, good: GoodFrames, images: int, progress: Progress = no_progress
) -> NDArray[np.int64]:
    """Fit on four fifths of so many good frames; give those that the model has not seen.

    The detector's `calibration` must be `"holdout"`. Which frames are held out depends on its seed
    and on what they show only, so that all trials of a rung are judged on the same ones.

    Returns:
        Indices of frames of which no view of the part was learnt, evenly spread: as many as there
        are images in the fit, 64 at most.
    """
    chosen = spread(len(good), images)
    origins = np.array(good.origins)
    shown = origins[chosen].tolist()
    detector.fit(list(good.frames[chosen]), group_by=shown, progress=progress)
    # Its names are the places in the list; copies that it left out are no news.
    learnt = {
        shown[int(record.name.rpartition("#")[2])]
        for record in detector.data.records
        if record.learnt
    }
    unseen = np.flatnonzero(~np.isin(origins, list(learnt)))
    return unseen[spread(len(unseen), min(images, MOST_HELD_OUT))]


def defects_for(held_out: NDArray[np.int64], images: int) -> int:
    """Simulated defects on each held-out image: two for each image of the fit, 160 at most."""
    return max(2, round(min(2 * images, _DEFECTS) / max(1, len(held_out))))


def judge(
    model: EdgeModel | Detector,
    good: GoodFrames,
    indices: NDArray[np.int64],
    spec: InputSpec,
    *,
    per_image: int,
    seed: int,
    inside: NDArray[np.bool_] | None = None,
    diameter_px: tuple[float, float] | None = None,
) -> Judgement:
    """Score held-out good frames and simulated defects on them.

    Args:
        model: fitted on the other frames.
        good: the frames.
        indices: those that were held out.
        spec: preparation of the model, from a reference frame.
        per_image: simulated defects on each.
        seed: draws the defects.
        inside: region of interest at the reference size.
        diameter_px: as for `GoodFrames.defects`.
    """
    defects = good.defects(indices, per_image, seed=seed, inside=inside, diameter_px=diameter_px)
    return Judgement(
        _scores(model, (good.frames[index] for index in indices.tolist()), spec),
        _scores(model, defects, spec),
        per_image,
    )


def _scores(
    model: EdgeModel | Detector, frames: Iterable[Frame], spec: InputSpec
) -> NDArray[np.float64]:
    return np.concatenate(list(_scored(model, frames, spec))).astype(np.float64)


def _scored(
    model: EdgeModel | Detector, frames: Iterable[Frame], spec: InputSpec
) -> Iterator[NDArray[np.float32]]:
    waiting = iter(frames)
    while batch := list(islice(waiting, _AT_ONCE)):
        yield model.run(np.stack([prepare(frame, spec) for frame in batch])).score
