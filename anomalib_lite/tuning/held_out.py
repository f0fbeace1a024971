"""Which good images a configuration learns from, and which are held out to judge it on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.detector.detector import Detector
from anomalib_lite.scorers import Progress
from anomalib_lite.scorers.base import no_progress
from anomalib_lite.statistics.spread import spread
from anomalib_lite.tuning.good_frames import GoodFrames

MOST_HELD_OUT = 64
"""Scoring costs little beside a fit, and the thresholds are the noisiest part of a judgement."""

_DEFECTS = 160
_SHARE, _MOST_OF_A_SHARE = 0.3, 60


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


def drawn_share(images: int, seed: int) -> tuple[list[int], list[int]]:
    """Places of three in ten of so many images, 60 at most, and of the others; each ascending."""
    order = np.random.default_rng([seed, 5]).permutation(images)
    count = min(_MOST_OF_A_SHARE, round(_SHARE * images))
    return np.sort(order[:count]).tolist(), np.sort(order[count:]).tolist()
