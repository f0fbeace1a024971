"""What a distillation is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from anomalib_lite.backbones.pdn import Size
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.plain import plain_fields


@dataclass(frozen=True)
class DistillSettings:
    """How to distil.

    Attributes:
        size: `"edge"`, `"small"` or `"medium"`.
        steps: optimiser steps; the learning rate falls to zero over them.
        batch_size: crops a step.
        side: of a crop, pixels (a multiple of 16).
        learning_rate: largest; it rises over the first steps and falls linearly.
        weight_decay: of AdamW.
        bf16: compute in bfloat16 (weights and optimiser stay float32); quicker where the processor
            knows it.
        seed: same seed, same pictures, same threads: same bytes.
    """

    size: Size = "edge"
    steps: int = 20000
    batch_size: int = 24
    side: int = 160
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    bf16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        plain_fields(self)
        if self.size not in get_args(Size):
            raise SettingsError(f"size is {self.size!r}; choose small, medium or edge")
        if self.steps < 1 or self.batch_size < 1:
            raise SettingsError("steps and batch size must be at least 1")
        if self.side < 64 or self.side % 16:
            raise SettingsError(f"side is {self.side}; choose a multiple of 16 from 64")
        if not 0 < self.learning_rate < 1:
            raise SettingsError(f"learning rate is {self.learning_rate}; choose between 0 and 1")
