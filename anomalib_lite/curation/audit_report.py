"""What an audit of training images says, whoever has scored them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import FitError
from anomalib_lite.edge.runs.scoring import ScoredFrame
from anomalib_lite.edge.sources import Source
from anomalib_lite.statistics.outliers import Oddness

_FEWEST = 8


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
class AuditReport(ABC):
    """Training images, most anomalous first.

    Attributes:
        source: what was audited.
        entries: every usable image, highest score first.
        skipped: image name -> why it could not be used.
        scale: `"log"` or `"raw"`, what the robust z was taken of.
        median: of x over all images.
        spread: 1.4826 MAD of x over all images.
        rounds: passes until the trusted images stayed the same.
        localises: whether `results` have maps that say where.
    """

    source: str
    entries: tuple[AuditEntry, ...]
    skipped: dict[str, str]
    scale: str
    median: float
    spread: float
    rounds: int
    localises: bool

    @property
    @abstractmethod
    def by(self) -> dict[str, str]:
        """What scored the images: `detector`, `backbone` and, where there is one, `protocol`."""

    @property
    @abstractmethod
    def how(self) -> str:
        """The same in words."""

    @property
    @abstractmethod
    def apart(self) -> str:
        """What the images that are not trusted are, as a heading."""

    @property
    @abstractmethod
    def calibration(self) -> Calibration:
        """Where ordinary maps end."""

    @abstractmethod
    def results(self, source: Source, entries: Sequence[AuditEntry]) -> Iterator[ScoredFrame]:
        """The frames of some entries with their maps, in the order of the source."""

    @property
    def suspects(self) -> tuple[AuditEntry, ...]:
        """Images with weight 0, highest score first."""
        return tuple(entry for entry in self.entries if entry.weight == 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "source": self.source,
            **self.by,
            "images": len(self.entries),
            "suspects": len(self.suspects),
            "scale": self.scale,
            "median": self.median,
            "spread": self.spread,
            "rounds": self.rounds,
            "skipped": self.skipped,
            "entries": [entry._asdict() for entry in self.entries],
        }


def require_enough(images: int) -> None:
    """Raise `FitError` where an audit would say nothing."""
    if images < _FEWEST:
        raise FitError(f"{images} usable image(s): an audit needs at least {_FEWEST}")


def list_entries(
    source: Source,
    images: NDArray[np.int64],
    scores: NDArray[np.floating[Any]],
    oddness: Oddness,
    trusted: NDArray[np.bool_],
) -> tuple[AuditEntry, ...]:
    """Entries of the images at some places of a source, highest score first; arrays `(n,)`."""
    names = [job.name for job in source.jobs()]
    return tuple(
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
    )
