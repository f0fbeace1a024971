"""Reconstruction by a plain autoencoder: the baseline that `draem` has to beat."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from anomalib_lite.backbones.features import FeatureLayout, Features
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.base import FeatureStream, Scores
from anomalib_lite.scorers.image_score import (
    TOP_SHARE,
    ImageScore,
    ImageScoreKind,
    image_score_settings,
)
from anomalib_lite.scorers.reconstruction.autoencoder import LEAST_SIDE, PictureAutoencoder
from anomalib_lite.scorers.reconstruction.likeness import StructuralSimilarity, mean_inside
from anomalib_lite.scorers.reconstruction.trained import Loss, TrainedOnPixels
from anomalib_lite.scorers.registry import register_scorer
from anomalib_lite.scorers.training.course import check_course
from anomalib_lite.scorers.training.loop import Schedule, fall_at_the_end

_RATE = 1e-3
_PASSES = 200


@register_scorer
class Reconstruction(TrainedOnPixels):
    """A place is as odd as the picture there differs from what an autoencoder makes of it.

    The map is the mean absolute difference of the channels plus half of one minus SSIM, both
    within 0 and 1; training lowers its mean.

    Args:
        bottleneck: numbers that a picture has to pass through; fewer know less of what may vary.
        steps: steps of training; None takes 200 passes over the images, unless `minutes` is given.
        minutes: stop after so many minutes of training.
        batch_size: images per step.
        learning_rate: of Adam; None takes 1e-3.
        bf16: train in bfloat16 (losses and weights stay float32): quicker where the processor knows
            it; scoring is float32 all the same.
        image_score: `"top"`: the mean of the map's largest values, or its `"max"`.
        top_share: share of the map that `"top"` counts.
    """

    name = "reconstruction"
    least_side = LEAST_SIDE
    network: PictureAutoencoder

    def __init__(
        self,
        bottleneck: int = 100,
        steps: int | None = None,
        minutes: float | None = None,
        batch_size: int = 8,
        learning_rate: float | None = None,
        bf16: bool = False,
        image_score: ImageScoreKind = "top",
        top_share: float = TOP_SHARE,
    ) -> None:
        super().__init__()
        if not (type(bottleneck) is int and bottleneck >= 1):
            raise SettingsError(f"bottleneck is {bottleneck}; choose 1 or more")
        check_course(steps, minutes, learning_rate, batch_size)
        self.bottleneck = bottleneck
        self.steps = steps
        self.minutes = minutes
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.bf16 = bf16
        self.image_score, self.top_share = image_score_settings(image_score, top_share)

    def build(self, layout: FeatureLayout) -> None:
        super().build(layout)
        self.summary = ImageScore(self.image_score, self.top_share, layout.pixels_inside)
        self.likeness = StructuralSimilarity(layout.input_hw)

    @property
    def rate(self) -> float:
        return _RATE if self.learning_rate is None else self.learning_rate

    @property
    def passes(self) -> int:
        return _PASSES

    @property
    def schedule(self) -> Schedule:
        return fall_at_the_end

    def _fresh(self) -> nn.Module:
        return PictureAutoencoder(self.layout.input_hw, self.bottleneck)

    def _numbers(self) -> int:
        return self.network.numbers()

    def _loss(self, stream: FeatureStream, seed: int) -> Loss:
        def loss(frames: Tensor, rng: np.random.Generator) -> Tensor:
            picture = self.pixels_of(stream, frames)
            with self.precision():
                drawn = self.network(picture)
            return mean_inside(self._difference(picture, drawn.float()), self.inside)

        return loss

    def _difference(self, picture: Tensor, drawn: Tensor) -> Tensor:
        """Two batches `(N, 3, H, W)` -> `(N, H, W)`."""
        unlike: Tensor = 0.5 * (1 - self.likeness(picture, drawn))
        return ((picture - drawn).abs() + unlike).mean(dim=1)

    def forward(self, features: Features) -> Scores:
        picture = self.picture(features.pixels)
        anomaly_map = self._difference(picture, self.network(picture))
        if self.inside is not None:
            anomaly_map = anomaly_map * self.inside
        return Scores(self.summary(anomaly_map), anomaly_map)
