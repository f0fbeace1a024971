"""DRAEM: a network that redraws the picture and one that sees what was redrawn (Zavrtanik, Kristan,
Skočaj 2021), both trained on textures pasted into good pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_lite.backbones.features import Features
from anomalib_lite.data.simulate import (
    TextureBank,
    paste_textures,
    procedural_textures,
    texture_folder,
)
from anomalib_lite.edge.errors import SettingsError, SourceError
from anomalib_lite.scorers.base import FeatureStream, Scores
from anomalib_lite.scorers.reconstruction.draem_networks import (
    LEAST_SIDE,
    DraemNetworks,
    initialise,
)
from anomalib_lite.scorers.reconstruction.likeness import (
    StructuralSimilarity,
    focal_loss,
    mean_inside,
)
from anomalib_lite.scorers.reconstruction.trained import Loss, TrainedOnPixels
from anomalib_lite.scorers.registry import register_scorer
from anomalib_lite.scorers.training.course import check_course
from anomalib_lite.scorers.training.loop import Schedule

WIDTHS = (1.0, 0.5, 0.25, 0.125)
WINDOW = 21
_RATE = 1e-4
_PASSES, _PASSES_NARROW = 700, 100
_FALLS = ((0.9, 0.04), (0.8, 0.2))


def fall_twice(step: int, spent: float) -> float:
    """A fifth after 80 % of the budget, a fifth of that after 90 %."""
    del step
    return next((factor for share, factor in _FALLS if spent >= share), 1.0)


@register_scorer
class Draem(TrainedOnPixels):
    """What differs from the picture as it is redrawn, as far as that looks like a defect.

    Args:
        width: factor of all channels. 1.0 is the published pair of networks (97 M parameters, 198
            G multiply-adds for a picture of 256 pixels: for a GPU); 0.5, 0.25 and 0.125 are this
            project's, each a quarter of the work of the one before.
        steps: steps of training; None takes the paper's 700 passes over the images (narrower than
            1.0: 100) unless `minutes` is given.
        minutes: stop after so many minutes of training.
        textures: folder of pictures to paste, read recursively, e.g. materials; None makes
            procedural ones.
        batch_size: images per step.
        learning_rate: of Adam; None takes the paper's 1e-4 divided by the width.
        bf16: train the networks in bfloat16 (losses and weights stay float32): quicker where the
            processor knows it; scoring is float32 all the same.
    """

    name = "draem"
    memory_settings: ClassVar[tuple[str, ...]] = ("width", "batch_size")
    least_side = LEAST_SIDE
    network: DraemNetworks

    def __init__(
        self,
        width: float = 0.125,
        steps: int | None = None,
        minutes: float | None = None,
        textures: str | None = None,
        batch_size: int = 8,
        learning_rate: float | None = None,
        bf16: bool = False,
    ) -> None:
        super().__init__()
        if width not in WIDTHS:
            raise SettingsError(f"width is {width}; choose 1.0, 0.5, 0.25 or 0.125")
        # Batch norm has nothing to learn from one picture.
        check_course(steps, minutes, learning_rate, batch_size, smallest_batch=2)
        self.width = float(width)
        self.steps = steps
        self.minutes = minutes
        self.textures = textures
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.bf16 = bf16

    def settings(self) -> dict[str, Any]:
        """As given; of a folder only its name, which says what without saying where."""
        settings = super().settings()
        if self.textures is not None:
            settings["textures"] = Path(self.textures).name
        return settings

    @property
    def rate(self) -> float:
        return _RATE / self.width if self.learning_rate is None else self.learning_rate

    @property
    def passes(self) -> int:
        return _PASSES if self.width == 1 else _PASSES_NARROW

    @property
    def schedule(self) -> Schedule:
        return fall_twice

    def _fresh(self) -> nn.Module:
        networks = DraemNetworks(self.layout.input_hw, self.width)
        initialise(networks)
        return networks

    def _numbers(self) -> int:
        return self.network.numbers()

    def _loss(self, stream: FeatureStream, seed: int) -> Loss:
        """Reconstruction and segmentation together; the second reaches both networks."""
        bank = self._texture_bank(seed)
        likeness = StructuralSimilarity(self.layout.input_hw).to(self.device)

        def loss(frames: Tensor, rng: np.random.Generator) -> Tensor:
            clean, changed, masks = self._pasted(frames, bank, rng)
            picture = self.pixels_of(stream, clean)
            with self.precision():
                drawn, logits = self.network(self.pixels_of(stream, changed))
            drawn, probabilities = drawn.float(), logits.float().softmax(dim=1)
            squares = mean_inside((drawn - picture).square(), self.inside)
            similar = mean_inside(likeness(drawn, picture), self.inside)
            focal = mean_inside(focal_loss(probabilities, masks), self.inside)
            return squares + (1 - similar) + focal

        return loss

    def _texture_bank(self, seed: int) -> TextureBank:
        if self.textures is None:
            return procedural_textures(self.layout.input_hw, seed=seed)
        try:
            return texture_folder(self.textures, self.layout.input_hw)
        except SourceError as error:
            raise SettingsError(f"textures: {error}") from error

    def _pasted(
        self, frames: Tensor, bank: TextureBank, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Clean frames, frames with textures, masks; nothing outside the region changes."""
        given = frames.cpu().numpy()
        pasted = paste_textures(rng, given, bank)
        clean, changed, masks = pasted.clean, pasted.frames, pasted.masks
        if self.layout.roi is not None:
            inside = self.layout.roi[None, :, :, None]
            clean, changed = np.where(inside, clean, given), np.where(inside, changed, given)
            masks = masks & self.layout.roi
        arrays = (clean, changed, masks.astype(np.float32))
        one, other, where = (torch.from_numpy(np.ascontiguousarray(item)) for item in arrays)
        return one.to(frames.device), other.to(frames.device), where.to(frames.device)

    def forward(self, features: Features) -> Scores:
        _, logits = self.network(self.picture(features.pixels))
        anomaly_map = logits.softmax(dim=1)[:, 1]
        if self.inside is not None:
            anomaly_map = anomaly_map * self.inside
        return Scores(peak_of_means(anomaly_map), anomaly_map)


def peak_of_means(anomaly_map: Tensor) -> Tensor:
    """Maps `(N, H, W)` -> the largest mean over 21x21 pixels `(N,)`; zeros beyond the border."""
    means = F.avg_pool2d(anomaly_map[:, None], WINDOW, stride=1, padding=WINDOW // 2)
    return means.amax(dim=(1, 2, 3))
