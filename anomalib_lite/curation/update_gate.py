"""Images confirmed as good by people on the line: learn them, and see whether that did any good.

`update_detector` changes a detector in memory and returns what can be measured without the images
of the first fit, before and after, with the reasons to refuse the result (docs/update.md).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_lite.curation.update_reasons import (
    Comparison,
    HeldOut,
    RejectedImage,
    reasons_to_doubt,
    reasons_to_refuse,
)
from anomalib_lite.data.grouping import AUTO
from anomalib_lite.detector.chosen_frames import ChosenFrames
from anomalib_lite.detector.detector import Detector
from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.detector.independence import GroupBy, look_through
from anomalib_lite.detector.out_of_fold import FOLDS, score_stream
from anomalib_lite.detector.training_record import ImageRecord, image_id
from anomalib_lite.edge.calibration import Operating
from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.edge.footprint import kept_for_reuse
from anomalib_lite.edge.sources import SourceLike, open_good_images, open_source
from anomalib_lite.scorers import FitContext, HeldOutScores, PartialFit, Progress, Scorer
from anomalib_lite.scorers.base import no_progress
from anomalib_lite.scorers.splits import folds_of

__all__ = [
    "Comparison",
    "HeldOut",
    "RejectedImage",
    "UpdateReport",
    "reasons_to_refuse",
    "update_detector",
]


@dataclass(frozen=True, eq=False)
class UpdateReport:
    """What an update changed.

    Attributes:
        images: number of good images `(before, after)`.
        operating: threshold and promise `(before, after)`.
        kept: calibration images that are in both, with their stored held-out scores.
        added: new images: before, by the model as it was; after, out-of-fold.
        forgotten: number of images taken out.
        known: names of images to add that had been learnt already, or come twice.
        rejected: new images that the model rejected before it learnt them, highest score first.
        skipped: image name -> why it could not be used.
        reasons: why held-out false rejects got worse; empty when they did not.
    """

    images: tuple[int, int]
    operating: tuple[Operating, Operating]
    kept: Comparison
    added: Comparison
    forgotten: int
    known: tuple[str, ...]
    skipped: dict[str, str]
    reasons: tuple[str, ...]
    rejected: tuple[RejectedImage, ...] = ()


def update_detector(
    detector: Detector,
    *,
    add: SourceLike | None = None,
    forget: SourceLike | None = None,
    progress: Progress = no_progress,
    group_by: GroupBy = AUTO,
) -> UpdateReport:
    """Forget some images, learn others, and compare. The detector is changed in any case.

    Args:
        detector: fitted; kept only by a caller who accepts `report.reasons`.
        add: images confirmed to be good.
        forget: images to take out again.
        progress: called with stage, images done, images in total.
        group_by: which of the images to add show one part, as for `Detector.fit`.

    Raises:
        SettingsError: nothing to do, or this kind of detector cannot.
        FitError: no new usable image, or an image to forget was never fitted.
    """
    if add is None and forget is None:
        raise SettingsError("nothing to update: give images to add, or images to forget")
    if add is not None and not detector.scorer.can(PartialFit):
        raise SettingsError(
            f"{detector.scorer.name} cannot learn more images; fit again on all of them"
        )
    context = FitContext(seed=detector.seed, progress=progress)
    images, then = detector.data.images, detector.calibration.operating
    fresh = None if add is None else _fresh(detector, add, group_by)
    skipped = {} if fresh is None else dict(fresh.stream.skipped)
    was = becomes = np.zeros(0)
    with torch.no_grad(), kept_for_reuse():
        if fresh is not None:
            was = _by_index(score_stream(detector.scorer, fresh.stream))
        if forget is not None:
            skipped |= _forget(detector, forget, progress)
        stored = _stored(detector.data.records)
        remaining = detector.data.images
        if fresh is not None:
            becomes = _cross_scores(detector.scorer, fresh, context)
            detector.partial_fit(fresh.source, progress=progress, group_by=fresh.groups)
    now = detector.calibration.operating
    kept = Comparison(HeldOut(stored, then.threshold), HeldOut(stored, now.threshold))
    added = Comparison(HeldOut(was, then.threshold), HeldOut(becomes, now.threshold))
    reasons = reasons_to_refuse(then, now, kept, added)
    if fresh is not None:
        parts = len(np.unique(fresh.origins[fresh.indices]))
        reasons += reasons_to_doubt(then, now, kept.before, added.before, parts)
    return UpdateReport(
        images=(images, detector.data.images),
        operating=(then, now),
        kept=kept,
        added=added,
        forgotten=images - remaining,
        known=() if fresh is None else fresh.known,
        skipped=skipped,
        reasons=tuple(reasons),
        rejected=() if fresh is None else _rejected(fresh, was, then.threshold),
    )


def _rejected(
    fresh: _Fresh, scores: NDArray[np.float64], threshold: float
) -> tuple[RejectedImage, ...]:
    names = [job.name for job in fresh.stream.source.jobs()]
    found = [
        RejectedImage(int(index), names[index], float(score))
        for index, score in zip(fresh.indices, scores, strict=True)
        if score > threshold
    ]
    return tuple(sorted(found, key=lambda image: -image.score))


class _Fresh(NamedTuple):
    """New images.

    Attributes:
        source: without those that are known.
        stream: the same, by their indices in the whole.
        indices: usable ones.
        known: names of those that are known.
        origins: what each image of the whole shows.
        groups: name of what each image of `source` shows, empty where it stands alone.
    """

    source: ChosenFrames
    stream: ImageStream
    indices: NDArray[np.int64]
    known: tuple[str, ...]
    origins: NDArray[np.int64]
    groups: tuple[str, ...]


def _fresh(detector: Detector, add: SourceLike, group_by: GroupBy) -> _Fresh:
    """Sort out what was learnt already or comes twice: its score would not be held out."""
    opened = open_good_images(add, exif=detector.spec.exif)
    whole = ImageStream(opened, detector.backbone, detector.spec)
    found = look_through(whole, group_by, fewest=1)
    ids = {record.id for record in detector.data.records}
    known: set[int] = set()
    for index, digest in sorted(whole.fingerprints.items()):
        if image_id(digest) in ids:
            known.add(index)
        ids.add(image_id(digest))
    indices = np.array(sorted(whole.fingerprints.keys() - known), np.int64)
    if not len(indices):
        raise FitError(
            f"{opened.name}: no new usable image ({len(known)} known already, "
            f"{len(whole.skipped)} unreadable); nothing was learnt",
            reasons=whole.skipped,
        )
    names = [job.name for job in opened.jobs()]
    # Unreadable files stay in the source, so that the detector's record of them is complete.
    kept = [index for index in range(len(names)) if index not in known]
    return _Fresh(
        ChosenFrames(opened, kept),
        whole.subset(indices),
        indices,
        tuple(names[index] for index in sorted(known)),
        found.origins,
        tuple(found.name_of(index) for index in kept),
    )


def _forget(detector: Detector, forget: SourceLike, progress: Progress) -> dict[str, str]:
    """Take images out; returns those that could not be read."""
    opened = open_source(forget, exif=detector.spec.exif)
    stream = ImageStream(opened, detector.backbone, detector.spec)
    for _ in stream.prepared():
        pass
    if not stream.fingerprints:
        raise FitError(
            f"{opened.name}: no usable image to forget; nothing was forgotten",
            reasons=stream.skipped,
        )
    detector.forget(opened, progress=progress)
    return dict(stream.skipped)


def _cross_scores(scorer: Scorer, fresh: _Fresh, context: FitContext) -> NDArray[np.float64]:
    """Scores of new images by the old model plus all other new images, in folds `(n,)`."""
    quiet = FitContext(seed=context.seed)
    count = len(fresh.indices)
    parts = len(np.unique(fresh.origins[fresh.indices]))
    folds = folds_of(fresh.indices, fresh.origins, min(FOLDS, parts), context.seed)
    scores = np.zeros(count)
    for fold in range(int(folds.max()) + 1):
        inside = folds == fold
        model = copy.deepcopy(scorer)
        if not inside.all():
            others = fresh.stream.subset(fresh.indices[~inside])
            cast(PartialFit, model).partial_fit(others, quiet)
        scores[inside] = _by_index(score_stream(model, fresh.stream.subset(fresh.indices[inside])))
        context.progress("scoring new images out-of-fold", fold + 1, int(folds.max()) + 1)
    return scores


def _by_index(held_out: HeldOutScores) -> NDArray[np.float64]:
    return held_out.image[np.argsort(held_out.indices)].astype(np.float64)


def _stored(records: Sequence[ImageRecord]) -> NDArray[np.float64]:
    return np.array([record.score for record in records if record.score is not None], np.float64)
