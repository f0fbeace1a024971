"""The `Backbone` contract and the registry of backbones that are not timm's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anomalib_lite.backbones.features import FeatureLayout, Features, LayerInfo
from anomalib_lite.edge.errors import FitError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module, ABC):
    """A frozen feature extractor: `pixels (N, 3, H, W)` -> `Features`.

    Args:
        mean: per-channel mean of the normalisation, on the 0..1 scale.
        std: per-channel standard deviation, on the 0..1 scale.

    Attributes:
        inputs: names of the inputs that it reads, `frames` first. One that reads more overrides
            `read`, and puts maps of what is measured, such as `depth.valid`, beside the others.
        name: what the registry or timm calls it.
        layer_names: layers that are read, as they are asked for.
        options: what it was made with beyond layers and weights (`create_backbone`).
        weights_sha256: hex digest of the weights, or the reason why there is none.
    """

    inputs: ClassVar[tuple[str, ...]] = ("frames",)
    name: str
    layer_names: list[str]
    options: dict[str, Any]
    weights_sha256: str
    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.options = {}
        self._mean, self._std = tuple(mean), tuple(std)
        self._set_normalisation()

    def _set_normalisation(self) -> None:
        mean = torch.tensor(self._mean, dtype=torch.float64).view(1, 3, 1, 1)
        std = torch.tensor(self._std, dtype=torch.float64).view(1, 3, 1, 1)
        self.register_buffer("scale", (1 / (255 * std)).float())
        self.register_buffer("shift", (-mean / std).float())

    def take_options(self, options: Mapping[str, Any]) -> None:
        """Remember checked options; `mean` and `std` replace the backbone's own normalisation."""
        self.options = dict(options)
        self._mean = tuple(options.get("mean", self._mean))
        self._std = tuple(options.get("std", self._std))
        self._set_normalisation()

    @property
    def device(self) -> torch.device:
        """Where it computes; its input must be there."""
        return self.scale.device

    @abstractmethod
    def layer_infos(self, input_hw: tuple[int, int]) -> tuple[LayerInfo, ...]:
        """Layers as data at an input size `(height, width)`."""

    def settings(self) -> dict[str, Any]:
        """What is needed to build the same network again without its weights."""
        known = {"name": self.name, "layers": list(self.layer_names)}
        return {**known, "options": dict(self.options)} if self.options else known

    @abstractmethod
    def extract(self, pixels: Tensor) -> dict[str, Tensor]:
        """Normalised pixels `(N, 3, H, W)` -> maps by layer name."""

    def layout(
        self, input_hw: tuple[int, int], roi: NDArray[np.bool_] | None = None
    ) -> FeatureLayout:
        """The layout of `Features` at an input size, with an optional region of interest."""
        return FeatureLayout(input_hw, self.layer_infos(input_hw), roi, self.name)

    def normalise(self, frames_nhwc: Tensor) -> Tensor:
        """Prepared frames uint8 `(N, H, W, 3)` -> normalised float32 `(N, 3, H, W)`."""
        return frames_nhwc.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift

    def read(self, prepared: Tensor | Mapping[str, Tensor]) -> Features:
        """Normalisation and extraction of prepared frames, or of prepared inputs by name.

        Measured inputs are float32 `(N, H, W, C + 1)`, the last channel 1 where measured, else 0.
        """
        frames = prepared if isinstance(prepared, Tensor) else prepared["frames"]
        features: Features = self(self.normalise(frames))
        return features

    def forward(self, pixels: Tensor) -> Features:
        return Features(pixels, self.extract(pixels))


BackboneFactory = Callable[..., Backbone]
_REGISTRY: dict[str, BackboneFactory] = {}


class register_backbone:  # noqa: N801 - a decorator
    """Decorator: make a backbone class known by name."""

    known: ClassVar[dict[str, BackboneFactory]] = _REGISTRY

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, factory: BackboneFactory) -> BackboneFactory:
        self.known[self.name] = factory
        return factory


def require_finite(maps: dict[str, Tensor], backbone: Backbone) -> None:
    """Raise `FitError` when what a backbone gives is not finite."""
    for name, values in maps.items():
        if not bool(torch.isfinite(values.sum())):
            raise FitError(
                f"layer {name} of {backbone.name} gives NaN or infinity; the weights are damaged "
                "or belong to another network"
            )
