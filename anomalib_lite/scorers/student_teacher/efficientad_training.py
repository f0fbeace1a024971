"""One training of EfficientAD: which pictures a step sees, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from anomalib_lite.backbones.features import Features
from anomalib_lite.edge.errors import FitError
from anomalib_lite.scorers.base import FeatureStream, FitContext
from anomalib_lite.scorers.student_teacher.efficientad_losses import augmented, hard_feature_loss
from anomalib_lite.scorers.student_teacher.efficientad_parts import Course, Networks
from anomalib_lite.scorers.student_teacher.efficientad_pictures import PenaltyPictures
from anomalib_lite.scorers.training.loop import (
    Shuffled,
    Training,
    held_back,
    step_seed,
    usable_images,
)
from anomalib_lite.scorers.training.teacher_cache import TeacherCache

HELD_OUT_SHARE = 0.1
_WATCHED = 8
_WEIGHT_DECAY = 1e-5
_LEAST_STD = 1e-6


class Lesson:
    """Everything that the training of one scorer needs beside its settings.

    Args:
        networks: student and autoencoder are trained in place.
        course: how.
        stream: good images.
        context: seed, progress, checkpoint.

    Attributes:
        mean: mean of each teacher channel over the images that are trained on `(C,)`.
        std: standard deviation of each `(C,)`.
    """

    def __init__(
        self, networks: Networks, course: Course, stream: FeatureStream, context: FitContext
    ) -> None:
        self.networks, self.course, self.stream, self.context = networks, course, stream, context
        self.backbone, self.device = stream.backbone, stream.backbone.device
        usable, digest = usable_images(stream, context)
        self.trained, self.held_out = held_back(
            usable, HELD_OUT_SHARE, context.seed, context.origins
        )
        self.identity = {
            "detector": "efficientad",
            "settings": course.settings,
            "input_hw": list(course.input_hw),
            "teacher": stream.backbone.weights_sha256,
            "backbone": stream.backbone.settings(),
            "seed": context.seed,
            "images": digest,
        }
        self.pictures: PenaltyPictures | None = None
        if course.penalty:
            self.pictures = PenaltyPictures(course.penalty_pictures, course.input_hw, context.seed)
        self._cache = TeacherCache(self.backbone)
        self.mean, self.std = (part.to(self.device) for part in self._teacher_statistics())
        self._mean, self._std = self.mean.view(-1, 1, 1), self.std.view(-1, 1, 1)
        self._order = Shuffled(self.trained, context.seed)
        self._images: Iterator[tuple[int, Tensor]] | None = None

    def training(self) -> Training:
        """The networks, their optimiser and the step."""
        module = nn.ModuleDict({"student": self.networks.student})
        if self.networks.autoencoder is not None:
            module["autoencoder"] = self.networks.autoencoder
        _arrange(module, torch.channels_last)
        module.requires_grad_(True)
        optimiser = torch.optim.Adam(
            module.parameters(), lr=self.course.rate, weight_decay=_WEIGHT_DECAY, fused=True
        )
        name = f"training efficientad {self.course.size}"
        return Training(
            module, optimiser, self.step_loss, self.held_out_loss, self.identity, stage=name
        )

    def end(self) -> None:
        """The networks as they are saved, loaded and exported."""
        self._cache.clear()
        for network in (self.networks.student, self.networks.autoencoder):
            if network is not None:
                _arrange(network, torch.contiguous_format)
                network.requires_grad_(False)

    def step_loss(self, step: int) -> Tensor:
        """L_hard + L_penalty + L_AE + L_STAE of one step."""
        if self._images is None:
            self._images = self._frames(self._order.endless(step))
        index, frames = next(self._images)
        pixels = self._pixels(frames)
        clean = [pixels]
        if self.pictures is not None:
            picture = torch.from_numpy(self.pictures[step])[None].to(self.device)
            clean.append(self._pixels(picture))
        with self._precision():
            first = self.networks.student.one_half(_channels_last(torch.cat(clean)), second=False)
        first = first.float()
        loss = self._hard(self._teacher(index, pixels), first[:1])
        if self.pictures is not None:
            loss = loss + self.networks.head.seen(first[1:].square()).mean()
        if self.networks.autoencoder is not None:
            loss = loss + self._autoencoder_losses(step, frames)
        return loss

    def _autoencoder_losses(self, step: int, frames: Tensor) -> Tensor:
        """L_AE + L_STAE on the augmented image; the second reaches the autoencoder as well."""
        assert self.networks.autoencoder is not None
        rng = torch.Generator().manual_seed(step_seed(self.context.seed, step, "drop"))
        changed = self._pixels(self._augment(step, frames))
        with self._precision():
            predicted = self.networks.autoencoder(changed, rng).float()
            second = self.networks.student.one_half(changed, second=True).float()
            teacher = self._through_teacher(changed).float()
        target = self._normalised(teacher)
        toward_teacher = self._seen((target - predicted).square()).mean()
        toward_student = self._seen((predicted - second).square()).mean()
        return toward_teacher + toward_student

    def _precision(self) -> torch.autocast:
        """For what is learnt, and the teacher of an augmented image; else it is in float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.course.bf16)

    def held_out_loss(self) -> float:
        """The loss on held-out good images as they are: no augmentation, dropout or penalty."""
        total, count = 0.0, 0
        for index, frames in self._frames(iter(self.held_out[:_WATCHED])):
            pixels = self._pixels(frames)
            teacher = self._teacher(index, pixels)
            first, second = self.networks.student(pixels)
            loss = self._hard(teacher, first)
            if self.networks.autoencoder is not None:
                predicted = self.networks.autoencoder(pixels)
                loss = loss + self._seen((teacher - predicted).square()).mean()
                loss = loss + self._seen((predicted - second).square()).mean()
            total, count = total + float(loss), count + 1
        return total / count

    def held_out_maps(self) -> Tensor:
        """Difference maps of all held-out images by the finished networks, `(n, maps, h, w)`."""
        found = []
        for batch in self.stream.batches(1, self.held_out):
            pixels = batch.features.pixels
            maps = batch.features.maps[self.networks.teacher_layer]
            teacher = (maps - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)
            found.append(torch.stack(self.networks.differences(teacher, pixels), dim=1))
        return torch.cat(found)

    def _frames(self, order: Iterator[int]) -> Iterator[tuple[int, Tensor]]:
        for batch in self.stream.batches(1, order):
            yield int(batch.indices[0]), batch.frames

    def _pixels(self, frames: Tensor) -> Tensor:
        return _channels_last(self.backbone.normalise(frames))

    def _teacher_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel over all places of all trained images."""
        count, mean, squares = 0, torch.zeros(()), torch.zeros(())
        for done, (index, frames) in enumerate(self._frames(iter(self.trained)), start=1):
            values = self._raw_teacher(index, self._pixels(frames))[0]
            values = self._seen(values).cpu().double()
            size, its_mean = values.shape[1], values.mean(dim=1)
            its_squares = (values - its_mean[:, None]).square().sum(dim=1)
            # Chan's update: sums of squares around the means, no cancellation.
            shift = its_mean - mean
            mean = mean + shift * (size / (count + size))
            squares = squares + its_squares + shift.square() * (count * size / (count + size))
            count += size
            self.context.progress("teacher statistics", done, len(self.trained))
        std = (squares / count).sqrt().clamp(min=_LEAST_STD)
        if not bool(torch.isfinite(mean).all() and torch.isfinite(std).all()):
            raise FitError("the teacher gives NaN or infinity; its weights are damaged")
        return mean.float(), std.float()

    def _raw_teacher(self, index: int, pixels: Tensor) -> Tensor:
        """The teacher on an image as it is."""
        return self._cache.maps(index, pixels)[self.networks.teacher_layer]

    def _through_teacher(self, pixels: Tensor) -> Tensor:
        with torch.no_grad():
            features: Features = self.backbone(pixels)
        return features.maps[self.networks.teacher_layer]

    def _teacher(self, index: int, pixels: Tensor) -> Tensor:
        return self._normalised(self._raw_teacher(index, pixels))

    def _normalised(self, maps: Tensor) -> Tensor:
        return (maps - self._mean) / self._std

    def _augment(self, step: int, frames: Tensor) -> Tensor:
        rng = np.random.default_rng(step_seed(self.context.seed, step, "augment"))
        return augmented(frames, rng)

    def _hard(self, teacher: Tensor, first: Tensor) -> Tensor:
        squares = self._seen((teacher - first).square())
        return hard_feature_loss(squares, self.course.quantile)

    def _seen(self, values: Tensor) -> Tensor:
        """`(..., h, w)` -> `(..., places that count)`."""
        return self.networks.head.counted(values)


def _channels_last(pixels: Tensor) -> Tensor:
    return pixels.contiguous(memory_format=torch.channels_last)


def _arrange(network: nn.Module, layout: torch.memory_format) -> None:
    network.to(memory_format=layout)  # type: ignore[call-overload]
