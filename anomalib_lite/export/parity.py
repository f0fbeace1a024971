"""The parity gate: is the exported graph the fitted model?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.inputs import FRAMES, Inputs, Prepared, View, prepare_view, stacked
from anomalib_lite.edge.measured import MeasuredSpec
from anomalib_lite.edge.model_files.metadata import Probe
from anomalib_lite.edge.outputs import (
    Outputs,
    extra_difference,
    kept_values,
    map_difference,
    relative_difference,
    same_side,
)
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.resize import in_shape

TOLERANCE = 1e-4
"""Largest relative difference of a score, and of a map relative to its peak; extra outputs with a
grid are compared like maps, all others like scores."""

SELF_TEST_TOLERANCE = 1e-3
"""What the edge box accepts: another processor or engine rounds differently."""


_GAPS = 0.2


class Runnable(Protocol):
    """Prepared frames in, raw outputs out: a detector or an engine."""

    def run(self, prepared: Prepared, /) -> Outputs:
        """Raw outputs for prepared frames `uint8 (N, h, w, 3)`, or for prepared views by name."""


@dataclass(frozen=True)
class ParityReport:
    """How far the exported graph is from the fitted model.

    Attributes:
        probes: number of probe frames.
        batches: batch sizes that were run.
        score_difference: largest relative difference of an image score.
        map_difference: largest difference of a map value, relative to the map's peak.
        verdict_flips: probes whose verdict changed, as a whole or as one of the groups; a probe
            within `tolerance` of the threshold may fall on either side.
        tolerance: what was allowed.
        extra_differences: largest difference of each extra output, by name.
    """

    probes: int
    batches: tuple[int, ...]
    score_difference: float
    map_difference: float
    verdict_flips: int
    tolerance: float
    extra_differences: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the file may be written."""
        worst = max(self.score_difference, self.map_difference, *self.extra_differences.values())
        return worst <= self.tolerance and self.verdict_flips == 0

    def explain(self) -> str:
        """One line on how the graph differs."""
        extra = "".join(f", {name} {worst:.1e}" for name, worst in self.extra_differences.items())
        return (
            "the exported graph differs from the fitted model "
            f"(scores {self.score_difference:.1e}, maps {self.map_difference:.1e}{extra}, "
            f"allowed {self.tolerance:.0e}; {self.verdict_flips} verdicts flipped)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        fields = {**asdict(self), "batches": list(self.batches), "passed": self.passed}
        if not self.extra_differences:
            del fields["extra_differences"]
        return fields


def probe_views(samples: Sequence[View], inputs: Inputs, seed: int) -> dict[str, View]:
    """Raw views to compare on: real, noise and constant, as cameras would deliver them.

    What is measured beside the picture is noise with gaps in the range of the samples, nothing at
    all (with black), or the same everywhere (with grey).
    """
    pictures = probe_frames([_picture(view) for view in samples], inputs.frames, seed)
    if not inputs.measured:
        return dict(pictures)
    views: dict[str, View] = {f"good {index}": view for index, view in enumerate(samples)}
    rng = np.random.default_rng([seed, 1])
    for kind in ("noise", "black", "grey"):
        measured = {
            name: _measured_probe(kind, [view[name] for view in samples], spec, rng)
            for name, spec in inputs.measured.items()
        }
        views[kind] = {FRAMES: pictures[kind], **measured}
    return views


def probe_frames(samples: Sequence[Frame], spec: InputSpec, seed: int) -> dict[str, Frame]:
    """Raw frames to compare on: real, noise and constant, as a camera would deliver them."""
    if spec.bit_depth == 8:
        dtype: type[np.unsignedinteger[Any]] = np.uint8
    else:
        dtype = np.uint16
    white = 2**spec.bit_depth - 1
    samples = [in_shape(frame, spec.aspect) for frame in samples]
    rows, columns = samples[0].shape[:2] if samples else spec.size_hw
    shape = (rows, columns, 3)
    noise = np.random.default_rng(seed).integers(0, white + 1, shape).astype(dtype)
    frames: dict[str, Frame] = {f"good {index}": item for index, item in enumerate(samples)}
    frames["noise"] = noise
    frames["black"] = np.zeros(shape, dtype)
    frames["grey"] = np.full(shape, (white + 1) // 2, dtype)
    return frames


def _picture(view: View) -> Frame:
    return view[FRAMES] if isinstance(view, Mapping) else view


def _measured_probe(
    kind: str, samples: list[Frame], spec: MeasuredSpec, rng: np.random.Generator
) -> Frame:
    """Measured values for a made-up probe, of the shape and number type of the samples."""
    dtype = np.dtype(spec.stored)
    shape = samples[0].shape if samples else (spec.height, spec.width, spec.channels)
    known = np.concatenate([values[np.isfinite(values)] for values in samples] or [np.ones(1)])
    known = known if known.size else np.ones(1)
    low, high = float(known.min()), float(known.max())
    if kind == "black":
        return np.zeros(shape, dtype) if spec.zero_is_missing else _all_missing(shape, dtype)
    if kind == "grey":
        return np.full(shape, (low + high) / 2).astype(dtype)
    values = rng.uniform(low, high, shape).astype(dtype)
    gaps = rng.random(shape[:2]) < _GAPS
    values[gaps] = 0 if dtype.kind == "u" else np.nan
    return values


def _all_missing(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Frame:
    return np.full(shape, np.nan, dtype) if dtype.kind == "f" else np.zeros(shape, dtype)


def compare(
    fitted: Runnable,
    exported: Runnable,
    frames: Mapping[str, View],
    *,
    inputs: Inputs,
    calibration: Calibration,
) -> tuple[ParityReport, tuple[Probe, ...]]:
    """Run both from the raw frames, alone and in batches of three.

    Returns:
        the report, and the probes with the fitted model's outputs.
    """
    prepared = [prepare_view(view, inputs.of_copies()) for view in frames.values()]
    expected = _joined([fitted.run(stacked([item])) for item in prepared])
    differences = _Differences(expected)
    flips: set[int] = set()
    for start, size in (*((start, 1) for start in range(len(prepared))), *_threes(len(prepared))):
        got = exported.run(stacked(prepared[start : start + size]))
        differences.add(got, start)
        flips.update(_flipped(got, expected, start, calibration))
    report = ParityReport(
        len(prepared),
        (1, 3),
        differences.score,
        differences.map,
        len(flips),
        TOLERANCE,
        differences.extra,
    )
    probes = tuple(
        Probe.from_frame(
            name,
            frame,
            float(expected.score[index]),
            float(expected.anomaly_map[index].max()),
            {key: kept_values(values) for key, values in expected.of_frame(index).items()},
        )
        for index, (name, frame) in enumerate(frames.items())
    )
    return report, probes


class _Differences:
    """Largest difference of each output over all runs.

    Args:
        expected: outputs of the fitted model for all probes.
    """

    def __init__(self, expected: Outputs) -> None:
        self._expected = expected
        self._largest = {
            name: float(np.abs(values).max(initial=0)) for name, values in expected.extra.items()
        }
        self.score = self.map = 0.0
        self.extra = dict.fromkeys(expected.extra, 0.0)

    def add(self, got: Outputs, start: int) -> None:
        """Compare the outputs for some probes, the first of them being number `start`."""
        count = len(got.score)
        window = slice(start, start + count)
        self.score = max(self.score, relative_difference(got.score, self._expected.score[window]))
        for index, found in enumerate(got.anomaly_map):
            wanted = self._expected.anomaly_map[start + index]
            self.map = max(self.map, map_difference(found, wanted))
        if set(got.extra) != set(self._expected.extra):
            self.extra = dict.fromkeys({*got.extra, *self._expected.extra}, float("inf"))
            return
        for name, values in self._expected.extra.items():
            found = got.extra[name]
            if len(found) != count:
                self.extra[name] = float("inf")
                continue
            for index in range(count):
                worst = extra_difference(
                    found[index],
                    values[start + index],
                    is_map=values.ndim > 2,
                    largest=self._largest[name],
                )
                self.extra[name] = max(self.extra[name], worst)


def _joined(runs: list[Outputs]) -> Outputs:
    """Outputs of single frames as those of one batch."""
    return Outputs(
        np.concatenate([run.score for run in runs]),
        np.concatenate([run.anomaly_map for run in runs]),
        {name: np.concatenate([run.extra[name] for run in runs]) for name in runs[0].extra},
    )


def _flipped(
    got: Outputs, expected: Outputs, start: int, calibration: Calibration
) -> Iterator[int]:
    """Probes whose verdict changed beyond rounding, as a whole or as one of the groups.

    Args:
        got: outputs for some probes, the first of them being number `start`.
        expected: outputs of the fitted model for all probes.
    """
    count = len(got.score)
    window = slice(start, start + count)
    same = same_side(got.score, expected.score[window], calibration.threshold, TOLERANCE)
    for index, name in enumerate(calibration.groups):
        if calibration.groups[name]:
            found, wanted = (
                run.extra[calibration.group_output][:, index] for run in (got, expected)
            )
            alone = calibration.for_group(name).threshold
            same = same & same_side(found, wanted[window], alone, TOLERANCE)
    yield from (start + np.flatnonzero(~same)).tolist()


def _threes(count: int) -> list[tuple[int, int]]:
    return [(start, 3) for start in range(count - 2)]
