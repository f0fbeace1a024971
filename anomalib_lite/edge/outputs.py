"""What a network gives for a batch, by name, and how far two such results are apart."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

STANDARD_OUTPUTS = ("score", "anomaly_map")
"""Outputs that every graph has, in this order; extra outputs follow, sorted by name."""

_KEPT = 64
_FLOOR = 0.01


class Outputs(NamedTuple):
    """Raw outputs for N frames.

    Attributes:
        score: float32 `(N,)`.
        anomaly_map: float32 `(N, h, w)`.
        extra: the scorer's further outputs by name, each `(N, ...)`.
    """

    score: NDArray[np.float32]
    anomaly_map: NDArray[np.float32]
    extra: dict[str, NDArray[Any]]

    def of_frame(self, index: int) -> dict[str, NDArray[Any]]:
        """Extra outputs of one frame, each without its first axis."""
        return {name: values[index] for name, values in self.extra.items()}


def relative_difference(got: NDArray[Any], want: NDArray[Any]) -> float:
    """Largest difference of two arrays, each number relative to itself; inf when not finite."""
    if got.shape != want.shape or not np.isfinite(got).all():
        return float("inf")
    return float((np.abs(got - want) / np.maximum(np.abs(want), 1e-12)).max())


def same_side(
    got: NDArray[Any], want: NDArray[Any], threshold: float, tolerance: float
) -> NDArray[np.bool_]:
    """Whether scores `(N,)` get the same verdict as others, but for rounding.

    A score that was meant to be within the tolerance of the threshold may fall on either side: the
    image that the threshold was taken from is *at* it, to the last bit.

    Args:
        got: scores to judge.
        want: the scores that they should be.
        threshold: above it a frame is anomalous.
        tolerance: allowed difference, relative to the score.
    """
    undecided = np.abs(want - threshold) <= tolerance * np.maximum(np.abs(want), 1e-12)
    same: NDArray[np.bool_] = ((got > threshold) == (want > threshold)) | undecided
    return same


def map_difference(got: NDArray[Any], want: NDArray[Any]) -> float:
    """Largest difference of two maps, relative to the wanted map's peak; inf when not finite."""
    if got.shape != want.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - want).max() / max(float(np.abs(want).max()), 1e-12))


def extra_difference(
    got: NDArray[Any], want: NDArray[Any], *, is_map: bool, largest: float
) -> float:
    """Difference of an extra output of one frame.

    Args:
        got: values `(...)` of one frame.
        want: the fitted model's.
        is_map: whether the output has a grid (two axes or more); then as `map_difference`.
        largest: largest magnitude of this output over all probe frames: a number below a hundredth
            of it counts as that hundredth, so that a value near zero does not decide.
    """
    if is_map:
        return map_difference(got, want)
    if got.shape != want.shape or not np.isfinite(got).all():
        return float("inf")
    scale = np.maximum(np.abs(want), max(_FLOOR * largest, 1e-12))
    return float((np.abs(np.subtract(got, want, dtype=np.float64)) / scale).max(initial=0.0))


def kept_values(values: NDArray[Any]) -> tuple[float, ...]:
    """At most 64 evenly spaced values of one frame's extra output: what a probe remembers."""
    flat = np.ravel(values)
    return tuple(float(value) for value in flat[:: max(1, -(-flat.size // _KEPT))])
