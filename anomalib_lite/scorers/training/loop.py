"""Training by steps that a person can live with: a budget, a progress line, checkpoints, resuming.

What a step does is a pure function of the weights, the seed and the number of the step
(`step_seed`, `Shuffled`). So weights, optimiser state and that number are all that a checkpoint
holds, and a fit that was interrupted ends in the same bytes as one that was not (CPU, same number
of threads).
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.edge.runs.ownership import owned_file
from anomalib_lite.scorers.base import FeatureStream, FitContext, Progress, no_progress
from anomalib_lite.scorers.splits import cut, shuffled
from anomalib_lite.scorers.training.checkpoints import Checkpoint, TrainingState
from anomalib_lite.system.interrupts import stop_on_interrupt

CHECKPOINT_SECONDS = 120.0
DECAY_FROM = 0.95
"""Share of the budget after which the learning rate falls (66,500 of 70,000 steps; EfficientAD)."""
DECAY_FACTOR = 0.1
_READ = 16
_LARGEST_SEED = 1 << 63


@dataclass(frozen=True)
class Budget:
    """How long to train; whichever of the two is spent first.

    Args:
        steps: number of steps, or None.
        minutes: minutes of training, or None. The result then depends on the machine's speed.

    Raises:
        SettingsError: neither is given, or one is not above 0.
    """

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise SettingsError("training needs a budget; give steps or minutes")
        if self.steps is not None and not (type(self.steps) is int and self.steps >= 1):
            raise SettingsError(f"steps is {self.steps}; choose 1 or more")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise SettingsError(f"minutes is {self.minutes}; choose a time above 0")

    def spent(self, step: int, seconds: float) -> float:
        """Share of the budget that is spent after so many steps and seconds."""
        by_steps = 0.0 if self.steps is None else step / self.steps
        by_time = 0.0 if self.minutes is None else seconds / (60 * self.minutes)
        return max(by_steps, by_time)


Schedule = Callable[[int, float], float]
"""Number of a step and share of the budget spent before it -> factor of the learning rate."""


def fall_at_the_end(step: int, spent: float) -> float:
    """A tenth in the last twentieth of the budget."""
    del step
    return DECAY_FACTOR if spent >= DECAY_FROM else 1.0


@dataclass
class Training:
    """What is trained, and how one step goes.

    Attributes:
        module: holds all that is trained.
        optimiser: over its parameters.
        step_loss: number of the step -> loss to descend.
        held_out_loss: the loss on images that are not trained on.
        identity: what must be the same to continue: settings, seed, weights, data.
        stage: words for the progress line.
        schedule: of the learning rate that the optimiser begins with.
        clip: largest norm of all gradients together; None leaves them.
        marks: how often the held-out loss is noted over the budget.
    """

    module: nn.Module
    optimiser: torch.optim.Optimizer
    step_loss: Callable[[int], Tensor]
    held_out_loss: Callable[[], float]
    identity: dict[str, Any]
    stage: str = "training"
    schedule: Schedule = fall_at_the_end
    clip: float | None = None
    marks: int = 20
    rates: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.rates = [float(group["lr"]) for group in self.optimiser.param_groups]

    def set_rate(self, number: int, spent: float) -> None:
        """The learning rate of a step that begins with this share of the budget spent."""
        factor = self.schedule(number, spent)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def step(self, number: int) -> None:
        """One step of the optimiser."""
        self.optimiser.zero_grad(set_to_none=True)
        self.step_loss(number).backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.clip)
        self.optimiser.step()


def train(training: Training, budget: Budget, context: FitContext) -> TrainingState:
    """A scorer's training, as `train_steps`, with the checkpoint folder of its context.

    With a folder `context.resume` continues from there, and the first Ctrl-C ends the training so
    that what was learnt can be used. Without one it raises `KeyboardInterrupt`.

    Raises:
        FitError: the loss is not finite; the checkpoint is damaged or of another fit.
    """
    if context.checkpoint is None:
        return train_steps(training, budget, progress=context.progress)
    checkpoint = Checkpoint.in_folder(context.checkpoint, training.identity)
    state = None
    if context.resume:
        state = checkpoint.read(training.module, training.optimiser)
        if state is None:
            checkpoint.refuse_rivals()
    return train_steps(
        training,
        budget,
        state=state,
        checkpoint=checkpoint,
        progress=context.progress,
        stoppable=True,
    )


def train_steps(
    training: Training,
    budget: Budget,
    *,
    state: TrainingState | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Progress = no_progress,
    stoppable: bool = False,
    until: float | None = None,
) -> TrainingState:
    """Train until the budget is spent, a person presses Ctrl-C, or time is up.

    Args:
        training: what, and how.
        budget: how long.
        state: where to go on, changed on the way; None begins.
        checkpoint: written every two minutes and at the end.
        progress: called after each step.
        stoppable: the first Ctrl-C ends the training after the current step; a second one raises
            `KeyboardInterrupt`.
        until: end, unfinished, after the first step beyond this `time.monotonic()`.

    Returns:
        Steps and seconds spent, and the held-out losses along the way.

    Raises:
        FitError: the loss is not finite.
        SettingsError: another process writes this checkpoint.
    """
    state = state or TrainingState()
    started = saved = time.monotonic()
    before = state.seconds
    owner = nullcontext() if checkpoint is None else owned_file(checkpoint.path)
    with owner, torch.enable_grad(), stop_on_interrupt(stoppable) as stop_asked:
        while (spent := budget.spent(state.step, state.seconds)) < 1:
            training.set_rate(state.step, spent)
            training.step(state.step)
            now = time.monotonic()
            state.step += 1
            state.seconds = before + now - started
            _mark(training, budget, state)
            _tell(training, budget, state, progress)
            if stop_asked() or (until is not None and now > until):
                break
            if checkpoint is not None and now - saved >= CHECKPOINT_SECONDS:
                checkpoint.write(training.module, training.optimiser, state)
                saved = time.monotonic()
        state.finished = budget.spent(state.step, state.seconds) >= 1
        if checkpoint is not None:
            checkpoint.write(training.module, training.optimiser, state)
    return state


def _mark(training: Training, budget: Budget, state: TrainingState) -> None:
    """Note the held-out loss whenever another part of the budget is spent."""
    mark = int(training.marks * min(1.0, budget.spent(state.step, state.seconds)))
    if mark == state.mark:
        return
    state.mark = mark
    with torch.no_grad():
        loss = training.held_out_loss()
    if not math.isfinite(loss):
        raise FitError(
            f"training diverged at step {state.step}: the held-out loss is {loss}; check the "
            "weights of the backbone, or train with a smaller learning rate"
        )
    state.curve.append((state.step, loss))


def _tell(training: Training, budget: Budget, state: TrainingState, progress: Progress) -> None:
    remark = f" | held-out loss {state.curve[-1][1]:.4g}" if state.curve else ""
    if budget.steps is not None and budget.minutes is None:
        progress(f"{training.stage}, steps{remark}", state.step, budget.steps)
        return
    # Percent of whichever limit is nearer.
    done = min(1000, int(1000 * budget.spent(state.step, state.seconds)))
    progress(f"{training.stage}, thousandths of the budget{remark}", done, 1000)


def step_seed(seed: int, step: int, purpose: str) -> int:
    """A seed for one random draw of one step; steps and purposes do not share any."""
    words = [seed, step, *purpose.encode()]
    state = np.random.SeedSequence(words).generate_state(1, np.uint64)
    return int(state[0]) % _LARGEST_SEED


class Shuffled:
    """Random order, epoch by epoch: `order[position]` is the image at a position of the run.

    Args:
        indices: image indices.
        seed: fixes the order.
    """

    def __init__(self, indices: Sequence[int], seed: int) -> None:
        self.indices = np.asarray(indices, np.int64)
        self.seed = seed
        self._epoch = -1
        self._order = self.indices

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, len(self.indices))
        if epoch != self._epoch:
            rng = np.random.default_rng(step_seed(self.seed, epoch, "order"))
            self._epoch, self._order = epoch, rng.permutation(self.indices)
        return int(self._order[place])

    def endless(self, position: int) -> Iterator[int]:
        """Images from a position on, without end."""
        while True:
            yield self[position]
            position += 1


def held_back(
    indices: Sequence[int], share: float, seed: int, origins: NDArray[np.int64] | None = None
) -> tuple[list[int], list[int]]:
    """Divide images into those to train on and a held-out share, at least one of each.

    Images of one origin are on one side; see `FitContext`.

    Raises:
        FitError: fewer than two images.
    """
    if len(indices) < 2:
        raise FitError(
            f"{len(indices)} usable good image(s) to train on; at least 2 are needed, one of them "
            "to watch the training"
        )
    count = min(len(indices) - 1, max(1, round(share * len(indices))))
    rng = np.random.default_rng(step_seed(seed, 0, "hold out"))
    order = shuffled(np.asarray(indices), origins, rng)
    kept = {int(item) for item in order[: cut(order, origins, count)]}
    return [item for item in indices if item not in kept], sorted(kept)


def usable_images(stream: FeatureStream, context: FitContext) -> tuple[list[int], str]:
    """Indices of the images that can be read, and one sha256 of all their frames."""
    usable: list[int] = []
    digest = hashlib.sha256()
    for batch in stream.batches(_READ):
        usable += batch.indices.tolist()
        digest.update(batch.frames.cpu().numpy().tobytes())
        context.progress("reading good images", len(usable), len(stream))
    return usable, digest.hexdigest()
