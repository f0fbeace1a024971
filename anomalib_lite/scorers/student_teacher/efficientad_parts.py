"""What training, scoring and merging an EfficientAD share, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from anomalib_lite.scorers.student_teacher.efficientad_maps import MapHead
from anomalib_lite.scorers.student_teacher.efficientad_networks import Student


@dataclass(frozen=True, eq=False)
class Networks:
    """The trained networks beside the teacher.

    Attributes:
        student: the doubled student.
        autoencoder: None where logical defects are not looked for.
        head: from difference maps to score and map.
        teacher_layer: backbone layer that is the teacher.
    """

    student: Student
    autoencoder: nn.Module | None
    head: MapHead
    teacher_layer: str

    def differences(self, teacher: Tensor, pixels: Tensor) -> list[Tensor]:
        """Mean squared differences student - teacher and student - autoencoder, `(N, h, w)`.

        Args:
            teacher: normalised teacher maps `(N, C, h, w)`.
            pixels: `(N, 3, H, W)`.
        """
        if self.autoencoder is None:
            first = self.student.one_half(pixels, second=False)
            return [(teacher - first).square().mean(dim=1)]
        first, second = self.student(pixels)
        predicted = self.autoencoder(pixels)
        return [
            (teacher - first).square().mean(dim=1),
            (predicted - second).square().mean(dim=1),
        ]


@dataclass(frozen=True)
class Course:
    """How they are trained.

    Attributes:
        size: which networks, for the progress line.
        settings: of the scorer, plain JSON types; a checkpoint of others is refused.
        input_hw: input `(height, width)`.
        bf16: train in bfloat16.
        penalty: whether the student must stay silent on penalty pictures.
        penalty_pictures: folder of such pictures; None draws them.
        rate: learning rate.
        quantile: of the hard loss.
    """

    size: str
    settings: dict[str, Any]
    input_hw: tuple[int, int]
    bf16: bool
    penalty: bool
    penalty_pictures: str | None
    rate: float
    quantile: float
