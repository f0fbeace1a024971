"""The parity gate: is the exported graph the fitted model?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import ExportError
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.metadata import Probe
from anomalib_lite.edge.prepare import InputSpec, prepare

TOLERANCE = 1e-4
"""Largest relative difference of a score, and of a map relative to its peak."""

SELF_TEST_TOLERANCE = 1e-3
"""What the edge box accepts: another processor or engine rounds differently."""


class Runnable(Protocol):
    """Prepared frames in, raw outputs out: a detector or an engine."""

    def run(self, frames_nhwc: NDArray[np.uint8], /) -> tuple[Any, Any]:
        """`uint8 (N, h, w, 3)` -> score `(N,)`, map `(N, h', w')`."""


class RunsProducts(Protocol):
    """A detector or an engine that knows several products."""

    def product_scores(self, frames_nhwc: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """`uint8 (N, h, w, 3)` -> score as each product `(N, P)`."""


@dataclass(frozen=True)
class ParityReport:
    """How far the exported graph is from the fitted model.

    Attributes:
        probes: number of probe frames.
        batches: batch sizes that were run.
        score_difference: largest relative difference of an image score.
        map_difference: largest difference of a map value, relative to the map's peak.
        verdict_flips: probes whose verdict changed.
        tolerance: what was allowed.
    """

    probes: int
    batches: tuple[int, ...]
    score_difference: float
    map_difference: float
    verdict_flips: int
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the file may be written."""
        within = max(self.score_difference, self.map_difference) <= self.tolerance
        return within and self.verdict_flips == 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "batches": list(self.batches), "passed": self.passed}


def probe_frames(samples: tuple[Frame, ...], spec: InputSpec, seed: int) -> dict[str, Frame]:
    """Raw frames to compare on: real, noise and constant, as a camera would deliver them."""
    if spec.bit_depth == 8:
        dtype: type[np.unsignedinteger[Any]] = np.uint8
    else:
        dtype = np.uint16
    white = 2**spec.bit_depth - 1
    rows, columns = samples[0].shape[:2] if samples else spec.size_hw
    shape = (rows, columns, 3)
    noise = np.random.default_rng(seed).integers(0, white + 1, shape).astype(dtype)
    frames: dict[str, Frame] = {f"good {index}": item for index, item in enumerate(samples)}
    frames["noise"] = noise
    frames["black"] = np.zeros(shape, dtype)
    frames["grey"] = np.full(shape, (white + 1) // 2, dtype)
    return frames


def compare(
    fitted: Runnable,
    exported: Runnable,
    frames: dict[str, Frame],
    *,
    spec: InputSpec,
    calibration: Calibration,
) -> tuple[ParityReport, tuple[Probe, ...]]:
    """Run both from the raw frames, alone and in batches of three.

    Returns:
        the report, and the probes with the fitted model's outputs.
    """
    prepared = [prepare(frame, spec) for frame in frames.values()]
    expected = [fitted.run(item[None]) for item in prepared]
    scores = np.array([float(score[0]) for score, _ in expected])
    maps = np.stack([anomaly_map[0] for _, anomaly_map in expected])
    score_worst = map_worst = 0.0
    flips: set[int] = set()
    for start in (*range(len(prepared)), *_threes(len(prepared))):
        index, size = start if isinstance(start, tuple) else (start, 1)
        window = slice(index, index + size)
        got_scores, got_maps = exported.run(np.stack(prepared[window]))
        score_worst = max(score_worst, _relative(got_scores, scores[window]))
        for got, want in zip(got_maps, maps[window], strict=True):
            map_worst = max(map_worst, _map_difference(got, want))
        changed = (got_scores > calibration.threshold) != (scores[window] > calibration.threshold)
        flips.update((index + np.flatnonzero(changed)).tolist())
    report = ParityReport(len(prepared), (1, 3), score_worst, map_worst, len(flips), TOLERANCE)
    probes = tuple(
        Probe.from_frame(name, frame, float(score), float(anomaly_map.max()))
        for (name, frame), score, anomaly_map in zip(frames.items(), scores, maps, strict=True)
    )
    return report, probes


def compare_products(
    fitted: RunsProducts, exported: RunsProducts, frames: dict[str, Frame], spec: InputSpec
) -> None:
    """Every product's score on every probe; raises `ExportError` when one differs."""
    prepared = np.stack([prepare(frame, spec) for frame in frames.values()])
    worst = _relative(exported.product_scores(prepared), fitted.product_scores(prepared))
    if not worst <= TOLERANCE:
        raise ExportError(
            f"the exported graph's product scores differ from the fitted model by {worst:.1e}, "
            f"allowed {TOLERANCE:.0e}; nothing was written"
        )


def _threes(count: int) -> list[tuple[int, int]]:
    return [(start, 3) for start in range(count - 2)]


def _relative(got: NDArray[Any], want: NDArray[Any]) -> float:
    if not np.isfinite(got).all():
        return float("inf")
    return float((np.abs(got - want) / np.maximum(np.abs(want), 1e-12)).max())


def _map_difference(got: NDArray[Any], want: NDArray[Any]) -> float:
    if got.shape != want.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - want).max() / max(float(np.abs(want).max()), 1e-12))
