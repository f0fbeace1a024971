"""The self-test: whether this machine gives for the probe frames what the file says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.model_files.metadata import Probe
from anomalib_lite.edge.outputs import (
    Outputs,
    extra_difference,
    kept_values,
    relative_difference,
    same_side,
)


@dataclass(frozen=True)
class ProbeResult:
    """One self-test frame: what the fitted model gave and what this machine gives.

    Attributes:
        name: what the frame is.
        expected: score of the fitted model.
        measured: score on this machine.
        relative_difference: of score, map peak and extra outputs, the largest.
        passed: within tolerance, with the same verdict unless it was meant to be at the threshold.
    """

    name: str
    expected: float
    measured: float
    relative_difference: float
    passed: bool


def judge_probe(
    probe: Probe,
    runs: list[tuple[Outputs, int]],
    largest: dict[str, float],
    *,
    threshold: float,
    allowed: float,
) -> ProbeResult:
    """Compare what this machine gives for one probe with what the file says.

    Args:
        probe: the frame and what is expected.
        runs: outputs that hold the frame, and its place in each.
        largest: `largest_extras` of all probes.
        threshold: above it a frame is anomalous.
        allowed: largest relative difference.
    """
    found = [_Found.of(outputs, index) for outputs, index in runs]
    worst = max(run.difference(probe, largest) for run in found)
    scores = np.array([run.score for run in found])
    same_verdict = same_side(scores, np.full(len(found), probe.score), threshold, allowed).all()
    passed = worst <= allowed and bool(same_verdict)
    return ProbeResult(probe.name, probe.score, found[0].score, worst, passed)


def largest_extras(probes: tuple[Probe, ...]) -> dict[str, float]:
    """Largest magnitude of each extra output over the probes."""
    found: dict[str, float] = {}
    for probe in probes:
        for name, values in probe.extra.items():
            found[name] = max(found.get(name, 0.0), *(abs(value) for value in values), 0.0)
    return found


@dataclass(frozen=True)
class _Found:
    """What this machine gives for one probe frame."""

    score: float
    map_peak: float
    extra: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, outputs: Outputs, index: int) -> _Found:
        peak = float(outputs.anomaly_map[index].max())
        return cls(float(outputs.score[index]), peak, outputs.of_frame(index))

    def difference(self, probe: Probe, largest: dict[str, float]) -> float:
        """Relative difference to what the fitted model gave, the largest of all outputs."""
        pairs = np.array([self.score, self.map_peak]), np.array([probe.score, probe.map_peak])
        differences = [relative_difference(*pairs)]
        for name, expected in probe.extra.items():
            got = self.extra[name]
            differences.append(
                extra_difference(
                    np.array(kept_values(got)),
                    np.array(expected),
                    is_map=got.ndim > 1,
                    largest=largest[name],
                )
            )
        return max(differences)
