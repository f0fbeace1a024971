"""Fit a detector on some good frames, export it, and judge the exported file on others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.detector.detector import Detector
from anomalib_lite.edge.model import EdgeModel
from anomalib_lite.tuning.good_frames import GoodFrames
from anomalib_lite.tuning.held_out import defects_for, fit_on
from anomalib_lite.tuning.judging import Judgement, judge


@dataclass(frozen=True, eq=False)
class JudgedFile:
    """An exported file and what it finds.

    Attributes:
        model: the file, open.
        size_bytes: of the file.
        judgement: its scores on frames that the detector has not learnt.
    """

    model: EdgeModel
    size_bytes: int
    judgement: Judgement


@dataclass(frozen=True, eq=False)
class Judge:
    """What all files of a choice are judged on.

    Attributes:
        good: good frames at the reference size.
        seed: draws the defects.
        inside: region of interest at the reference size, bool `(H, W)`.
        diameter_px: as for `GoodFrames.defects`.
    """

    good: GoodFrames
    seed: int
    inside: NDArray[np.bool_] | None = None
    diameter_px: tuple[float, float] | None = None

    def __call__(
        self, detector: Detector, images: int, path: Path, *, precision: str = "fp32"
    ) -> JudgedFile:
        """Fit on so many of the good frames; the file stays at `path`.

        Args:
            detector: unfitted, `calibration="holdout"`, its preparation from a reference frame.
            images: of the fit.
            path: of the file.
            precision: of its graph; a lower one is chosen by all the good frames.
        """
        good = self.good
        unseen = fit_on(detector, good, images)
        frames = None if precision == "fp32" else list(good.frames)
        written = detector.export(path, precision=precision, frames=frames)
        model = EdgeModel(path, self_test=False)
        per_image = defects_for(unseen, images)
        defects = good.defects(
            unseen, per_image, seed=self.seed, inside=self.inside, diameter_px=self.diameter_px
        )
        pictures = (good.frames[index] for index in unseen.tolist())
        judgement = judge(model, pictures, defects, per_image=per_image)
        return JudgedFile(model, written.size_bytes, judgement)
