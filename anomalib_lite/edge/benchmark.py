"""Latency of one frame, stage by stage, as an edge box sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.frames import Frame, decode_frame
from anomalib_lite.edge.inputs import FRAMES, Inputs, Prepared, View, prepare_view, stacked
from anomalib_lite.edge.prediction import make_prediction
from anomalib_lite.edge.runs.scoring import Model

_WARM_UP = 10
_LONGEST, _MOST_PIXELS = 65_500, 150_000_000
"""A JPEG's longest side, and the largest area sensors."""
_STAGES = ("decode", "prepare", "network", "post-processing", "total")


@dataclass(frozen=True)
class Stage:
    """Time of one stage over all repeats, milliseconds."""

    name: str
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class BenchResult:
    """Latency figures.

    Attributes:
        stages: decode, prepare, network, post-processing, total.
        frames_per_second: one frame after the other, from the median total.
        engine: what ran the network.
        threads: threads inside one inference.
        frame_hw: size of the frames, pixels.
        repeats: timed frames.
    """

    stages: tuple[Stage, ...]
    frames_per_second: float
    engine: str
    threads: int
    frame_hw: tuple[int, int]
    repeats: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        fields = asdict(self)
        fields["stages"] = {
            stage.name: {"p50_ms": stage.p50_ms, "p99_ms": stage.p99_ms} for stage in self.stages
        }
        return fields


def measure(
    model: Model,
    *,
    frame_hw: tuple[int, int] | None = None,
    repeats: int = 200,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> BenchResult:
    """Time decoding of a photograph, preparation, network and post-processing.

    Args:
        model: edge model or detector.
        frame_hw: size of the frame `(H, W)`; None takes the size of the fitted frames.
        repeats: timed frames, after a warm-up.
        progress: called with frames done and in total.

    Raises:
        SettingsError: a frame without pixels, or larger than any camera's.
    """
    if frame_hw is not None:
        _refuse_size(frame_hw)
    encoded, measured = _photograph(model, frame_hw)
    inputs = model.inputs.of_copies()

    def once() -> tuple[list[float], tuple[int, int]]:
        return _one(model, inputs, encoded, measured)

    rows = []
    for done in range(_WARM_UP + repeats):
        rows.append(once()[0])
        progress(done + 1, _WARM_UP + repeats)
    times = np.array(rows)[_WARM_UP:]
    table = np.column_stack([times, times.sum(axis=1)]) * 1e3
    stages = tuple(
        Stage(name, float(np.percentile(column, 50)), float(np.percentile(column, 99)))
        for name, column in zip(_STAGES, table.T, strict=True)
    )
    _, shape = once()
    return BenchResult(
        stages=stages,
        frames_per_second=1e3 / stages[-1].p50_ms,
        engine=str(getattr(model, "engine", "torch")),
        threads=int(getattr(model, "threads", 0)),
        frame_hw=shape,
        repeats=repeats,
    )


def example_prepared(model: Model) -> Prepared:
    """A good part of the file, prepared as the graph takes it."""
    view, _ = _example(model)
    return stacked([prepare_view(view, model.inputs.of_copies())])


def _refuse_size(frame_hw: tuple[int, int]) -> None:
    rows, columns = frame_hw
    if min(rows, columns) < 1 or max(rows, columns) > _LONGEST or rows * columns > _MOST_PIXELS:
        raise SettingsError(
            f"frame size is {rows}x{columns}; choose sides of 1 to {_LONGEST} pixels and at most "
            f"{_MOST_PIXELS // 1_000_000} megapixels"
        )


def _one(
    model: Model, inputs: Inputs, encoded: bytes, measured: dict[str, Frame]
) -> tuple[list[float], tuple[int, int]]:
    marks = [time.perf_counter()]
    frame = decode_frame(encoded, exif=model.spec.exif)
    marks.append(time.perf_counter())
    view = {FRAMES: frame, **measured} if measured else frame
    prepared = stacked([prepare_view(view, inputs)])
    marks.append(time.perf_counter())
    outputs = model.run(prepared)
    marks.append(time.perf_counter())
    rows, columns = frame.shape[:2]
    make_prediction(
        float(outputs.score[0]),
        outputs.anomaly_map[0],
        (rows, columns),
        calibration=model.calibration,
        spec=model.spec,
        extra=outputs.of_frame(0),
    )
    marks.append(time.perf_counter())
    return [after - before for before, after in pairwise(marks)], (
        rows,
        columns,
    )


def _photograph(model: Model, frame_hw: tuple[int, int] | None) -> tuple[bytes, dict[str, Frame]]:
    """An encoded frame of the wanted size: a good part from the file, repeated or cropped.

    What is measured beside it is repeated alike, and not encoded: its cameras deliver arrays.
    """
    view, fitted_hw = _example(model)
    size_hw = frame_hw or fitted_hw
    named = view if isinstance(view, Mapping) else {FRAMES: view}
    tiled = _tiled(named[FRAMES], size_hw)
    measured = {name: _tiled(item, size_hw) for name, item in named.items() if name != FRAMES}
    suffix = ".jpg" if tiled.dtype == np.uint8 and tiled.shape[-1] != 4 else ".png"
    code = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    pixels = cv2.cvtColor(tiled, code[tiled.shape[2]]) if tiled.ndim == 3 else tiled
    return bytes(cv2.imencode(suffix, pixels)[1].tobytes()), measured


def _tiled(frame: Frame, size_hw: tuple[int, int]) -> Frame:
    repeat = [-(-new // old) for new, old in zip(size_hw, frame.shape[:2], strict=True)]
    tiled: Frame = np.tile(frame, (*repeat, *([1] * (frame.ndim - 2))))
    return tiled[: size_hw[0], : size_hw[1]]


def _example(model: Model) -> tuple[View, tuple[int, int]]:
    """A good part's picture (perhaps shrunk) and the size of the frames that were fitted."""
    metadata = getattr(model, "metadata", None)
    if metadata is not None:
        rows, columns = metadata.about["data"]["frame_hw"]
        return metadata.probes[0].view, (rows, columns)
    data: Any = model.data  # type: ignore[attr-defined]
    return data.samples[0], data.frame_hw
