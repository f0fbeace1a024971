"""What the scorers of this family share: pictures in, training by steps, one held-out curve."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from anomalib_lite.backbones.base import Backbone
from anomalib_lite.backbones.features import FeatureLayout
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.base import FeatureStream, FitContext, Scorer
from anomalib_lite.scorers.batches import FrameBatch
from anomalib_lite.scorers.training.loop import (
    Budget,
    Schedule,
    Training,
    held_back,
    step_seed,
    train,
    usable_images,
)
from anomalib_lite.system.devices import put, put_module
from anomalib_lite.system.seeding import seeded

HELD_OUT_SHARE = 0.1
_WATCHED = 16
_BYTES = 4
_NUMBERS_OF_LOSS = 60  # a pixel

Loss = Callable[[Tensor, np.random.Generator], Tensor]
"""Prepared frames uint8 `(N, H, W, 3)` and what is random about them -> loss to descend."""


class TrainedOnPixels(Scorer):
    """A network of its own on the picture, whatever the backbone makes of it.

    Attributes:
        network: what is trained.
        inside: pixels of the region of interest, bool `(H, W)`; None for all.
        black_: normalised black, of each channel `(3, 1, 1)`.
        span_: from there to white, `(3, 1, 1)`.
        held_out_loss_: (step, loss on held-out good images) along the training `(k, 2)`.
    """

    memory_settings: ClassVar[tuple[str, ...]] = ("batch_size",)
    least_side = 32
    steps: int | None
    minutes: float | None
    batch_size: int
    bf16: bool
    network: nn.Module
    inside: Tensor | None
    black_: Tensor
    span_: Tensor
    held_out_loss_: Tensor

    def default_backbone(self) -> tuple[str, tuple[str, ...] | None]:
        return "pixels", None

    def build(self, layout: FeatureLayout) -> None:
        if min(layout.input_hw) < self.least_side:
            raise SettingsError(
                f"{self.name} halves the picture until nothing is left of {layout.input_hw}; give "
                f"an image size of at least {self.least_side}"
            )
        super().build(layout)
        inside = None if layout.roi is None else torch.from_numpy(layout.roi.copy())
        self.register_buffer("inside", inside, persistent=False)
        self._allocate(0, torch.contiguous_format)

    def _allocate(self, seed: int, layout: torch.memory_format) -> None:
        """A fresh network from a seed, on the device of the scorer."""
        with seeded(step_seed(seed, 0, "weights")):
            self.network = self._fresh()
        _arrange(self.network, layout)
        self.network.requires_grad_(False).eval()
        self.register_buffer("black_", torch.zeros(3, 1, 1))
        self.register_buffer("span_", torch.ones(3, 1, 1))
        self.register_buffer("held_out_loss_", torch.zeros(0, 2, dtype=torch.float64))
        put_module(self, self.device)

    @abstractmethod
    def _fresh(self) -> nn.Module:
        """The network, untrained."""

    @abstractmethod
    def _loss(self, stream: FeatureStream, seed: int) -> Loss:
        """How one batch is judged; asked once for a training."""

    @abstractmethod
    def _numbers(self) -> int:
        """Numbers that the convolutions give for one picture."""

    @property
    @abstractmethod
    def rate(self) -> float:
        """Learning rate of Adam at the beginning."""

    @property
    @abstractmethod
    def passes(self) -> int:
        """Passes over the images where no budget is given."""

    @property
    @abstractmethod
    def schedule(self) -> Schedule:
        """Of the learning rate."""

    def memory_bytes(self) -> int:
        """Weights with gradients and two moments; what a step keeps of each convolution and loss,
        and the gradients on their way back. A little above what is measured
        (docs/methods/draem.md)."""
        weights = sum(item.numel() for item in self.network.parameters())
        height, width = self.layout.input_hw
        kept = (3 if self.bf16 else 4) * self._numbers() + _NUMBERS_OF_LOSS * height * width
        return _BYTES * (4 * weights + self.batch_size * kept)

    def picture(self, pixels: Tensor) -> Tensor:
        """Normalised pixels `(N, 3, H, W)` -> the picture on the scale 0 to 1."""
        return (pixels - self.black_) / self.span_

    def fit(self, stream: FeatureStream, context: FitContext) -> None:
        """Train until the budget is spent or Ctrl-C is pressed.

        Raises:
            FitError: fewer than two usable images, a loss that is not finite, a foreign checkpoint.
            SettingsError: a setting that names files which cannot be used.
        """
        self._allocate(context.seed, torch.channels_last)
        self._learn_scale(stream.backbone)
        loss = self._loss(stream, context.seed)
        usable, digest = usable_images(stream, context)
        trained, held_out = held_back(usable, HELD_OUT_SHARE, context.seed, context.origins)
        self.network.requires_grad_(True).train()
        training = self._training(stream, context, loss, trained, held_out)
        training.identity["images"] = digest
        state = train(training, self._budget(len(trained)), context)
        self.stopped_early = not state.finished
        _arrange(self.network, torch.contiguous_format)
        self.network.requires_grad_(False).eval()
        curve = torch.tensor(state.curve, dtype=torch.float64).reshape(-1, 2)
        self.register_buffer("held_out_loss_", put(curve, self.device))

    def _learn_scale(self, backbone: Backbone) -> None:
        ends = torch.tensor([0, 255], dtype=torch.uint8).to(backbone.device)
        black, white = backbone.normalise(ends.view(2, 1, 1, 1).expand(2, 1, 1, 3))
        self.register_buffer("black_", put(black, self.device))
        self.register_buffer("span_", put(white - black, self.device))

    def _training(
        self,
        stream: FeatureStream,
        context: FitContext,
        loss: Loss,
        trained: list[int],
        held_out: list[int],
    ) -> Training:
        """The optimiser, the step and the held-out loss."""
        seed, network = context.seed, self.network
        batches: list[Iterator[FrameBatch]] = []

        def step_loss(step: int) -> Tensor:
            if not batches:
                order = drawn(trained, self.batch_size, seed, step)
                batches.append(stream.batches(self.batch_size, order))
            rng = np.random.default_rng(step_seed(seed, step, "picture"))
            return loss(next(batches[0]).frames, rng)

        def held_out_loss() -> float:
            network.eval()
            losses = []
            for batch in stream.batches(1, held_out[:_WATCHED]):
                watched = step_seed(seed, int(batch.indices[0]), "held-out picture")
                losses.append(float(loss(batch.frames, np.random.default_rng(watched))))
            network.train()
            return sum(losses) / len(losses)

        optimiser = torch.optim.Adam(network.parameters(), lr=self.rate, fused=True)
        identity = {
            "detector": self.name,
            "settings": self.settings(),
            "input_hw": list(self.layout.input_hw),
            "backbone": stream.backbone.settings(),
            "seed": seed,
        }
        return Training(
            network,
            optimiser,
            step_loss,
            held_out_loss,
            identity,
            stage=f"training {self.name}",
            schedule=self.schedule,
        )

    def _budget(self, images: int) -> Budget:
        if self.steps is None and self.minutes is None:
            return Budget(steps=math.ceil(self.passes * images / self.batch_size))
        return Budget(self.steps, self.minutes)

    def pixels_of(self, stream: FeatureStream, frames: Tensor) -> Tensor:
        """Frames `(N, H, W, 3)` on the scale 0 to 255 -> pictures as the network is shown them."""
        pixels = self.picture(stream.backbone.normalise(frames))
        return pixels.contiguous(memory_format=torch.channels_last)

    def precision(self) -> torch.autocast:
        """Of the network in training; losses and weights stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)


def drawn(indices: Sequence[int], batch_size: int, seed: int, step: int) -> Iterator[int]:
    """Images of one batch after the other from a step on, drawn with replacement, without end."""
    images = np.asarray(indices, np.int64)
    while True:
        rng = np.random.default_rng(step_seed(seed, step, "images"))
        yield from rng.choice(images, batch_size).tolist()
        step += 1


def _arrange(network: nn.Module, layout: torch.memory_format) -> None:
    network.to(memory_format=layout)  # type: ignore[call-overload]
