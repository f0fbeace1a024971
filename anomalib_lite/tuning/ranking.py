"""Order configurations by what they find, with bootstrap intervals that are paired by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomalib_lite.tuning.judging import Floats, Judgement

_RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Judged:
    """What one configuration said.

    Attributes:
        name: of the configuration.
        judgement: a defect of each kind on every image, `(n, kinds)`.
        threshold: its own.
    """

    name: str
    judgement: Judgement
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


def rank(judged: Sequence[Judged], kinds: Sequence[str], seed: int) -> list[Row]:
    """Order by mean AUROC over kinds, with bootstrap intervals that are paired by image."""
    if not judged:
        return []
    images = len(judged[0].judgement.good)
    rng = np.random.default_rng([seed, 6])
    draws = rng.multinomial(images, np.full(images, 1 / images), _RESAMPLES).astype(np.float64)
    whole = np.ones((1, images))
    figures = {item.name: _aurocs(item.judgement, whole)[0] for item in judged}
    resampled = {item.name: np.nanmean(_aurocs(item.judgement, draws), axis=1) for item in judged}
    ordered = sorted(judged, key=lambda item: (-float(np.nanmean(figures[item.name])), item.name))
    first = ordered[0].name
    rows = []
    for item in ordered:
        behind = float(np.nanmean(figures[first]) - np.nanmean(figures[item.name]))
        low, high = np.quantile(resampled[first] - resampled[item.name], (0.025, 0.975))
        rows.append(
            Row(
                item.name,
                float(np.nanmean(figures[item.name])),
                tuple(np.quantile(resampled[item.name], (0.025, 0.975)).tolist()),
                (behind, float(low), float(high)),
                item.judgement.missed_at(item.threshold),
                float((item.judgement.good > item.threshold).mean()),
                dict(zip(kinds, figures[item.name].tolist(), strict=True)),
            )
        )
    return rows


def _aurocs(item: Judgement, weights: Floats) -> Floats:
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
