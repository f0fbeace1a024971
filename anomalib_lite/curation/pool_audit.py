"""The audit of training images by themselves: they are a pool, and each is judged by the others.

Beside `audit.audit`, which asks models of the detector's own kind: no model is fitted here, so a
method that sees little (a pooled score, a tiny defect) does not decide what is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from anomalib_lite.curation.audit_report import (
    AuditEntry,
    AuditReport,
    list_entries,
    require_enough,
)
from anomalib_lite.detector.detector import Detector
from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import SettingsError, telling_reasons
from anomalib_lite.edge.runs.scoring import ScoredFrame
from anomalib_lite.edge.sources import Source, SourceLike, open_good_images
from anomalib_lite.scorers import Progress
from anomalib_lite.scorers.base import no_progress
from anomalib_lite.transductive.pool import PROTOCOL, Pool, PoolReport


@dataclass(frozen=True, eq=False)
class PoolAudit(AuditReport):
    """An audit by a pool.

    Attributes:
        pool: judges.
        judged: what it says.
    """

    pool: Pool = field(repr=False)
    judged: PoolReport = field(repr=False)

    @property
    def by(self) -> dict[str, str]:
        backbone = self.pool.backbone.name
        return {"detector": self.pool.scorer.name, "backbone": backbone, "protocol": PROTOCOL}

    @property
    def how(self) -> str:
        words = "every image judged by the others, {detector} on {backbone}, protocol {protocol}"
        return words.format(**self.by)

    @property
    def apart(self) -> str:
        return "Images that stand out of their pool"

    @property
    def calibration(self) -> Calibration:
        return self.judged.calibration

    def results(self, source: Source, entries: Sequence[AuditEntry]) -> Iterator[ScoredFrame]:
        positions = [entry.position for entry in entries]
        return self.pool.results(self.judged, source, positions)


def pool_for(detector: Detector, name: str = "musc") -> Pool:
    """A pool that sees images as a detector does: its preparation, backbone, layers and seed.

    Args:
        detector: need not be fitted.
        name: scorer of the pool.

    Raises:
        SettingsError: the layers have no patches to compare.
    """
    layers = detector.scorer.layout.layers
    if all(info.grid_hw == (1, 1) for info in layers):
        named = ", ".join(info.name for info in layers)
        raise SettingsError(
            f"{name} compares patches, and {named} of {detector.backbone.name} has none; name "
            "other layers"
        )
    spec = replace(detector.spec, aspect=None)
    # Robust z takes logarithms of distances; the 0..1 of RsCIN has none worth taking.
    return Pool(name, backbone=detector.backbone, image_size=spec, seed=detector.seed, rscin=[])


def audit_by_pool(pool: Pool, source: SourceLike, *, progress: Progress = no_progress) -> PoolAudit:
    """Rank training images by how little they resemble each other.

    Args:
        pool: judges; see `pool_for`.
        source: images that should be good.
        progress: called with stage, items done, items in total.

    Raises:
        FitError: fewer than 8 usable images, too little memory, or a full disk.
        SourceError: nothing to read, or a live source.
    """
    opened = open_good_images(source, exif=pool.spec.exif)
    judged = pool.score(opened, progress=progress)
    with telling_reasons(judged.skipped):
        require_enough(len(judged.names))
    scores, oddness = judged.scores, judged.oddness
    trusted = np.asarray(oddness.weight > 0)
    return PoolAudit(
        opened.name,
        list_entries(opened, scores.indices, scores.image, oddness, trusted),
        judged.skipped,
        oddness.scale,
        oddness.median,
        oddness.spread,
        rounds=1,
        localises=True,
        pool=pool,
        judged=judged,
    )
