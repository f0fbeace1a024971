"""Which training images do not look like the others? A set that should be good, checked by itself.

Every image is scored by a model that has not seen it. Odd images would widen those models and hide
each other, so what stands out is left out of the models and everything is scored again, until the
set of trusted images stays the same (concentration steps as in the FAST-MCD estimator of Rousseeuw
and Van Driessen 1999, with out-of-fold scores in place of distances). Nothing is deleted on the
way: an image that was left out returns when its new score is ordinary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_lite.curation.audit_report import (
    AuditEntry,
    AuditReport,
    list_entries,
    require_enough,
)
from anomalib_lite.data.grouping import AUTO
from anomalib_lite.detector.chosen_frames import ChosenFrames
from anomalib_lite.detector.detector import Detector
from anomalib_lite.detector.graph import DetectorGraph
from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.detector.independence import GroupBy, chosen, look_through
from anomalib_lite.detector.out_of_fold import (
    FOLDS,
    out_of_fold_scores,
    score_stream,
)
from anomalib_lite.detector.thumbnails import name_below
from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import telling_reasons
from anomalib_lite.edge.footprint import kept_for_reuse
from anomalib_lite.edge.promise import OUT_OF_FOLD
from anomalib_lite.edge.runs.scoring import ScoredFrame, score_source
from anomalib_lite.edge.sources import Source, SourceLike, open_good_images
from anomalib_lite.scorers import FitContext, Progress, create_scorer
from anomalib_lite.scorers.base import no_progress
from anomalib_lite.scorers.splits import folds_of
from anomalib_lite.statistics.outliers import judge

__all__ = [
    "AuditEntry",
    "AuditReport",
    "ModelAudit",
    "audit",
    "fit_without_suspects",
    "threshold_without",
]

_BATCH = 8
_MOST_ROUNDS = 3
_MOST_LEFT_OUT = 0.4  # median and MAD break down at one half


@dataclass(frozen=True, eq=False)
class ModelAudit(AuditReport):
    """An audit by models that were fitted on the others.

    Attributes:
        model: a detector that has learnt the trusted images only, for heat maps of the others.
    """

    model: Detector = field(repr=False)

    @property
    def by(self) -> dict[str, str]:
        return {"detector": self.model.scorer.name, "backbone": self.model.backbone.name}

    @property
    def how(self) -> str:
        return "every image scored by {detector} on {backbone} fitted on the others".format(
            **self.by
        )

    @property
    def apart(self) -> str:
        return "Images that the models were not fitted on"

    @property
    def calibration(self) -> Calibration:
        return self.model.calibration

    def results(self, source: Source, entries: Sequence[AuditEntry]) -> Iterator[ScoredFrame]:
        chosen = ChosenFrames(source, [entry.position for entry in entries])
        return score_source(self.model, chosen, batch=_BATCH)


def audit(
    detector: Detector,
    source: SourceLike,
    *,
    progress: Progress = no_progress,
    group_by: GroupBy = AUTO,
) -> ModelAudit:
    """Rank training images by how anomalous they look to models fitted on the others.

    Args:
        detector: gives preparation, backbone, settings and seed; it need not be fitted, and is
            not changed.
        source: images that should be good.
        progress: called with stage, images done, images in total.
        group_by: which images show one part, as for `Detector.fit`: they are scored by models
            that have seen none of them.

    Raises:
        FitError: fewer than 8 usable images.
        SourceError: nothing to read, or a live source.
    """
    opened = open_good_images(source, exif=detector.spec.exif)
    model = _fresh(detector)
    stream = ImageStream(opened, model.backbone, model.spec)
    with telling_reasons(stream.skipped):
        origins = look_through(stream, group_by).origins
    context = FitContext(seed=detector.seed, progress=progress, origins=origins)
    images = np.array(sorted(stream.fingerprints), np.int64)
    with telling_reasons(stream.skipped):
        require_enough(len(images))
    trusted, seen = np.ones(len(images), bool), set[bytes]()
    with torch.no_grad(), kept_for_reuse():
        while True:
            scores, calibration = _score_all(model, stream, images, trusted, context)
            oddness = judge(scores)
            seen.add(trusted.tobytes())
            following = _trust(scores, oddness.weight)
            if following.tobytes() in seen or len(seen) == _MOST_ROUNDS:
                break
            trusted = following
    model._calibration = calibration
    return ModelAudit(
        opened.name,
        list_entries(opened, images, scores, oddness, trusted),
        dict(stream.skipped),
        oddness.scale,
        oddness.median,
        oddness.spread,
        len(seen),
        model.localises,
        model,
    )


def fit_without_suspects(
    detector: Detector,
    source: SourceLike,
    report: AuditReport,
    *,
    progress: Progress = no_progress,
    group_by: GroupBy = AUTO,
) -> Detector:
    """Fit on everything but the suspects of an audit; the calibration says how many are missing.

    The threshold then promises its false-reject rate for parts like those that were kept, not for
    all that the folder holds.
    """
    opened = open_good_images(source, exif=detector.spec.exif)
    suspects = {entry.position for entry in report.suspects}
    if not suspects:
        return detector.fit(opened, progress=progress, group_by=group_by)
    kept = [index for index, _ in enumerate(opened.jobs()) if index not in suspects]
    detector.fit(ChosenFrames(opened, kept), progress=progress, group_by=chosen(group_by, kept))
    calibration = detector.calibration
    words = f"{calibration.method}; {len(suspects)} suspected image(s) left out after an audit"
    detector._calibration = replace(calibration, method=words)
    return detector


def threshold_without(detector: Detector, report: AuditReport) -> float:
    """The threshold of a detector that has learnt all images, from all scores but the suspects'.

    That of the detector itself where too few images are left.
    """
    names = {name_below(entry.name, report.source) for entry in report.suspects}
    records = tuple(record for record in detector.data.records if record.name not in names)
    if not any(record.score is not None for record in records):
        return detector.threshold
    kept = replace(detector.data, records=records)
    return kept.calibration(detector.max_false_reject, detector.calibration.method).threshold


def _fresh(detector: Detector) -> Detector:
    """An unfitted detector with the same settings that shares the backbone."""
    twin = copy.copy(detector)
    twin.spec = replace(detector.spec, aspect=None)
    twin.scorer = create_scorer(detector.scorer.name, **detector.scorer.settings())
    twin.scorer.build(detector.backbone.layout(detector.spec.size_hw, detector.spec.roi))
    twin.graph = DetectorGraph(detector.backbone, twin.scorer).eval()
    twin._calibration = twin._data = None
    return twin


def _score_all(
    model: Detector,
    stream: ImageStream,
    images: NDArray[np.int64],
    trusted: NDArray[np.bool_],
    context: FitContext,
) -> tuple[NDArray[np.float64], Calibration]:
    """Held-out scores `(n,)`: trusted images out-of-fold, the others by the model of all trusted.

    Leaves that model fitted; the calibration holds the trusted images.
    """
    folds = np.full(len(stream), -1, np.int64)
    origins = cast("NDArray[np.int64]", context.origins)
    parts = len(np.unique(origins[images[trusted]]))
    folds[images[trusted]] = folds_of(images[trusted], origins, min(FOLDS, parts), context.seed)
    held_out = out_of_fold_scores(model.scorer, stream.subset(images[trusted]), folds, context)
    by_image = np.full(len(stream), np.nan)
    by_image[held_out.indices] = held_out.image
    if not trusted.all():
        others = score_stream(model.scorer, stream.subset(images[~trusted]))
        by_image[others.indices] = others.image
    calibration = Calibration.from_scores(
        held_out.image,
        held_out.map_peak,
        max_false_reject=model.max_false_reject,
        method=f"{OUT_OF_FOLD}, trusted images of an audit",
        origins=origins[held_out.indices],
    )
    return by_image[images], calibration


def _trust(scores: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Images that are no suspects; of too many suspects, the least anomalous are trusted."""
    trusted = weight > 0
    most = int(_MOST_LEFT_OUT * len(scores))
    if int((~trusted).sum()) > most:
        trusted = np.ones(len(scores), bool)
        trusted[np.argsort(-scores, kind="stable")[:most]] = False
    return trusted
