"""What EfficientAD's size decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anomalib_lite.backbones.pdn import Size
from anomalib_lite.scorers.student_teacher.efficientad_networks import PAPER, SLIM, Proportions

EfficientAdSize = Literal["S", "M", "edge"]


@dataclass(frozen=True)
class Variant:
    """One size.

    Attributes:
        network: patch network of the student.
        backbone: the teacher's.
        layer: of that backbone, the teacher.
        proportions: of the autoencoder.
        steps: of training.
        rate: learning rate.
        hard_quantile: of the hard loss.
        border: cells that the teacher does not look at, on each side of the anomaly map.
        blind: cells on each side of the teacher's map that see mostly padding.
        floats_per_pixel: numbers that a step holds for a pixel, about.
    """

    network: Size
    backbone: str
    layer: str
    proportions: Proportions = PAPER
    steps: int = 70_000
    rate: float = 1e-4
    hard_quantile: float = 0.999
    border: int = 4
    blind: int = 0
    floats_per_pixel: int = 280


VARIANTS: dict[EfficientAdSize, Variant] = {
    "S": Variant("small", "pdn_small", "valid"),
    "M": Variant("medium", "pdn_medium", "valid", floats_per_pixel=560),
    "edge": Variant(
        "edge",
        "pdn_edge",
        "local",
        proportions=SLIM,
        steps=10_000,
        rate=1e-3,
        hard_quantile=0.99,
        border=0,
        blind=1,
        floats_per_pixel=60,
    ),
}
