"""What a fusion tells its parts, and how it reads what they answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from anomalib_lite.scorers.base import FitContext, HeldOutScores, Scorer


def in_order(held_out: HeldOutScores) -> HeldOutScores:
    """The same scores, images ascending."""
    order = np.argsort(held_out.indices, kind="stable")
    return HeldOutScores(held_out.indices[order], held_out.image[order], held_out.map_peak[order])


def told_by(scorer: Scorer, context: FitContext) -> FitContext:
    """The context, with the part's name before each stage and a checkpoint folder of its own."""

    def tell(stage: str, done: int, total: int) -> None:
        context.progress(f"{scorer.name}: {stage}", done, total)

    folder = None if context.checkpoint is None else context.checkpoint / scorer.name
    return replace(context, progress=tell, checkpoint=folder)
