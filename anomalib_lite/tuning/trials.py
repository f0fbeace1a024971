"""One trial: fit a configuration on some good images, export it, judge the exported file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from anomalib_lite.data.sample import Sample
from anomalib_lite.edge.errors import AnomalibLiteError, FitError, FrameError
from anomalib_lite.edge.frames import Frame, read_frame
from anomalib_lite.edge.model import EdgeModel
from anomalib_lite.edge.prepare import InputSpec, prepare
from anomalib_lite.metrics.image import auroc
from anomalib_lite.statistics.spread import spread
from anomalib_lite.tuning.exported import Judge
from anomalib_lite.tuning.good_frames import GoodFrames, of_reference
from anomalib_lite.tuning.grid import Configuration
from anomalib_lite.tuning.judging import Judgement

_LABELLED_PER_IMAGE = 2  # labelled frames scored for each good image of a rung

FAILURES = (AnomalibLiteError, MemoryError, RuntimeError, ValueError)
"""What a trial may fail with; a full disk is nobody's fault and ends the run."""

SpecAt = Callable[[tuple[int, int]], InputSpec]


@dataclass(frozen=True, eq=False)
class TrialRecord:
    """What a trial gave.

    Attributes:
        configuration: what was tried.
        images: good images of its rung.
        judgement: scores on good images and simulated defects; None for a trial that failed.
        labelled: image AUROC on labelled frames; None where none were given.
        size_bytes: of the exported file.
        failed: why there is no judgement, in words; else empty.
    """

    configuration: Configuration
    images: int
    judgement: Judgement | None = None
    labelled: float | None = None
    size_bytes: int = 0
    failed: str = ""

    @property
    def accuracy(self) -> float:
        """What trials are ranked by: labels where there are any, else what is found."""
        assert self.judgement is not None  # a trial that failed is not ranked
        return self.judgement.found if self.labelled is None else self.labelled

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; `from_dict` is the inverse."""
        judged = None if self.judgement is None else self.judgement.to_dict()
        return {
            "configuration": self.configuration.to_dict(),
            "images": self.images,
            "judgement": judged,
            "labelled": self.labelled,
            "size_bytes": self.size_bytes,
            "failed": self.failed,
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> TrialRecord:
        """Rebuild from `to_dict`."""
        judged = fields["judgement"]
        return cls(
            Configuration.from_dict(fields["configuration"]),
            int(fields["images"]),
            None if judged is None else Judgement.from_dict(judged),
            fields["labelled"],
            int(fields["size_bytes"]),
            str(fields["failed"]),
        )


@dataclass(frozen=True, eq=False)
class Bench:
    """What all trials share.

    Attributes:
        good: good frames at the reference size.
        spec_at: the preparation at a size.
        reference_hw: size of the reference frames.
        labelled: test frames with labels, or none.
        weights: as `Detector` takes them.
        device: where torch computes.
        seed: draws splits and defects.
    """

    good: GoodFrames
    spec_at: SpecAt
    reference_hw: tuple[int, int]
    labelled: Sequence[Sample] = ()
    weights: Path | None = None
    device: str = "auto"
    seed: int = 0

    @property
    def fingerprint(self) -> str:
        """sha256 of the good frames: what a resumed tuning must find again."""
        return hashlib.sha256(self.good.frames.tobytes()).hexdigest()

    def run(self, configuration: Configuration, images: int, path: Path) -> TrialRecord:
        """Try a configuration on so many good images; the exported file stays at `path`."""
        record = TrialRecord(configuration, images)
        try:
            return self._run(record, path)
        except FAILURES as error:
            path.unlink(missing_ok=True)
            said = str(error).strip().splitlines()
            return replace(record, failed=said[0] if said else type(error).__name__)

    def _run(self, record: TrialRecord, path: Path) -> TrialRecord:
        wanted = record.configuration
        detector = wanted.create(
            weights=self.weights,
            image_size=of_reference(self.spec_at(wanted.size_hw)),
            calibration="holdout",
            seed=self.seed,
            device=self.device,
        )
        judge = Judge(self.good, self.seed, self.spec_at(self.reference_hw).roi)
        found = judge(detector, record.images, path, precision=wanted.precision)
        judgement = found.judgement
        if not all(np.isfinite(scores).all() for scores in (judgement.good, judgement.defects)):
            raise FitError("some scores are not finite")
        return replace(
            record,
            judgement=judgement,
            labelled=self._on_labels(found.model, wanted.size_hw, record.images),
            size_bytes=found.size_bytes,
        )

    def _on_labels(self, model: EdgeModel, size_hw: tuple[int, int], images: int) -> float | None:
        """Image AUROC on labelled frames, good and defective ones thinned alike."""
        if not self.labelled:
            return None
        spec = self.spec_at(size_hw)
        scores, labels = [], []
        for label in (0, 1):
            own = [sample for sample in self.labelled if sample.label == label]
            for place in spread(len(own), _LABELLED_PER_IMAGE * images // 2):
                try:
                    frame = read_frame(own[place].path, exif=spec.exif)
                    scores.append(_score(model, frame, spec))
                except FrameError:
                    continue
                labels.append(label)
        return float(auroc(np.array(scores), np.array(labels)))


def _score(model: EdgeModel, frame: Frame, spec: InputSpec) -> float:
    return float(model.run(prepare(frame, spec)[None]).score[0])
