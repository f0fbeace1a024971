"""What settings of a training must be, whichever scorer is trained."""

from __future__ import annotations

import math

from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.training.loop import Budget


def check_course(
    steps: int | None,
    minutes: float | None,
    learning_rate: float | None,
    batch_size: int,
    smallest_batch: int = 1,
) -> None:
    """Refuse a batch, rate or budget that makes no sense; None leaves a rate or budget open.

    Raises:
        SettingsError: says which, and what to choose.
    """
    if not (type(batch_size) is int and batch_size >= smallest_batch):
        raise SettingsError(f"batch_size is {batch_size}; choose {smallest_batch} or more")
    check_rate(learning_rate)
    if steps is not None or minutes is not None:
        Budget(steps, minutes)


def check_rate(learning_rate: float | None) -> None:
    """Refuse a learning rate that is none; raises `SettingsError`."""
    if learning_rate is not None and not 0 < learning_rate < math.inf:
        raise SettingsError(f"learning_rate is {learning_rate}; choose a rate above 0")
