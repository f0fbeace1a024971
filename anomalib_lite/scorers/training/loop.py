"""Training by steps that a person can live with: a budget, a progress line, checkpoints, resuming.

What a step does is a pure function of the weights, the seed and the number of the step
(`step_seed`, `Shuffled`). So weights, optimiser state and that number are all that a checkpoint
holds, and a fit that was interrupted ends in the same bytes as one that was not (CPU, same number
of threads).
"""

from __future__ import annotations

import hashlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.scorers.base import FeatureStream, FitContext
from anomalib_lite.scorers.training.checkpoints import Checkpoints, TrainingState

CHECKPOINT_SECONDS = 120.0
DECAY_FROM = 0.95
"""Share of the budget after which the learning rate falls (66,500 of 70,000 steps; EfficientAD)."""
DECAY_FACTOR = 0.1
_MARKS = 20
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


@dataclass
class Training:
    """What is trained, and how one step goes.

    Attributes:
        module: holds all that is trained.
        optimiser: over its parameters.
        step_loss: number of the step -> loss to descend.
        held_out_loss: the loss on good images that are not trained on.
        identity: what must be the same to continue: settings, seed, weights, data.
        stage: words for the progress line.
        decay: whether the learning rate falls to a tenth at the end of the budget.
    """

    module: nn.Module
    optimiser: torch.optim.Optimizer
    step_loss: Callable[[int], Tensor]
    held_out_loss: Callable[[], float]
    identity: dict[str, Any]
    stage: str = "training"
    decay: bool = True
    rates: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.rates = [float(group["lr"]) for group in self.optimiser.param_groups]

    def set_rate(self, spent: float) -> None:
        """The learning rate of a step that begins with this share of the budget spent."""
        factor = DECAY_FACTOR if self.decay and spent >= DECAY_FROM else 1.0
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def step(self, number: int) -> None:
        """One step of the optimiser."""
        self.optimiser.zero_grad(set_to_none=True)
        self.step_loss(number).backward()
        self.optimiser.step()


def train(training: Training, budget: Budget, context: FitContext) -> TrainingState:
    """Train until the budget is spent or a person presses Ctrl-C.

    With a checkpoint folder the state is written every two minutes and at the end, and
    `context.resume` continues from there. Then the first Ctrl-C ends the training after the current
    step, so that what was learnt can be used; a second one raises `KeyboardInterrupt`. Without a
    folder the first one does.

    Returns:
        Steps and seconds spent, and the held-out losses along the way.

    Raises:
        FitError: the loss is not finite; the checkpoint is damaged or of another fit.
    """
    checkpoints = Checkpoints(context.checkpoint, training.identity)
    state = TrainingState()
    if context.resume:
        state = checkpoints.read(training.module, training.optimiser) or state
    started = saved = time.monotonic()
    before = state.seconds
    stoppable = context.checkpoint is not None
    with torch.enable_grad(), stop_on_interrupt(stoppable) as stop_asked:
        while budget.spent(state.step, state.seconds) < 1 and not stop_asked():
            training.set_rate(budget.spent(state.step, state.seconds))
            training.step(state.step)
            state.step += 1
            state.seconds = before + time.monotonic() - started
            _mark(training, budget, state)
            _tell(training, budget, state, context)
            if time.monotonic() - saved >= CHECKPOINT_SECONDS:
                checkpoints.write(training.module, training.optimiser, state)
                saved = time.monotonic()
    state.finished = budget.spent(state.step, state.seconds) >= 1
    checkpoints.write(training.module, training.optimiser, state)
    return state


def _mark(training: Training, budget: Budget, state: TrainingState) -> None:
    """Note the held-out loss whenever another twentieth of the budget is spent."""
    mark = int(_MARKS * min(1.0, budget.spent(state.step, state.seconds)))
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


def _tell(training: Training, budget: Budget, state: TrainingState, context: FitContext) -> None:
    remark = f" | held-out loss {state.curve[-1][1]:.4g}" if state.curve else ""
    if budget.steps is not None and budget.minutes is None:
        context.progress(f"{training.stage}, steps{remark}", state.step, budget.steps)
        return
    # Percent of whichever limit is nearer.
    done = min(1000, int(1000 * budget.spent(state.step, state.seconds)))
    context.progress(f"{training.stage}, thousandths of the budget{remark}", done, 1000)


@contextmanager
def stop_on_interrupt(wanted: bool = True) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into an answer of True; the next acts as it did before.

    Only the main thread can receive it; elsewhere, or if not wanted, the answer stays False.
    """
    asked = threading.Event()
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    previous = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: object) -> None:
        del number, frame
        asked.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, note)
    try:
        yield asked.is_set
    finally:
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, previous)


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


def held_back(indices: Sequence[int], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Divide images into those to train on and a held-out share, at least one of each.

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
    kept = {int(item) for item in rng.permutation(np.asarray(indices))[:count]}
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
