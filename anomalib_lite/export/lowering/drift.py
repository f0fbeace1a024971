"""How far a coarser graph is from the float one: maps, scores, verdicts, on good and simulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.simulate import HARMLESS_KINDS, harmless_change, simulate_among
from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.outputs import Outputs
from anomalib_lite.export.lowering.request import Limits
from anomalib_lite.metrics.image import auroc_between
from anomalib_lite.metrics.pro import aupro

_SCORE_QUANTILE = 0.95
_COVERED = 0.5


@dataclass(frozen=True)
class DriftReport:
    """The float graph with its threshold beside the coarser one with its own.

    Attributes:
        good: good frames judged.
        defects: simulated defects judged.
        score_drift: relative difference of scores, 95 % quantile over all frames.
        map_drift: mean absolute difference of maps relative to the mean map, averaged over frames.
        verdicts_changed: share of frames whose verdict changed.
        auroc: (float, coarser): simulated defects against the held-out scores of good images.
        aupro: (float, coarser) on the masks of the simulated defects; None where maps say nothing.
        misses: (float, coarser): share of simulated defects that pass.
        false_rejects: (float, coarser): share of the judged good frames that are rejected.
    """

    good: int
    defects: int
    score_drift: float
    map_drift: float
    verdicts_changed: float
    auroc: tuple[float, float]
    aupro: tuple[float, float] | None
    misses: tuple[float, float]
    false_rejects: tuple[float, float]

    def lost(self) -> dict[str, float]:
        """What each figure of `Limits` has lost; negative where it gained."""
        found = {"auroc": self.auroc[0] - self.auroc[1], "misses": self.misses[1] - self.misses[0]}
        if self.aupro is not None:
            found["aupro"] = self.aupro[0] - self.aupro[1]
        return found

    def too_much(self, limits: Limits) -> str:
        """What has lost more than it may, in words; empty where nothing has."""
        allowed = vars(limits)
        return ", ".join(
            f"{name} loses {loss:.4f} of {allowed[name]:g} allowed"
            for name, loss in sorted(self.lost().items())
            if loss > allowed[name]
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value is not None
        }


def map_drift(got: Sequence[Outputs], want: Sequence[Outputs]) -> float:
    """Mean absolute difference of maps relative to the wanted map's mean, averaged over frames.

    Scores count like a map of one cell; inf where something is not finite.
    """
    shares = []
    for found, expected in zip(got, want, strict=True):
        flat, sought = (
            side.anomaly_map.reshape(len(side.score), -1).astype(np.float64)
            for side in (found, expected)
        )
        scale = np.maximum(np.abs(sought).mean(axis=1), 1e-12)
        shares.append(np.abs(flat - sought).mean(axis=1) / scale)
        scores = np.abs(found.score - expected.score) / np.maximum(np.abs(expected.score), 1e-12)
        shares.append(scores.astype(np.float64))
    mean = float(np.concatenate(shares).mean())
    return mean if np.isfinite(mean) else float("inf")


def simulated(
    frames: NDArray[np.uint8], seed: int, inside: NDArray[np.bool_] | None, most: int
) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]]]:
    """A defect in each of at most so many frames, of each kind in turn; pictures and masks."""
    rng = np.random.default_rng([seed, 2])
    pictures, masks = [], []
    for index in range(min(most, len(frames))):
        found = simulate_among(frames, index, index, rng, inside)
        pictures.append(found.frame)
        masks.append(found.mask)
    return np.stack(pictures), masks


def harmless(frames: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """The frames moved by a few pixels or in other light, in turn: what was learnt, seen anew."""
    rng = np.random.default_rng([seed, 3])
    kinds = len(HARMLESS_KINDS)
    changed = [
        harmless_change(frame, HARMLESS_KINDS[index % kinds], rng)
        for index, frame in enumerate(frames)
    ]
    return np.stack(changed)


def drift_report(
    good: tuple[Outputs, Outputs],
    defects: tuple[Outputs, Outputs],
    masks: Sequence[NDArray[np.float32]],
    calibrations: tuple[Calibration, Calibration],
    *,
    localises: bool,
) -> DriftReport:
    """Compare (float, coarser) outputs for good frames and for simulated defects.

    Args:
        good: outputs for the same good frames.
        defects: outputs for the same simulated defects.
        masks: where each defect is, float32 `(h, w)`.
        calibrations: of the float graph and of the coarser one.
        localises: whether maps say where.
    """
    thresholds = [calibration.threshold for calibration in calibrations]
    rejected = [item.score > limit for item, limit in zip(good, thresholds, strict=True)]
    caught = [item.score > limit for item, limit in zip(defects, thresholds, strict=True)]
    scores = [np.concatenate([good[side].score, defects[side].score]) for side in (0, 1)]
    relative = np.abs(scores[1] - scores[0]) / np.maximum(np.abs(scores[0]), 1e-12)
    verdicts = [np.concatenate([rejected[side], caught[side]]) for side in (0, 1)]
    pairs = ((good[1], good[0]), (defects[1], defects[0]))
    return DriftReport(
        len(good[0].score),
        len(defects[0].score),
        float(np.quantile(relative, _SCORE_QUANTILE)),
        map_drift([pair[0] for pair in pairs], [pair[1] for pair in pairs]),
        float((verdicts[0] != verdicts[1]).mean()),
        _both(auroc_between(calibrations[side].scores, defects[side].score) for side in (0, 1)),
        _both(_aupro(good[side], defects[side], masks) for side in (0, 1)) if localises else None,
        _both(float(1 - caught[side].mean()) for side in (0, 1)),
        _both(float(rejected[side].mean()) for side in (0, 1)),
    )


def _both(values: Any) -> tuple[float, float]:
    first, second = values
    return float(first), float(second)


def _aupro(good: Outputs, defects: Outputs, masks: Sequence[NDArray[np.float32]]) -> float:
    maps = [*defects.anomaly_map, *good.anomaly_map]
    small = [_on_grid(mask, defects.anomaly_map.shape[1:]) for mask in masks]
    plain = np.zeros(good.anomaly_map.shape[1:], bool)
    return aupro(maps, [*small, *[plain] * len(good.score)])


def _on_grid(mask: NDArray[np.float32], grid_hw: tuple[int, ...]) -> NDArray[np.bool_]:
    """Cells of the map that a defect covers by half, or the one that it covers most."""
    changed = (mask > 0).astype(np.float32)
    share = cv2.resize(changed, grid_hw[::-1], interpolation=cv2.INTER_AREA)
    found: NDArray[np.bool_] = np.asarray(share >= min(_COVERED, float(share.max())))
    return found & np.asarray(share > 0)
