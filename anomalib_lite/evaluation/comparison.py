"""Which configuration finds more simulated defects on good images that none of them has seen.

Every configuration learns from the same good images and judges the same defects on the same other
ones, so their differences are paired: the bootstrap draws images, with all that lies on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.simulate.defect_set import Where
from anomalib_lite.data.simulate.families import FAMILIES
from anomalib_lite.data.simulate.plan import DefectPlan
from anomalib_lite.data.simulate.textures import procedural_textures
from anomalib_lite.detector.detector import Detector
from anomalib_lite.detector.image_stream import ChosenFrames
from anomalib_lite.edge.errors import FitError, FrameError, SettingsError, SourceError
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.runs.scoring import predict_frames
from anomalib_lite.edge.sources import Source

Floats = NDArray[np.float64]

KINDS = tuple(name for name in FAMILIES if name not in ("cutpaste", "scar"))
FEWEST_GOOD = 20
_HELD_OUT, _MOST_HELD_OUT, _MOST_BYTES = 0.3, 60, 300 << 20
_RESAMPLES = 2000
_BATCH = 8


@dataclass(frozen=True)
class Configuration:
    """One detector to compare.

    Attributes:
        detector: name of the scorer.
        backbone: name, or None for what the scorer works best with.
        image_size: side of the network's input.
        settings: of the scorer.
    """

    detector: str
    backbone: str | None = None
    image_size: int | tuple[int, int] = 256
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`padim on pdn_edge`."""
        return f"{self.detector} on {self.backbone or 'its own backbone'}"


@dataclass(frozen=True, eq=False)
class Judged:
    """What one configuration said.

    Attributes:
        name: of the configuration.
        good: scores of the held-out images as they are, `(n,)`.
        defects: scores with a defect of each kind, `(n, kinds)`; NaN where none could be made.
        threshold: its own.
    """

    name: str
    good: Floats
    defects: Floats
    threshold: float


@dataclass(frozen=True, eq=False)
class Row:
    """One line of the ranking.

    Attributes:
        name: of the configuration.
        auroc: mean over the kinds.
        interval: of it, 95 %.
        behind: how far behind the first, with its paired 95 % interval; 0 for the first itself.
        misses: share of defects below its own threshold.
        rejects: share of held-out good images above it.
        by_kind: AUROC of each kind; NaN where none could be made.
    """

    name: str
    auroc: float
    interval: tuple[float, float]
    behind: tuple[float, float, float]
    misses: float
    rejects: float
    by_kind: dict[str, float]


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
    kinds: Sequence[str] = KINDS,
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
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise SettingsError("compare takes two or more configurations, each once")
    plan = DefectPlan(kinds=tuple(kinds))
    jobs = len(list(good.jobs()))
    if jobs < FEWEST_GOOD:
        raise SourceError(f"{good.name}: holds {jobs} good image(s); give at least {FEWEST_GOOD}")
    order = np.random.default_rng([seed, 5]).permutation(jobs)
    count = min(_MOST_HELD_OUT, round(_HELD_OUT * jobs))
    kept, learnt = np.sort(order[:count]).tolist(), np.sort(order[count:]).tolist()
    frames, altered = _defects(ChosenFrames(good, kept), plan, where or Where(), seed)
    judged: list[Judged] = []
    failed: dict[str, str] = {}
    for number, item in enumerate(configurations):
        if progress is not None:
            progress(f"comparing {item.name}", number, len(configurations))
        try:
            detector = Detector(
                item.detector,
                backbone=item.backbone,
                image_size=item.image_size,
                max_false_reject=max_false_reject,
                seed=seed,
                device=device,
                weights=weights,
                **item.settings,
            ).fit(ChosenFrames(good, learnt))
            judged.append(_judge(item.name, detector, frames, altered))
        except FitError as error:
            failed[item.name] = str(error)
    return Comparison(rank(judged, plan.kinds, seed), len(frames), len(learnt), failed)


def rank(judged: Sequence[Judged], kinds: Sequence[str], seed: int) -> list[Row]:
    """Order by mean AUROC over kinds, with bootstrap intervals that are paired by image."""
    if not judged:
        return []
    images = len(judged[0].good)
    rng = np.random.default_rng([seed, 6])
    draws = rng.multinomial(images, np.full(images, 1 / images), _RESAMPLES).astype(np.float64)
    whole = np.ones((1, images))
    figures = {item.name: _aurocs(item, whole)[0] for item in judged}
    resampled = {item.name: np.nanmean(_aurocs(item, draws), axis=1) for item in judged}
    ordered = sorted(judged, key=lambda item: (-float(np.nanmean(figures[item.name])), item.name))
    first = ordered[0].name
    rows = []
    for item in ordered:
        behind = float(np.nanmean(figures[first]) - np.nanmean(figures[item.name]))
        low, high = np.quantile(resampled[first] - resampled[item.name], (0.025, 0.975))
        made = ~np.isnan(item.defects)
        rows.append(
            Row(
                item.name,
                float(np.nanmean(figures[item.name])),
                tuple(np.quantile(resampled[item.name], (0.025, 0.975)).tolist()),
                (behind, float(low), float(high)),
                float((item.defects[made] <= item.threshold).mean()),
                float((item.good > item.threshold).mean()),
                dict(zip(kinds, figures[item.name].tolist(), strict=True)),
            )
        )
    return rows


def _aurocs(item: Judged, weights: Floats) -> Floats:
    """AUROC of each kind `(b, kinds)` with images counted by `weights` `(b, n)`; NaN for none."""
    columns = []
    for scores in item.defects.T:
        made = ~np.isnan(scores)
        if not made.any():
            columns.append(np.full(len(weights), np.nan))
            continue
        wins = (scores[made, None] > item.good) + 0.5 * (scores[made, None] == item.good)
        won = np.einsum("bi,ij,bj->b", weights[:, made], wins, weights)
        total = weights[:, made].sum(axis=1) * weights.sum(axis=1)
        columns.append(won / np.maximum(total, 1e-12))
    return np.stack(columns, axis=1)


def _defects(
    held_out: Source, plan: DefectPlan, where: Where, seed: int
) -> tuple[list[Frame], list[list[Frame | None]]]:
    """Held-out frames, and each with one defect of every kind; None where it does not fit."""
    frames: list[Frame] = []
    altered: list[list[Frame | None]] = []
    held = 0
    for number, job in enumerate(held_out.jobs()):
        try:
            frame = job.load()
        except FrameError:
            continue
        held += frame.nbytes * (1 + len(plan.kinds))
        if frames and held > _MOST_BYTES:
            break
        part = where.part(frame)
        bank = procedural_textures((frame.shape[0], frame.shape[1]), seed=seed, count=4)
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


def _judge(
    name: str, detector: Detector, frames: list[Frame], altered: list[list[Frame | None]]
) -> Judged:
    defects = np.full((len(frames), len(altered[0])), np.nan)
    wanted = [
        (row, column, frame)
        for row, made in enumerate(altered)
        for column, frame in enumerate(made)
        if frame is not None
    ]
    for first in range(0, len(wanted), _BATCH):
        batch = wanted[first : first + _BATCH]
        found = predict_frames(detector, [frame for *_, frame in batch])
        for (row, column, _), verdict in zip(batch, found, strict=True):
            defects[row, column] = verdict.score
    good = []
    for first in range(0, len(frames), _BATCH):
        good += [item.score for item in predict_frames(detector, frames[first : first + _BATCH])]
    return Judged(name, np.array(good), defects, detector.threshold)
