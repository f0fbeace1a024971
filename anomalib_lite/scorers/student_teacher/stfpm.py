"""STFPM: a student pyramid that imitates a frozen one (Wang, Han, Ding, Huang 2021)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_lite.backbones import Backbone, create_backbone
from anomalib_lite.backbones.features import FeatureLayout, Features
from anomalib_lite.backbones.pdn import EdgeNetwork
from anomalib_lite.backbones.pdn_norms import fold_norms
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.base import FeatureStream, FitContext, Scorer, Scores
from anomalib_lite.scorers.batches import FrameBatch
from anomalib_lite.scorers.image_score import (
    TOP_SHARE,
    ImageScore,
    ImageScoreKind,
    image_score_settings,
)
from anomalib_lite.scorers.registry import register_scorer
from anomalib_lite.scorers.smoothing import EnlargeAndBlur
from anomalib_lite.scorers.training.course import check_course
from anomalib_lite.scorers.training.loop import (
    Budget,
    Shuffled,
    Training,
    held_back,
    step_seed,
    train,
    usable_images,
)
from anomalib_lite.scorers.training.teacher_cache import TEACHER_CACHE_BYTES, TeacherCache
from anomalib_lite.system.devices import put, put_module
from anomalib_lite.system.seeding import seeded

EPOCHS = 100
_RATE, _RATE_BATCH = 0.4, 32
_MOMENTUM, _WEIGHT_DECAY = 0.9, 1e-4
_HELD_OUT_SHARE = 0.1
_WATCHED = 16
_FLOATS_PER_PIXEL = 170  # activations and gradients of resnet18's first three layers


@register_scorer
class Stfpm(Scorer):
    """A place is as odd as the student's direction there differs from the teacher's, at all levels.

    Args:
        student: name of the student's network; None takes the backbone's own architecture.
        steps: steps of training; None takes 100 passes over the images, unless `minutes` is given.
        minutes: stop after so many minutes of training.
        batch_size: images per step.
        learning_rate: of SGD; None takes 0.4 per 32 images.
        bf16: train the student in bfloat16 (teacher, losses and weights stay float32): quicker
            where the processor knows it; scoring is float32 all the same.
        image_score: `"max"` of the map (the paper's), or `"top"`: the mean of its largest values.
        top_share: share of the map that `"top"` counts.

    Attributes:
        held_out_loss_: (step, loss on held-out good images) along the training `(k, 2)`.
    """

    name = "stfpm"
    held_out_loss_: Tensor

    def __init__(
        self,
        student: str | None = None,
        steps: int | None = None,
        minutes: float | None = None,
        batch_size: int = 8,
        learning_rate: float | None = None,
        bf16: bool = False,
        image_score: ImageScoreKind = "max",
        top_share: float = TOP_SHARE,
    ) -> None:
        super().__init__()
        check_course(steps, minutes, learning_rate, batch_size, smallest_batch=2)
        self.student = student
        self.steps = steps
        self.minutes = minutes
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.bf16 = bf16
        self.image_score, self.top_share = image_score_settings(image_score, top_share)

    def build(self, layout: FeatureLayout) -> None:
        super().build(layout)
        self.layer_names = [layer.name for layer in layout.layers]
        self.enlarge = nn.ModuleList(
            EnlargeAndBlur.of_grid(layout, layer.grid_hw, 0.0) for layer in layout.layers
        )
        self.summary = ImageScore(self.image_score, self.top_share, layout.pixels_inside)
        self.register_buffer("held_out_loss_", torch.zeros(0, 2, dtype=torch.float64))
        self.student_net = self._fresh()

    def _fresh(self) -> Backbone:
        """An untrained student with the teacher's layers; raises `SettingsError` if it has none."""
        name = self.student or self.layout.backbone
        network = create_backbone(
            name, layers=self.layer_names, weights="random", input_hw=self.layout.input_hw
        )
        wanted = [(layer.channels, layer.grid_hw) for layer in self.layout.layers]
        infos = network.layer_infos(self.layout.input_hw)
        if [(layer.channels, layer.grid_hw) for layer in infos] != wanted:
            raise SettingsError(f"student {name} gives other maps than the backbone; leave it out")
        if next(network.parameters(), None) is None:
            raise SettingsError(f"{name} has nothing to train; stfpm needs a real network")
        return network

    def memory_bytes(self) -> int:
        """One step's maps with gradients; weights, gradients, momentum of a ResNet-18; cache."""
        height, width = self.layout.input_hw
        step = self.batch_size * height * width * _FLOATS_PER_PIXEL
        return 4 * (step + 3 * 12_000_000) + TEACHER_CACHE_BYTES

    def fit(self, stream: FeatureStream, context: FitContext) -> None:
        """Train until the budget is spent or Ctrl-C is pressed.

        Raises:
            FitError: fewer than two usable images, a loss that is not finite, a foreign checkpoint.
            SettingsError: the student does not fit the backbone.
        """
        self.student_net = self._fresh()
        usable, digest = usable_images(stream, context)
        trained, held_out = held_back(usable, _HELD_OUT_SHARE, context.seed, context.origins)
        module = put_module(self._trainable(context.seed), self.device)
        put_module(self.student_net, self.device)
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        identity = {
            "detector": self.name,
            "settings": self.settings(),
            "layers": self.layer_names,
            "input_hw": list(self.layout.input_hw),
            "teacher": stream.backbone.weights_sha256,
            "backbone": stream.backbone.settings(),
            "seed": context.seed,
            "images": digest,
        }
        order = Shuffled(trained, context.seed)
        training = self._training(stream, module, order, held_out, identity)
        state = train(training, self._budget(len(trained)), context)
        self.stopped_early = not state.finished
        curve = torch.tensor(state.curve, dtype=torch.float64).reshape(-1, 2)
        self.register_buffer("held_out_loss_", put(curve, self.device))
        self._finish(module)

    def _training(
        self,
        stream: FeatureStream,
        module: nn.Module,
        order: Shuffled,
        held_out: list[int],
        identity: dict[str, Any],
    ) -> Training:
        """The optimiser, the step and the held-out loss."""
        rate = self.learning_rate or _RATE * self.batch_size / _RATE_BATCH
        optimiser = torch.optim.SGD(
            module.parameters(), lr=rate, momentum=_MOMENTUM, weight_decay=_WEIGHT_DECAY
        )
        batches: list[Iterator[FrameBatch]] = []
        cache = TeacherCache(stream.backbone)

        def loss_of(batch: FrameBatch) -> Tensor:
            pixels = stream.backbone.normalise(batch.frames)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            teacher = cache.batch(batch.indices.tolist(), pixels)
            return self._loss(teacher, self._maps(module, pixels))

        def step_loss(step: int) -> Tensor:
            if not batches:
                images = order.endless(step * self.batch_size)
                batches.append(stream.batches(self.batch_size, images))
            return loss_of(next(batches[0]))

        def held_out_loss() -> float:
            module.eval()
            watched = stream.batches(1, held_out[:_WATCHED])
            losses = [float(loss_of(batch)) for batch in watched]
            module.train()
            return sum(losses) / len(losses)

        return Training(
            module, optimiser, step_loss, held_out_loss, identity, stage="training stfpm"
        )

    def _budget(self, images: int) -> Budget:
        if self.steps is None and self.minutes is None:
            return Budget(steps=math.ceil(EPOCHS * images / self.batch_size))
        return Budget(self.steps, self.minutes)

    def _trainable(self, seed: int) -> nn.Module:
        """The student's network with fresh weights, ready to be trained."""
        with seeded(step_seed(seed, 0, "student")):
            network: nn.Module = self.student_net.net  # type: ignore[assignment]
            if isinstance(network, EdgeNetwork):
                network = EdgeNetwork(tuple(network.channels.values()), norm=True)  # type: ignore[arg-type]
            for module in network.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
        return network.requires_grad_(True).train()

    def _finish(self, module: nn.Module) -> None:
        """The trained network into the backbone that is saved, loaded and exported."""
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        module.requires_grad_(False).eval()
        network = self.student_net.net
        if isinstance(network, EdgeNetwork):
            fold_norms(module, network)
        self.student_net.requires_grad_(False).eval()

    def _maps(self, module: nn.Module, pixels: Tensor) -> dict[str, Tensor]:
        """The student's maps while `module` is trained."""
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=self.bf16):
            if isinstance(module, EdgeNetwork):
                maps = module(pixels, self.layer_names)
            else:
                maps = self.student_net.extract(pixels)
        return {name: values.float() for name, values in maps.items()}

    def _loss(self, teacher: dict[str, Tensor], maps: dict[str, Tensor]) -> Tensor:
        """Sum over layers of the mean distance over places (equations 1 to 3)."""
        means = []
        for layer in self.layout.layers:
            distance = direction_distance(teacher[layer.name], maps[layer.name])
            if self.layout.roi is not None:
                inside = self.layout.cell_share(layer.grid_hw) > 0
                distance = distance[:, inside.to(distance.device)]
            means.append(distance.mean())
        return sum(means[1:], means[0])

    def forward(self, features: Features) -> Scores:
        maps = self.student_net.extract(features.pixels)
        product = features.pixels.new_ones(())
        for name, enlarge in zip(self.layer_names, self.enlarge, strict=True):
            product = product * enlarge(direction_distance(features.maps[name], maps[name]))
        return Scores(self.summary(product), product)


def direction_distance(teacher: Tensor, student: Tensor) -> Tensor:
    """Half the squared distance of unit vectors, `(N, C, h, w)` -> `(N, h, w)` in [0, 2]."""
    difference = F.normalize(teacher, dim=1) - F.normalize(student, dim=1)
    return 0.5 * difference.square().sum(dim=1)
