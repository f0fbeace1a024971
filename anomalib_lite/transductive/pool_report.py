"""What a pool says about its images: scores, ranking, what stands out, and how it was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.scorers.mutual.pool_scores import PROTOCOL, PoolScores
from anomalib_lite.scorers.mutual.rscin import most_similar
from anomalib_lite.statistics.outliers import Oddness


@dataclass(frozen=True, eq=False)
class PoolReport:
    """What a pool says about its images.

    Attributes:
        source: what was judged.
        names: usable images, in reading order.
        scores: their scores; rows are in the order of `names`.
        oddness: how far each stands out of the pool.
        calibration: the pool's own scores with the cut of `oddness`: a p-value is the share of the
            pool that scores at least as high, the threshold the largest score that does not stand
            out. It promises nothing about good frames.
        skipped: image name -> why it could not be used.
        facts: protocol, detector, backbone, settings and versions, plain JSON types.
    """

    source: str
    names: tuple[str, ...]
    scores: PoolScores = field(repr=False)
    oddness: Oddness = field(repr=False)
    calibration: Calibration = field(repr=False)
    skipped: dict[str, str]
    facts: dict[str, Any]

    @property
    def ranking(self) -> list[int]:
        """Rows, most anomalous first."""
        order = np.argsort(-self.scores.image, kind="stable")
        return [int(row) for row in order]

    @property
    def suspects(self) -> list[int]:
        """Rows that stand out of the pool, most anomalous first."""
        return [row for row in self.ranking if self.oddness.weight[row] == 0]

    def neighbours(self, row: int, count: int) -> list[int]:
        """Rows of the images most similar to one as a whole, most similar first."""
        return most_similar(self.scores.embeddings, row, count)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            **self.facts,
            "source": self.source,
            "images": len(self.names),
            "suspects": len(self.suspects),
            "threshold": self.calibration.threshold,
            "judges_per_image": self.scores.judges,
            "pairs_multiplied": self.scores.products,
            "skipped": self.skipped,
            "entries": [
                {
                    "name": self.names[row],
                    "score": float(self.scores.image[row]),
                    "largest_of_map": float(self.scores.map_peak[row]),
                    "robust_z": float(self.oddness.robust_z[row]),
                    "p_value": float(self.oddness.p_value[row]),
                    "weight": float(self.oddness.weight[row]),
                    "most_similar": [self.names[other] for other in self.neighbours(row, 2)],
                }
                for row in self.ranking
            ],
        }


def own_calibration(scores: PoolScores, oddness: Oddness) -> Calibration:
    """The pool's scores, cut where `oddness` cuts: the largest score that does not stand out."""
    count, suspects = len(scores.image), int((oddness.weight == 0).sum())
    return Calibration.from_scores(
        scores.image,
        scores.map_peak,
        max_false_reject=(suspects + 1) / (count + 1),
        method=f"{PROTOCOL}: ranks within this pool; nothing is known to be good",
    )
