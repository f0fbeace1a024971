"""A quick look at how small a defect may be, within a tenth of the time that a fit took."""

from __future__ import annotations

import time

import numpy as np

from anomalib_lite.detector.chosen_frames import ChosenFrames
from anomalib_lite.detector.detector import Detector
from anomalib_lite.detector.thumbnails import name_below
from anomalib_lite.edge.errors import FrameError, SettingsError, SourceError
from anomalib_lite.edge.runs.scoring import predict_frames
from anomalib_lite.edge.sources import Source
from anomalib_lite.evaluation.pod.photographs import read_photographs
from anomalib_lite.evaluation.pod.result import FamilyResult
from anomalib_lite.evaluation.pod.study import FEWEST_TRIALS, quick_family

QUICK_KINDS = {"spot": "spots", "scratch": "scratches"}
QUICK_CONTRAST = 30.0
_PHOTOGRAPHS = 12


def quick_line(detector: Detector, good: Source, *, seconds: float) -> str | None:
    """One line on spots and scratches; None where the time is too short to measure 40 of each.

    Held-out images of the fit are taken where there are some; else images that the model has
    learnt, and the line says so: models of single folds, which have not seen theirs, are not kept.

    Args:
        detector: fitted on `good`.
        good: can be read again.
        seconds: for all of it; one image is timed first.
    """
    started = time.monotonic()
    if not good.rereadable or detector.calibration.groups or detector.measured:
        return None
    try:
        chosen = _chosen(detector, good)
        cost = _seconds_each(detector, chosen)
        if cost * (_PHOTOGRAPHS + len(QUICK_KINDS) * FEWEST_TRIALS) > seconds:
            return None
        photographs = read_photographs(detector, chosen, most=_PHOTOGRAPHS, seed=detector.seed)
        found = []
        for number, kind in enumerate(QUICK_KINDS):
            left = seconds - (time.monotonic() - started)
            share = left / (len(QUICK_KINDS) - number)
            result = quick_family(
                detector, photographs, kind, QUICK_CONTRAST, seconds=share, seed=detector.seed
            )
            if result is None:
                return None
            found.append(result)
    except (FrameError, SettingsError, SourceError):
        return None  # a side remark never ends a fit
    ending = ""
    if photographs.learnt:
        ending = "; measured on images that the model has learnt, unseen ones may show less"
    return f"{told(found)}{ending} (simulated defects: docs/pod.md)"


def told(found: list[FamilyResult]) -> str:
    """`spots >= 9 px and scratches >= 3 x 40 px of contrast >= 30 are found in 90 % of places`."""
    seen = [
        f"{QUICK_KINDS[result.kind]} >= {result.size_words(_smallest(result))}"
        for result in found
        if _smallest(result) is not None
    ]
    unseen = [
        f"{QUICK_KINDS[result.kind]} up to {result.size_words(result.tried[1])} are not"
        for result in found
        if _smallest(result) is None
    ]
    contrast = f"of contrast >= {QUICK_CONTRAST:g}"
    words = f"{' and '.join(seen)} {contrast} are found in 90 % of places" if seen else ""
    missed = f"{' and '.join(unseen)} found in 90 % of places at contrast {QUICK_CONTRAST:g}"
    return "; ".join(part for part in (words, missed if unseen else "") if part)


def _smallest(result: FamilyResult) -> float | None:
    """a90, or the smallest size tried where all were found."""
    return result.tried[0] if result.curve.standing == "all found" else result.a90


def _chosen(detector: Detector, good: Source) -> Source:
    """A few images, held-out ones where five of them are left."""
    kept = {record.name for record in detector.data.records if not record.learnt}
    names = [name_below(job.name, good.name) for job in good.jobs()]
    indices = [index for index, name in enumerate(names) if name in kept]
    if len(indices) < _PHOTOGRAPHS // 2:
        indices = list(range(len(names)))
    order = np.random.default_rng([detector.seed, 8]).permutation(indices)[:_PHOTOGRAPHS]
    return ChosenFrames(good, sorted(order.tolist()))


def _seconds_each(detector: Detector, chosen: Source) -> float:
    started = time.monotonic()
    predict_frames(detector, [next(iter(chosen.jobs())).load()])
    return time.monotonic() - started
