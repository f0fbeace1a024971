"""EfficientAD: a student that imitates a frozen patch network, and an autoencoder that sees the
whole picture (Batzner, Heckler, König 2024).

Where the student fails to follow the teacher, the texture is new; where it fails to follow the
autoencoder, which knows how parts belong together, the arrangement is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anomalib_lite.backbones.base import Backbone
from anomalib_lite.backbones.features import FeatureLayout, Features
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.base import FeatureStream, FitContext, Scorer, Scores
from anomalib_lite.scorers.image_score import (
    TOP_SHARE,
    ImageScore,
    ImageScoreKind,
    image_score_settings,
)
from anomalib_lite.scorers.registry import register_scorer
from anomalib_lite.scorers.student_teacher.efficientad_maps import MapHead
from anomalib_lite.scorers.student_teacher.efficientad_merge import MergedEfficientAd
from anomalib_lite.scorers.student_teacher.efficientad_networks import (
    Autoencoder,
    Student,
    student_grid,
)
from anomalib_lite.scorers.student_teacher.efficientad_parts import Course, Networks
from anomalib_lite.scorers.student_teacher.efficientad_training import Lesson
from anomalib_lite.scorers.student_teacher.efficientad_variants import VARIANTS, EfficientAdSize
from anomalib_lite.scorers.training.course import check_rate
from anomalib_lite.scorers.training.loop import Budget, step_seed, train
from anomalib_lite.scorers.training.teacher_cache import TEACHER_CACHE_BYTES
from anomalib_lite.system.devices import put, put_module
from anomalib_lite.system.seeding import seeded

_PICTURES_PER_STEP = 4


@register_scorer
class EfficientAd(Scorer):
    """Teacher, doubled student and autoencoder; trained by steps of one image.

    Args:
        size: `"S"` and `"M"` are the paper's; `"edge"` is this project's variant, a twentieth of
            S's work: the student is a small network of stride 8 with the same 39 pixels around each
            cell, the autoencoder is slimmed in proportion.
        steps: steps of training; None takes the paper's 70,000 (edge: 10,000) unless `minutes` is
            given.
        minutes: stop after so many minutes of training.
        penalty_pictures: folder of pictures of anything but the part, e.g. photographs; None
            makes procedural pictures.
        learning_rate: of Adam; None takes the paper's 1e-4 (edge: 1e-3).
        hard_quantile: the student learns from the squared differences above this quantile; 0 from
            all of them. None takes the paper's 0.999 (edge: 0.99).
        penalty: whether the student must stay silent on penalty pictures.
        autoencoder: whether there is one; without it logical defects go unseen.
        map_normalisation: whether held-out good images bring both maps to one scale.
        bf16: train student and autoencoder in bfloat16, the teacher of augmented images included
            (losses and weights stay float32): about twice as fast where the processor knows it.
            Scoring does not depend on it.
        image_score: `"max"` of the map (the paper's), or `"top"`: the mean of its largest values.
        top_share: share of the map that `"top"` counts.

    Attributes:
        teacher_mean_: mean of each teacher channel over the good images `(C,)`.
        teacher_std_: standard deviation of each `(C,)`.
        held_out_loss_: (step, loss on held-out good images) along the training `(k, 2)`.
    """

    name = "efficientad"
    teacher_mean_: Tensor
    teacher_std_: Tensor
    held_out_loss_: Tensor

    def __init__(
        self,
        size: EfficientAdSize = "edge",
        steps: int | None = None,
        minutes: float | None = None,
        penalty_pictures: str | None = None,
        learning_rate: float | None = None,
        hard_quantile: float | None = None,
        penalty: bool = True,
        autoencoder: bool = True,
        map_normalisation: bool = True,
        bf16: bool = False,
        image_score: ImageScoreKind = "max",
        top_share: float = TOP_SHARE,
    ) -> None:
        super().__init__()
        if size not in VARIANTS:
            raise SettingsError(f"size is {size!r}; choose S, M or edge")
        if hard_quantile is not None and not 0 <= hard_quantile < 1:
            raise SettingsError(f"hard_quantile is {hard_quantile}; choose 0 to below 1")
        check_rate(learning_rate)
        self.size: EfficientAdSize = size
        self.steps = steps
        self.minutes = minutes
        self.penalty_pictures = penalty_pictures
        self.learning_rate = learning_rate
        self.hard_quantile = hard_quantile
        self.penalty = penalty
        self.autoencoder = autoencoder
        self.map_normalisation = map_normalisation
        self.bf16 = bf16
        self.image_score, self.top_share = image_score_settings(image_score, top_share)
        self.variant = VARIANTS[size]
        unlimited = steps is None and minutes is None
        self.budget = Budget(self.variant.steps if unlimited else steps, minutes)

    def settings(self) -> dict[str, Any]:
        """As given; of a folder only its name, which says what without saying where."""
        settings = super().settings()
        if self.penalty_pictures is not None:
            settings["penalty_pictures"] = Path(self.penalty_pictures).name
        return settings

    def default_backbone(self) -> tuple[str, tuple[str, ...] | None]:
        return self.variant.backbone, (self.variant.layer,)

    def build(self, layout: FeatureLayout) -> None:
        super().build(layout)
        wanted = self.variant.layer
        found = [layer for layer in layout.layers if layer.name == wanted]
        grid = student_grid(self.variant.network, layout.input_hw)
        if not found or found[0].grid_hw != grid:
            names = ", ".join(layer.name for layer in layout.layers)
            raise SettingsError(
                f"efficientad of size {self.size} has the layer {wanted!r} of "
                f"{self.variant.backbone} as its teacher, not {names}; leave --backbone and "
                "--layers out"
            )
        if min(layout.input_hw) < 1 << len(self.variant.proportions.encoder):
            raise SettingsError(
                f"efficientad needs images of at least 32 pixels, not {layout.input_hw}"
            )
        self.teacher = found[0]
        self._allocate(0)

    def _allocate(self, seed: int) -> None:
        """Fresh networks and statistics from a seed, on the device of the scorer."""
        variant, channels = self.variant, self.teacher.channels
        with seeded(step_seed(seed, 0, "weights")):
            self.student = Student(variant.network, channels)
            self.autoencoder_net: nn.Module | None = None
            if self.autoencoder:
                self.autoencoder_net = Autoencoder(
                    self.layout.input_hw,
                    self.teacher.grid_hw,
                    channels,
                    variant.proportions,
                )
        maps = 2 if self.autoencoder else 1
        grid_hw = self.teacher.grid_hw
        summary = ImageScore(self.image_score, self.top_share, self.layout.pixels_inside)
        self.head = MapHead(self.layout, grid_hw, variant.border, maps, variant.blind, summary)
        self.register_buffer("teacher_mean_", torch.zeros(channels))
        self.register_buffer("teacher_std_", torch.ones(channels))
        self.register_buffer("held_out_loss_", torch.zeros(0, 2, dtype=torch.float64))
        put_module(self, self.device)

    @property
    def rate(self) -> float:
        """Learning rate of the training."""
        return self.variant.rate if self.learning_rate is None else self.learning_rate

    @property
    def quantile(self) -> float:
        """Quantile of the hard loss."""
        return self.variant.hard_quantile if self.hard_quantile is None else self.hard_quantile

    @property
    def networks(self) -> Networks:
        """Student, autoencoder and head."""
        return Networks(self.student, self.autoencoder_net, self.head, self.teacher.name)

    @property
    def course(self) -> Course:
        """How they are trained."""
        return Course(
            size=self.size,
            settings=self.settings(),
            input_hw=self.layout.input_hw,
            bf16=self.bf16,
            penalty=self.penalty,
            penalty_pictures=self.penalty_pictures,
            rate=self.rate,
            quantile=self.quantile,
        )

    def memory_bytes(self) -> int:
        """Weights with gradients and moments, one step's maps, and cached teacher outputs."""
        weights = sum(item.numel() for item in self.parameters())
        height, width = self.layout.input_hw
        maps = height * width * self.variant.floats_per_pixel * _PICTURES_PER_STEP * 3
        return 4 * (4 * weights + maps) + TEACHER_CACHE_BYTES

    def fit(self, stream: FeatureStream, context: FitContext) -> None:
        """Train until the budget is spent or Ctrl-C is pressed, then learn the map normalisation.

        Raises:
            FitError: fewer than two usable images, a loss that is not finite, a foreign checkpoint.
            SettingsError: penalty pictures that cannot be read.
        """
        self._allocate(context.seed)
        lesson = Lesson(self.networks, self.course, stream, context)
        self.register_buffer("teacher_mean_", lesson.mean)
        self.register_buffer("teacher_std_", lesson.std)
        state = train(lesson.training(), self.budget, context)
        self.stopped_early = not state.finished
        curve = torch.tensor(state.curve, dtype=torch.float64).reshape(-1, 2)
        self.register_buffer("held_out_loss_", put(curve, self.device))
        lesson.end()
        self.eval()
        if self.map_normalisation:
            self.head.calibrate(lesson.held_out_maps())

    def forward(self, features: Features) -> Scores:
        image, anomaly_map = self.head(self.difference_maps(features))
        return Scores(image, anomaly_map)

    def difference_maps(self, features: Features) -> list[Tensor]:
        """Mean squared differences student - teacher and student - autoencoder, `(N, h, w)`."""
        teacher = features.maps[self.teacher.name] - self.teacher_mean_.view(-1, 1, 1)
        teacher = teacher / self.teacher_std_.view(-1, 1, 1)
        return self.networks.differences(teacher, features.pixels)

    def merged(self, backbone: Backbone) -> nn.Module:
        """Teacher, student and autoencoder as one network (`MergesBackbone`)."""
        return MergedEfficientAd(self.networks, self.teacher_mean_, self.teacher_std_, backbone)
