"""Which training images do not look like the others? A set that should be good, checked by itself.

Every image is scored by a model that has not seen it. Odd images would widen those models and hide
each other, so what stands out is left out of the models and everything is scored again, until the
set of trusted images stays the same (concentration steps as in the FAST-MCD estimator of Rousseeuw
and Van Driessen 1999, with out-of-fold scores in place of distances). Nothing is deleted on the
way: an image that was left out returns when its new score is ordinary.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_lite.calibrate import (
    FOLDS,
    OUT_OF_FOLD,
    assign_folds,
    out_of_fold_scores,
    score_stream,
)
from anomalib_lite.detector import Detector, DetectorGraph
from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import FitError
from anomalib_lite.edge.footprint import kept_for_reuse
from anomalib_lite.edge.sources import Source, SourceLike, open_source
from anomalib_lite.scorers import FitContext, Progress, create_scorer
from anomalib_lite.scorers.base import no_progress
from anomalib_lite.streams import ChosenFrames, ImageStream

EXCLUDED = 0.05
"""Adjusted p-value up to which an image is a suspect with weight 0."""

ORDINARY = 0.5
"""Adjusted p-value from which an image has its full weight."""

_FEWEST = 8
_MOST_ROUNDS = 3
_MOST_LEFT_OUT = 0.4  # median and MAD break down at one half
_NORMAL_MAD = 1.4826  # standard deviation of a Gaussian / its median absolute deviation
_TINY = 1e-6


class AuditEntry(NamedTuple):
    """One training image.

    Attributes:
        position: its place in the source, from 0.
        name: what the source calls it.
        score: image score by a model that has not seen it.
        robust_z: `(x - median) / (1.4826 MAD)`, x the score or its logarithm.
        p_value: chance that a good image scores as high, were x Gaussian; adjusted for the number
            of images (Benjamini and Hochberg 1995).
        weight: 0 for a suspect, 1 for an ordinary image, in between the more it stands out.
        trusted: whether the models that scored the other images had learnt it.
    """

    position: int
    name: str
    score: float
    robust_z: float
    p_value: float
    weight: float
    trusted: bool


@dataclass(frozen=True, eq=False)
class AuditReport:
    """Training images, most anomalous first.

    Attributes:
        source: what was audited.
        entries: every usable image, highest score first.
        skipped: image name -> why it could not be used.
        scale: `"log"` or `"raw"`, what the robust z was taken of.
        median: of x over all images.
        spread: 1.4826 MAD of x over all images.
        rounds: passes until the trusted images stayed the same.
        model: a detector that has learnt the trusted images only, for heat maps of the others.
    """

    source: str
    entries: tuple[AuditEntry, ...]
    skipped: dict[str, str]
    scale: str
    median: float
    spread: float
    rounds: int
    model: Detector = field(repr=False)

    @property
    def suspects(self) -> tuple[AuditEntry, ...]:
        """Images with weight 0, highest score first."""
        return tuple(entry for entry in self.entries if entry.weight == 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "source": self.source,
            "detector": self.model.scorer.name,
            "backbone": self.model.backbone.name,
            "images": len(self.entries),
            "suspects": len(self.suspects),
            "scale": self.scale,
            "median": self.median,
            "spread": self.spread,
            "rounds": self.rounds,
            "skipped": self.skipped,
            "entries": [entry._asdict() for entry in self.entries],
        }


class Oddness(NamedTuple):
    """How far each of `n` scores stands out of all of them; arrays `(n,)`."""

    robust_z: NDArray[np.float64]
    p_value: NDArray[np.float64]
    weight: NDArray[np.float64]
    scale: str
    median: float
    spread: float


def audit(
    detector: Detector, source: SourceLike, *, progress: Progress = no_progress
) -> AuditReport:
    """Rank training images by how anomalous they look to models fitted on the others.

    Args:
        detector: gives preparation, backbone, settings and seed; it need not be fitted, and is
            not changed.
        source: images that should be good.
        progress: called with stage, images done, images in total.

    Raises:
        FitError: fewer than 8 usable images.
        SourceError: nothing to read, or a live source.
    """
    opened = open_source(source, exif=detector.spec.exif)
    model = _fresh(detector)
    stream = ImageStream(opened, model.backbone, model.spec)
    context = FitContext(seed=detector.seed, progress=progress)
    for _ in stream.prepared():
        pass
    images = np.array(sorted(stream.fingerprints), np.int64)
    if len(images) < _FEWEST:
        raise FitError(f"{len(images)} usable image(s): an audit needs at least {_FEWEST}")
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
    names = [job.name for job in opened.jobs()]
    entries = [
        AuditEntry(
            int(images[i]),
            names[images[i]],
            float(scores[i]),
            float(oddness.robust_z[i]),
            float(oddness.p_value[i]),
            float(oddness.weight[i]),
            bool(trusted[i]),
        )
        for i in np.argsort(-scores, kind="stable")
    ]
    return AuditReport(
        opened.name,
        tuple(entries),
        dict(stream.skipped),
        oddness.scale,
        oddness.median,
        oddness.spread,
        len(seen),
        model,
    )


def judge(scores: NDArray[np.floating[Any]]) -> Oddness:
    """Robust z, adjusted p-value and weight of each held-out score `(n,)`.

    The logarithm is taken when all scores are positive: distances are skewed, and a skewed tail
    must not look like a mislabelled image.
    """
    values = np.asarray(scores, np.float64)
    scale = "log" if values.min() > 0 else "raw"
    x = np.log(values) if scale == "log" else values
    median = float(np.median(x))
    spread = max(_NORMAL_MAD * float(np.median(np.abs(x - median))), _TINY)
    z = (x - median) / spread
    chances = np.array([0.5 * math.erfc(value / math.sqrt(2)) for value in z])
    p = benjamini_hochberg(chances)
    weight = np.clip((p - EXCLUDED) / (ORDINARY - EXCLUDED), 0.0, 1.0)
    return Oddness(z, p, weight, scale, median, spread)


def benjamini_hochberg(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjusted p-values `(n,)`: calling all up to `q` gives a false share of at most `q`."""
    count = len(chances)
    order = np.argsort(chances, kind="stable")
    scaled = chances[order] * count / np.arange(1, count + 1)
    adjusted = np.empty(count)
    adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    return adjusted


def fit_without_suspects(
    detector: Detector,
    source: SourceLike,
    report: AuditReport,
    *,
    progress: Progress = no_progress,
) -> Detector:
    """Fit on everything but the suspects of an audit; the calibration says how many are missing.

    The threshold then promises its false-reject rate for parts like those that were kept, not for
    all that the folder holds.
    """
    opened = open_source(source, exif=detector.spec.exif)
    suspects = {entry.position for entry in report.suspects}
    if not suspects:
        return detector.fit(opened, progress=progress)
    kept = [index for index, _ in enumerate(opened.jobs()) if index not in suspects]
    detector.fit(ChosenFrames(opened, kept), progress=progress)
    calibration = detector.calibration
    words = f"{calibration.method}; {len(suspects)} suspected image(s) left out after an audit"
    detector._calibration = replace(calibration, method=words)
    return detector


def suspect_frames(source: Source, entries: list[AuditEntry]) -> ChosenFrames:
    """The frames of some entries, in the order of the source."""
    return ChosenFrames(source, [entry.position for entry in entries])


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
    count = int(trusted.sum())
    folds[images[trusted]] = assign_folds(count, min(FOLDS, count), context.seed)
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
