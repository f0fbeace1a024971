"""Which configuration finds more simulated defects on good images that none of them has seen.

Every configuration learns from the same good images and judges the same defects on the same other
ones, so their differences are paired: the bootstrap draws images, with all that lies on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np

from anomalib_lite.data.simulate.defect_set import Where
from anomalib_lite.data.simulate.families import PLAIN_KINDS
from anomalib_lite.data.simulate.plan import DefectPlan
from anomalib_lite.data.simulate.textures import TextureBank, procedural_textures
from anomalib_lite.detector.chosen_frames import ChosenFrames
from anomalib_lite.edge.errors import FitError, FrameError, SettingsError, SourceError
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.sources import Source
from anomalib_lite.tuning.grid import Configuration
from anomalib_lite.tuning.held_out import drawn_share
from anomalib_lite.tuning.judging import judge
from anomalib_lite.tuning.ranking import Judged, Row, rank

FEWEST_GOOD = 20
_MOST_BYTES = 300 << 20
_TEXTURES = 4


@dataclass(frozen=True, eq=False)
class Comparison:
    """The ranking, best first.

    Attributes:
        rows: a line for each configuration that could be fitted.
        held_out: good images that were judged.
        learnt: good images that each learnt from.
        failed: configuration -> why it could not be fitted.
    """

    rows: list[Row]
    held_out: int
    learnt: int
    failed: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        rows = [
            {
                "name": row.name,
                "simulated_auroc": row.auroc,
                "interval_95": list(row.interval),
                "behind_first": row.behind[0],
                "behind_first_95": list(row.behind[1:]),
                "misses_at_threshold": row.misses,
                "good_rejected": row.rejects,
                "by_kind": {
                    kind: None if np.isnan(value) else value for kind, value in row.by_kind.items()
                },
            }
            for row in self.rows
        ]
        return {
            "rows": rows,
            "held_out_images": self.held_out,
            "learnt_images": self.learnt,
            "failed": self.failed,
        }


def compare(
    good: Source,
    configurations: Sequence[Configuration],
    *,
    kinds: Sequence[str] = PLAIN_KINDS,
    where: Where | None = None,
    max_false_reject: float = 0.01,
    seed: int = 0,
    device: str = "auto",
    weights: Any = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Comparison:
    """Rank configurations; each learns from seven in ten of the good images.

    Args:
        good: good images, at least 20.
        configurations: at least two.
        kinds: families of simulated defects, one of each on every held-out image.
        where: how the part is found.
        max_false_reject: of every threshold.
        seed: draws the split, the defects and the resamples.
        device: where torch computes.
        weights: for the backbones.
        progress: called with (configuration, done, all).

    Raises:
        SourceError: fewer than 20 good images.
        SettingsError: fewer than two configurations, or two of the same name.
    """
    names = [item.name for item in configurations]
    if len(set(names)) < len(names):
        raise SettingsError(f"{', '.join(names)}: one is named twice; name each once")
    if len(names) < 2:
        raise SettingsError(f"{', '.join(names)}: name two or more detectors or backbones")
    plan = DefectPlan(kinds=tuple(kinds))
    jobs = len(list(good.jobs()))
    if jobs < FEWEST_GOOD:
        raise SourceError(f"{good.name}: holds {jobs} good image(s); give at least {FEWEST_GOOD}")
    kept, learnt = drawn_share(jobs, seed)
    frames, altered = _defects(ChosenFrames(good, kept), plan, where or Where(), seed)
    judged: list[Judged] = []
    failed: dict[str, str] = {}
    for number, item in enumerate(configurations):
        if progress is not None:
            progress(f"comparing {item.name}", number, len(configurations))
        try:
            detector = item.create(
                max_false_reject=max_false_reject, seed=seed, device=device, weights=weights
            ).fit(ChosenFrames(good, learnt))
            found = judge(detector, frames, chain.from_iterable(altered), per_image=len(kinds))
            judged.append(Judged(item.name, found, detector.threshold))
        except FitError as error:
            failed[item.name] = str(error)
    return Comparison(rank(judged, plan.kinds, seed), len(frames), len(learnt), failed)


def _defects(
    held_out: Source, plan: DefectPlan, where: Where, seed: int
) -> tuple[list[Frame], list[list[Frame | None]]]:
    """Held-out frames, and each with one defect of every kind; None where it does not fit."""
    frames: list[Frame] = []
    altered: list[list[Frame | None]] = []
    held = 0

    @lru_cache(maxsize=2)
    def textures(size_hw: tuple[int, int]) -> TextureBank:
        return procedural_textures(size_hw, seed=seed, count=_TEXTURES)

    for number, job in enumerate(held_out.jobs()):
        try:
            frame = job.load()
        except FrameError:
            continue
        held += frame.nbytes * (1 + len(plan.kinds))
        if frames and held > _MOST_BYTES:
            break
        part = where.part(frame)
        bank = textures((frame.shape[0], frame.shape[1]))
        made: list[Frame | None] = []
        for place, kind in enumerate(plan.kinds):
            rng = np.random.default_rng([seed, 7, number, place])
            try:
                made.append(plan.draw(kind, frame, part, rng, bank)[0].frame)
            except SettingsError:
                made.append(None)
        frames.append(frame)
        altered.append(made)
    if not frames:
        raise SourceError(f"{held_out.name}: no held-out image can be read")
    return frames, altered
