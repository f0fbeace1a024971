"""From a proven float graph to a coarser one with a threshold of its own, or a reason why not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.engines import open_engine
from anomalib_lite.edge.errors import ExportError
from anomalib_lite.edge.outputs import Outputs
from anomalib_lite.export.half import large_constants, rounded_to_half
from anomalib_lite.export.lowering.choose import Choice, choose_parts
from anomalib_lite.export.lowering.drift import (
    DriftReport,
    drift_report,
    harmless,
    map_drift,
    simulated,
)
from anomalib_lite.export.lowering.quantise import Quantiser, blocks_of
from anomalib_lite.export.lowering.recalibrate import Recalibrated, recalibrate
from anomalib_lite.export.lowering.request import GoodFrame, GoodFrames, Limits, stack
from anomalib_lite.export.lowering.running import Run, outputs_of, runner
from anomalib_lite.scorers.base import Progress, no_progress

BF16_ENGINE = "openvino-bf16"
_ALLOWED_DRIFT = {"int8": (0.02, 0.01, 0.005), "fp16": (0.002, 0.001)}
"""What maps may drift while float nodes are chosen; the next is tried where the gate refuses."""

_MOST_DEFECTS = 96
_MOST_TRIED_ON = 4


@dataclass(frozen=True)
class Lowering:
    """What is asked for.

    Attributes:
        precision: `fp16`, `bf16` or `int8`.
        good: frames to choose, judge and calibrate by.
        limits: largest losses.
        progress: called with stage, steps done, steps in total.
    """

    precision: str
    good: GoodFrames
    limits: Limits = field(default_factory=Limits)
    progress: Progress = field(default=no_progress, compare=False)


@dataclass(frozen=True)
class Lowered:
    """A coarser graph and what it was found to be.

    Attributes:
        model: `onnx.ModelProto`.
        calibration: earned by this graph.
        run: what computes it for the probes.
        engine: the engine that it is calibrated for; empty: any.
        choice: which parts were lowered.
        drift: against the float graph.
        recalibrated: how the threshold was earned.
        request: what was asked for.
    """

    model: Any
    calibration: Calibration
    run: Run
    engine: str
    choice: Choice
    drift: DriftReport
    recalibrated: Recalibrated
    request: Lowering

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for the file."""
        return {
            "name": self.request.precision,
            "engine": self.engine,
            "float_nodes": list(self.choice.kept),
            "lowered_nodes": list(self.choice.lowered),
            "drift_alone": {name: self.choice.alone[name] for name in self.choice.kept},
            "drift": self.drift.to_dict(),
            "limits": dict(vars(self.request.limits)),
            "calibration": {
                "way": self.recalibrated.way,
                "images": self.recalibrated.images,
                "frames": self.request.good.source,
            },
        }


@dataclass(frozen=True)
class Float:
    """The float graph to start from.

    Attributes:
        model: `onnx.ModelProto`, weights in single precision.
        file: the same as an edge file, for engines that read files.
        calibration: of the fitted model.
        inside: region of interest, bool `(h, w)`, or None.
        localises: whether its map says where.
        seed: draws the simulated defects.
    """

    model: Any
    file: Path
    calibration: Calibration
    inside: NDArray[np.bool_] | None
    localises: bool
    seed: int


def lower(start: Float, request: Lowering) -> Lowered:
    """Make the coarser graph, judge it, calibrate it.

    Raises:
        ExportError: it loses more than the limits allow.
        SettingsError: too few good frames, or an engine that is not here.
    """
    choosing, judging = request.good.split()
    exact = runner(start.model)
    trial = _Trial(start, exact, stack(choosing))
    judge = _Judge(start, request, exact, judging)
    if request.precision == "bf16":
        run: Run = open_engine(start.file, BF16_ENGINE, threads=None).run
        drift, recalibrated = judge(run)
        _require(drift, request)
        after = recalibrated.after
        return Lowered(
            start.model, after, run, BF16_ENGINE, Choice(()), drift, recalibrated, request
        )
    names, build = _parts(start.model, trial.spanning, request.precision)
    last: DriftReport | None = None
    for allowed in _ALLOWED_DRIFT[request.precision]:
        choice = choose_parts(
            {name: name for name in names},
            build,
            trial.drift,
            allowed,
            lambda done, total: request.progress("measuring each node alone", done, total),
        )
        model = build(choice.lowered)
        run = runner(model)
        last, recalibrated = judge(run)
        if not last.too_much(request.limits):
            after = recalibrated.after
            return Lowered(model, after, run, "", choice, last, recalibrated, request)
    assert last is not None
    _require(last, request)
    raise AssertionError("a report within the limits was refused")


def _require(drift: DriftReport, request: Lowering) -> None:
    reason = drift.too_much(request.limits)
    if reason:
        raise ExportError(
            f"nothing was written: {request.precision} loses too much on {drift.defects} simulated "
            f"defects and {drift.good} good frames ({reason}); allow more, or take another "
            "precision"
        )


def _parts(
    model: Any, frames: NDArray[np.uint8], precision: str
) -> tuple[list[str], Callable[[Sequence[str]], Any]]:
    """What may be lowered, by name, and what makes a graph with some of it lowered."""
    if precision == "fp16":
        return list(large_constants(model)), lambda names: rounded_to_half(model, set(names))
    quantise = Quantiser(model, frames)
    blocks = {block.name: block for block in blocks_of(model)}
    return list(blocks), lambda names: quantise([blocks[name] for name in names])


class _Trial:
    """Measures candidates on the frames to choose by and on defects simulated in them.

    Args:
        start: the float graph.
        exact: runs it.
        frames: uint8 `(n, h, w, 3)`.
    """

    def __init__(self, start: Float, exact: Run, frames: NDArray[np.uint8]) -> None:
        defects, _ = simulated(frames, start.seed, start.inside, len(frames))
        self.spanning = np.concatenate([frames, defects])
        """What activations may be: defects reach further than good frames."""
        step = max(1, len(frames) // _MOST_TRIED_ON)
        self._tried = np.concatenate([frames[::step], defects[::step]])
        self._wanted = outputs_of(exact, self._tried)
        self._known: dict[bytes, float] = {}

    def drift(self, model: Any) -> float:
        """How far the maps of a graph are from the float graph's; remembered."""
        key = hashlib.sha256(model.SerializeToString(deterministic=True)).digest()
        if key not in self._known:
            found = outputs_of(runner(model), self._tried)
            self._known[key] = map_drift([found], [self._wanted])
        return self._known[key]


class _Judge:
    """Judges candidates on frames that had no part in making them.

    Args:
        start: the float graph.
        request: what is asked for.
        exact: runs the float graph.
        judging: frames to judge by.
    """

    def __init__(
        self, start: Float, request: Lowering, exact: Run, judging: list[GoodFrame]
    ) -> None:
        self._start, self._request = start, request
        self._frames = request.good.frames
        fresh = {id(frame) for frame in judging}
        self._fresh = [index for index, frame in enumerate(self._frames) if id(frame) in fresh]
        self._pixels = stack(self._frames)
        spread = self._pixels[self._fresh][:: -(-len(judging) // _MOST_DEFECTS)]
        self._defects, self._masks = simulated(spread, start.seed, start.inside, _MOST_DEFECTS)
        self._harmless = harmless(spread, start.seed)
        self._exact = self._outputs(exact)

    def _outputs(self, run: Run) -> tuple[Outputs, Outputs, Outputs]:
        """For the good frames, the simulated defects and the harmless changes."""
        good, defects, harmless_ones = (
            outputs_of(run, frames) for frames in (self._pixels, self._defects, self._harmless)
        )
        return good, defects, harmless_ones

    def __call__(self, run: Run) -> tuple[DriftReport, Recalibrated]:
        """The drift of a graph, and its own calibration."""
        self._request.progress("judging good frames and simulated defects", 0, 0)
        good, defects, harmless_ones = zip(self._exact, self._outputs(run), strict=True)
        recalibrated = recalibrate(
            self._start.calibration,
            self._frames,
            good,
            [defects, harmless_ones],
            self._request.precision,
            fresh=self._fresh,
        )
        report = drift_report(
            (_some(good[0], self._fresh), _some(good[1], self._fresh)),
            defects,
            self._masks,
            (recalibrated.before, recalibrated.after),
            localises=self._start.localises,
        )
        return report, recalibrated


def _some(outputs: Outputs, chosen: list[int]) -> Outputs:
    return Outputs(
        outputs.score[chosen],
        outputs.anomaly_map[chosen],
        {name: values[chosen] for name, values in outputs.extra.items()},
    )
