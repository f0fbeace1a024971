"""Distil a patch network from a teacher: mean squared error of standardised features, in steps."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_lite.backbones import Backbone
from anomalib_lite.backbones.pdn_backbone import load_patch_weights
from anomalib_lite.backbones.pdn_norms import fold_norms
from anomalib_lite.distillation.pictures import PicturePool
from anomalib_lite.distillation.settings import DistillSettings
from anomalib_lite.distillation.teacher import (
    Student,
    Targets,
    TargetStatistics,
    scale_heads,
    unscale_heads,
)
from anomalib_lite.edge.errors import FitError
from anomalib_lite.scorers.base import Progress, no_progress
from anomalib_lite.scorers.training.checkpoints import Checkpoint, TrainingState
from anomalib_lite.scorers.training.loop import Budget, Training, train_steps
from anomalib_lite.scorers.training.teacher_cache import TeacherCache
from anomalib_lite.system.devices import choose_device
from anomalib_lite.system.seeding import seeded

_STATISTICS_BATCHES = 40
_HELD_OUT_BATCHES = 4
_WARM_UP = 200
_CLIP = 1.0
_MARKS = 40
_NORM_MOMENTUM = 0.02
_BATCH_STATISTICS = 0.75
"""Share of the steps in which batch norm goes by the statistics of its batch."""


class Distillation:
    """One run: pictures and a teacher in, a patch network out; can stop and go on at any step.

    Args:
        pool: the pictures.
        teacher: frozen backbone.
        settings: how.
        start: weights to begin with instead of random ones: what `write_weights` wrote, of the same
            size and from a teacher with as many channels. Such a run trains without batch norm.
        device: where it trains; what is written does not depend on it but for rounding.

    Attributes:
        state: how far it is; its curve is the error on crops of pictures never trained on, where 1
            is a constant guess.

    Raises:
        WeightsError: `start` is damaged, or of another network.
    """

    def __init__(
        self,
        pool: PicturePool,
        teacher: Backbone,
        settings: DistillSettings,
        start: Path | None = None,
        device: str = "cpu",
    ) -> None:
        self.pool = pool
        self.settings = settings
        self.device = choose_device(device)
        self.targets = Targets(teacher, settings.size, settings.side).eval().to(self.device)
        self.teacher_name = teacher.name
        self.teacher_sha256 = teacher.weights_sha256
        self.norm = settings.size == "edge" and start is None
        with seeded(settings.seed):
            self.student = Student(settings.size, self.targets.channels, norm=self.norm)
        self.started_from = ""
        if start:  # in the teacher's units until the targets are measured
            name = f"pdn_{settings.size}"
            self.started_from = load_patch_weights(self.student.net, start, name)
        for module in self.student.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = _NORM_MOMENTUM
        self.student.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.statistics = TargetStatistics(self.targets.channels).to(self.device)
        self.state = TrainingState()
        self._cache = TeacherCache(teacher, self.targets)
        self._ahead: Iterator[Tensor] = iter(())
        self._training = self._plan()

    @property
    def step(self) -> int:
        """Steps done."""
        return self.state.step

    @property
    def held_out(self) -> list[tuple[int, float]]:
        """(step, held-out error) so far."""
        return self.state.curve

    def run(
        self,
        *,
        until: float | None = None,
        progress: Progress = no_progress,
        checkpoint: Path | None = None,
    ) -> bool:
        """Train until the last step; returns whether it is reached. Ctrl-C stops after a step.

        Args:
            until: stop after the first step beyond this `time.monotonic()`.
            progress: called after each step.
            checkpoint: file that the state is saved to every two minutes and at the end.

        Raises:
            FitError: the run has diverged.
        """
        if not self.statistics.measured:
            self.statistics.measure(
                lambda: (
                    self.targets(self._drawn(3, index).to(self.device))
                    for index in range(_STATISTICS_BATCHES)
                )
            )
            if self.started_from:
                unscale_heads(self.student, self.statistics.mean, self.statistics.std)
        with closing(self._crops(self.step)) as crops:
            self._ahead = crops
            train_steps(
                self._training,
                Budget(steps=self.settings.steps),
                state=self.state,
                checkpoint=None if checkpoint is None else self._checkpoint(checkpoint),
                progress=progress,
                stoppable=True,
                until=until,
            )
        return self.state.finished

    def resume(self, checkpoint: Path) -> None:
        """Go on from a file that `run` wrote, bit for bit.

        Raises:
            FitError: there is none, it is damaged, or belongs to a run with other settings.
        """
        training = self._training
        state = self._checkpoint(checkpoint).read(training.module, training.optimiser)
        if state is None:
            raise FitError(f"{checkpoint}: there is no checkpoint; leave --resume out")
        self.state = state

    def network(self) -> nn.Module:
        """The student as it is now: batch norm folded, outputs in the teacher's units."""
        plain = Student(self.settings.size, self.targets.channels, norm=False)
        trained = copy.deepcopy(self.student).cpu()
        if self.norm:
            fold_norms(trained, plain)
        else:
            plain.load_state_dict(trained.state_dict())
        statistics = copy.deepcopy(self.statistics).cpu()
        scale_heads(plain, statistics.mean, statistics.std)
        return plain.net.eval()

    def _plan(self) -> Training:
        """What the loop trains: the student, with the statistics that belong to it."""
        settings = self.settings
        return Training(
            nn.ModuleDict({"student": self.student, "statistics": self.statistics}),
            torch.optim.AdamW(
                self.student.parameters(),
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
            ),
            self._step_loss,
            self._held_out_error,
            self._identity(),
            stage="distilling",
            schedule=self._rate,
            clip=_CLIP,
            marks=_MARKS,
        )

    def _checkpoint(self, path: Path) -> Checkpoint:
        return Checkpoint(path, self._identity())

    def _identity(self) -> dict[str, Any]:
        """What must agree between a checkpoint and the run that goes on."""
        sizes = [len(group) for group in self.pool.groups]
        return {
            **asdict(self.settings),
            "teacher": self.teacher_name,
            "teacher_sha256": self.teacher_sha256,
            "pictures": sizes,
            **({"started_from": self.started_from} if self.started_from else {}),
        }

    def _crops(self, first: int) -> Generator[Tensor]:
        """Batches of the remaining steps, each a function of seed and step, made one ahead."""
        with ThreadPoolExecutor(1) as worker:
            coming = worker.submit(self._drawn, 1, first)
            for step in range(first, self.settings.steps):
                crops = coming.result()
                if step + 1 < self.settings.steps:
                    coming = worker.submit(self._drawn, 1, step + 1)
                yield crops.to(self.device)

    def _step_loss(self, step: int) -> Tensor:
        crops = next(self._ahead)
        # A batch norm that goes by its batch is another network than the one that is shipped: the
        # last steps learn with the statistics as they stay.
        self.student.train(step < _BATCH_STATISTICS * self.settings.steps)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bf16):
            wanted = self.statistics(self.targets(crops))
            maps = self.student(self._pixels(crops))
        return _error(maps, wanted)

    def _held_out_error(self) -> float:
        """Error on crops of held-out pictures, the same each time."""
        self.student.eval()
        errors = []
        for index in range(_HELD_OUT_BATCHES):
            crops = self._drawn(2, index, held_out=True).to(self.device)
            wanted = self.statistics(self._cache.maps(index, crops))
            errors.append(_error(self.student(self._pixels(crops)), wanted))
        return float(torch.stack(errors).mean())

    def _rate(self, step: int, spent: float) -> float:
        """Rises over the first steps, then falls linearly to nothing."""
        del spent
        steps = self.settings.steps
        return min(1.0, (step + 1) / min(_WARM_UP, steps), (steps - step) / steps)

    def _pixels(self, crops: Tensor) -> Tensor:
        pixels = self.targets.backbone.normalise(crops)
        return pixels.contiguous(memory_format=torch.channels_last)

    def _drawn(self, purpose: int, index: int, *, held_out: bool = False) -> Tensor:
        settings = self.settings
        seed = (settings.seed, purpose, index)
        crops = self.pool.batch(seed, settings.batch_size, settings.side, held_out=held_out)
        return torch.from_numpy(crops)


def _error(maps: dict[str, Tensor], wanted: dict[str, Tensor]) -> Tensor:
    """Mean over the outputs of the mean squared error."""
    errors = [F.mse_loss(maps[name].float(), wanted[name]) for name in wanted]
    return torch.stack(errors).mean()
