"""A fit that counts odd training images less, in place of leaving them out or trusting them.

The further an image stands out of the others (`audit`), the less it counts: in full up to a robust
z of 1.345, then falling as `1 / z^2`, and not at all when it is a suspect. These are the
weights of Huber's M-estimator of scatter (Maronna 1976; 1.345 is the constant that keeps 95 %
of the efficiency on clean Gaussian data), applied once, on one side: an image that looks *more*
ordinary than the others is no suspect.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from anomalib_lite.curation.model_audit import AuditEntry, AuditReport
from anomalib_lite.data.grouping import AUTO
from anomalib_lite.detector.chosen_frames import ChosenFrames
from anomalib_lite.detector.detector import Detector
from anomalib_lite.detector.independence import GroupBy, chosen
from anomalib_lite.detector.thumbnails import name_below
from anomalib_lite.edge.sources import SourceLike, open_good_images
from anomalib_lite.scorers import Progress, TakesSampleWeight
from anomalib_lite.scorers.base import no_progress

FULL_UP_TO = 1.345
"""Robust z up to which an image counts in full."""


@dataclass(frozen=True)
class DownWeighting:
    """What a down-weighted fit did with the images.

    Attributes:
        left_out: images of weight 0.
        reduced: images of a weight between 0 and 1.
        effective: how many images of full weight carry as much information as those learnt.
        doubtful: learnt images whose scores have no part in the threshold.
    """

    left_out: int
    reduced: int
    effective: float
    doubtful: int


def learning_weight(entry: AuditEntry) -> float:
    """How far a fit counts an audited image, in [0, 1]."""
    if entry.weight == 0:
        return 0.0
    return 1.0 if entry.robust_z <= FULL_UP_TO else (FULL_UP_TO / entry.robust_z) ** 2


def fit_down_weighted(
    detector: Detector,
    source: SourceLike,
    report: AuditReport,
    *,
    progress: Progress = no_progress,
    group_by: GroupBy = AUTO,
) -> tuple[Detector, DownWeighting]:
    """Fit with each image counted as far as an audit trusts it.

    Images that stand out beyond what chance explains (audit weight below 1) do not take part in the
    calibration: a bad image must not define the threshold. Those that are no suspects count in the
    promise, as if they were good and scored above everything.

    Raises:
        SettingsError: the scorer cannot weigh images.
    """
    opened = open_good_images(source, exif=detector.spec.exif)
    by_position = {entry.position: entry for entry in report.entries}
    learnt = [
        index
        for index, _ in enumerate(opened.jobs())
        if index not in by_position or by_position[index].weight > 0
    ]
    # An unreadable image has no entry; its weight is never used.
    weights = [
        learning_weight(by_position[index]) if index in by_position else 1.0 for index in learnt
    ]
    detector.fit(
        ChosenFrames(opened, learnt),
        sample_weight=weights,
        progress=progress,
        group_by=chosen(group_by, learnt),
    )
    copies = set(detector.data.copies)
    doubtful = [
        entry.weight < 1
        for index in learnt
        if (entry := by_position.get(index)) and name_below(entry.name, opened.name) not in copies
    ]
    _calibrate_without(detector, doubtful)
    left_out = len(report.suspects)
    outcome = DownWeighting(
        left_out,
        sum(0 < weight < 1 for weight in weights),
        cast(TakesSampleWeight, detector.scorer).effective_images(np.array(weights)),
        sum(doubtful),
    )
    words = (
        f"{detector.calibration.method}; after an audit {outcome.reduced} image(s) down-weighted, "
        f"{left_out} left out, {outcome.doubtful} not calibrated on"
    )
    detector._calibration = replace(detector.calibration, method=words)
    return detector, outcome


def _calibrate_without(detector: Detector, doubtful: list[bool]) -> None:
    """Take the scores of doubtful images, given in the order of the records, out of the
    threshold, now and after later updates."""
    records = tuple(
        record._replace(score=None, map_peak=None) if odd else record
        for record, odd in zip(detector.data.records, doubtful, strict=True)
    )
    before = detector.calibration
    detector._data = replace(detector.data, records=records)
    kept = detector.data.calibration(detector.max_false_reject, before.method)
    detector._calibration = replace(kept, reference=before.reference, doubtful=sum(doubtful))
