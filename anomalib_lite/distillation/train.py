"""Distil a patch network from a teacher: mean squared error of standardised features, in steps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_lite.backbones import Backbone
from anomalib_lite.backbones.pdn_backbone import load_patch_weights
from anomalib_lite.backbones.pdn_norms import fold_norms
from anomalib_lite.backbones.weights import tensors_below
from anomalib_lite.distillation.pictures import PicturePool
from anomalib_lite.distillation.settings import DistillSettings
from anomalib_lite.distillation.teacher import (
    Student,
    Targets,
    scale_heads,
    standardisation,
    unscale_heads,
)
from anomalib_lite.edge.errors import ModelFileError
from anomalib_lite.edge.files import atomic_path
from anomalib_lite.scorers.training.checkpoints import optimiser_tensors, restore_optimiser
from anomalib_lite.scorers.training.loop import stop_on_interrupt
from anomalib_lite.system.seeding import seeded

Report = Callable[[int, float, float | None], None]
"""Called with steps done, the step's error, and the held-out error where it was measured."""

_STATISTICS_BATCHES = 40
_HELD_OUT_BATCHES = 4
_WARM_UP = 200
_CLIP = 1.0
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

    Attributes:
        step: steps done.
        held_out: (step, error) on crops of pictures never trained on; 1 is a constant guess.

    Raises:
        WeightsError: `start` is damaged, or of another network.
    """

    def __init__(
        self,
        pool: PicturePool,
        teacher: Backbone,
        settings: DistillSettings,
        start: Path | None = None,
    ) -> None:
        self.pool = pool
        self.settings = settings
        self.targets = Targets(teacher, settings.size, settings.side).eval()
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
        self.student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            self.student.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.step = 0
        self.held_out: list[tuple[int, float]] = []
        self.mean: dict[str, Tensor] = {}
        self.std: dict[str, Tensor] = {}

    def run(
        self,
        *,
        until: float | None = None,
        report: Report | None = None,
        checkpoint: Path | None = None,
        every_s: float = 180.0,
    ) -> bool:
        """Train until the last step; returns whether it is reached. Ctrl-C stops after a step.

        Args:
            until: stop at this `time.monotonic()`, for a budget in minutes.
            report: called after each step.
            checkpoint: file that the state is saved to every few minutes and at the end.
            every_s: seconds between two saves.
        """
        if not self.mean:
            self._measure_targets()
            if self.started_from:
                unscale_heads(self.student, self.mean, self.std)
        saved = time.monotonic()
        check = max(1, self.settings.steps // 40)
        with stop_on_interrupt() as stop_asked:
            for crops in self._crops():
                error = self._learn(crops)
                last = self.step == self.settings.steps
                measured = self._measure() if last or self.step % check == 0 else None
                if report:
                    report(self.step, error, measured)
                if stop_asked() or (until is not None and time.monotonic() > until):
                    break
                if checkpoint and time.monotonic() - saved > every_s:
                    self.save(checkpoint)
                    saved = time.monotonic()
        if checkpoint:
            self.save(checkpoint)
        return self.step == self.settings.steps

    def network(self) -> nn.Module:
        """The student as it is now: batch norm folded, outputs in the teacher's units."""
        plain = Student(self.settings.size, self.targets.channels, norm=False)
        if self.norm:
            fold_norms(self.student, plain)
        else:
            plain.load_state_dict(self.student.state_dict())
        scale_heads(plain, self.mean, self.std)
        return plain.net.eval()

    def save(self, path: Path) -> None:
        """Write everything needed to go on, atomically."""
        from safetensors.torch import save_file

        tensors = {f"student.{k}": v.contiguous() for k, v in self.student.state_dict().items()}
        tensors |= optimiser_tensors(self.optimizer)
        for name in self.mean:
            tensors[f"mean.{name}"], tensors[f"std.{name}"] = self.mean[name], self.std[name]
        state = {"step": self.step, "held_out": self.held_out, "run": self._identity()}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"distillation": json.dumps(state)})

    def resume(self, path: Path) -> None:
        """Go on from a file that `save` wrote, bit for bit.

        Raises:
            ModelFileError: the file is damaged, or belongs to a run with other settings.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                state = json.loads(file.metadata()["distillation"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{path}: is no checkpoint of a distillation ({error})") from error
        if state["run"] != self._identity():
            raise ModelFileError(
                f"{path}: is the checkpoint of another run; repeat its options or write elsewhere"
            )
        self.student.load_state_dict(tensors_below(tensors, "student."))
        restore_optimiser(self.optimizer, tensors)
        self.mean, self.std = tensors_below(tensors, "mean."), tensors_below(tensors, "std.")
        self.step = int(state["step"])
        self.held_out = [(int(step), float(error)) for step, error in state["held_out"]]

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

    def _crops(self) -> Iterator[Tensor]:
        """Batches of the remaining steps, each a function of seed and step, made one ahead."""
        settings = self.settings

        def make(step: int) -> Tensor:
            seed = (settings.seed, 1, step)
            return torch.from_numpy(self.pool.batch(seed, settings.batch_size, settings.side))

        with ThreadPoolExecutor(1) as worker:
            coming = worker.submit(make, self.step)
            for step in range(self.step, settings.steps):
                crops = coming.result()
                coming = worker.submit(make, step + 1)
                yield crops

    def _learn(self, crops: Tensor) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self._rate()
        # A batch norm that goes by its batch is another network than the one that is shipped: the
        # last steps learn with the statistics as they stay.
        self.student.train(self.step < _BATCH_STATISTICS * self.settings.steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.bf16):
            wanted = self._standardised(crops)
            maps = self.student(self._pixels(crops))
        loss = self._error(maps, wanted)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), _CLIP)
        self.optimizer.step()
        self.step += 1
        return float(loss.detach())

    def _rate(self) -> float:
        """Share of the largest learning rate at this step."""
        rise = (self.step + 1) / min(_WARM_UP, self.settings.steps)
        return min(1.0, rise, (self.settings.steps - self.step) / self.settings.steps)

    def _pixels(self, crops: Tensor) -> Tensor:
        pixels = self.targets.backbone.normalise(crops)
        return pixels.contiguous(memory_format=torch.channels_last)

    def _standardised(self, crops: Tensor) -> dict[str, Tensor]:
        return {
            name: (maps.float() - self.mean[name].view(-1, 1, 1)) / self.std[name].view(-1, 1, 1)
            for name, maps in self.targets(crops).items()
        }

    def _error(self, maps: dict[str, Tensor], wanted: dict[str, Tensor]) -> Tensor:
        """Mean over the outputs of the mean squared error."""
        errors = [F.mse_loss(maps[name].float(), wanted[name]) for name in wanted]
        return torch.stack(errors).mean()

    def _measure(self) -> float:
        """Error on crops of held-out pictures, the same each time."""
        self.student.eval()
        errors = []
        with torch.no_grad():
            for index in range(_HELD_OUT_BATCHES):
                crops = self._drawn(2, index, held_out=True)
                errors.append(
                    self._error(self.student(self._pixels(crops)), self._standardised(crops))
                )
        error = float(torch.stack(errors).mean())
        self.held_out.append((self.step, error))
        return error

    def _measure_targets(self) -> None:
        self.mean, self.std = standardisation(
            self.targets, lambda: (self._drawn(3, index) for index in range(_STATISTICS_BATCHES))
        )

    def _drawn(self, purpose: int, index: int, *, held_out: bool = False) -> Tensor:
        settings = self.settings
        seed = (settings.seed, purpose, index)
        crops = self.pool.batch(seed, settings.batch_size, settings.side, held_out=held_out)
        return torch.from_numpy(crops)
