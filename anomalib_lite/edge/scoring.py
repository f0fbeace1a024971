"""Score a whole source: one result a frame, whatever happens to single frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.frame_like import FrameLike, as_frame
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.outputs import Outputs
from anomalib_lite.edge.prediction import Prediction, make_prediction
from anomalib_lite.edge.prepare import InputSpec, prepare
from anomalib_lite.edge.sources import Source, read_ahead


class Model(Protocol):
    """A detector or an edge model."""

    @property
    def spec(self) -> InputSpec:
        """The input declaration."""

    @property
    def calibration(self) -> Calibration:
        """Threshold and p-values."""

    @property
    def protocol(self) -> str:
        """How it judges, in words, where that is not the published method; else empty."""

    @property
    def localises(self) -> bool:
        """Whether the map says where."""

    def run(self, prepared_nhwc: NDArray[np.uint8], /) -> Outputs:
        """Raw outputs for prepared frames `uint8 (N, h, w, 3)`."""


@dataclass(frozen=True, eq=False)
class ScoredFrame:
    """One frame's outcome: a prediction, or the reason why there is none.

    Attributes:
        name: what the source calls the frame.
        frame: the decoded frame, or None when it could not be used.
        prediction: the result, or None.
        error: why there is no result, or empty.
        protocol: how it was judged, where that is not the published method; else empty.
    """

    name: str
    frame: Frame | None
    prediction: Prediction | None
    error: str = ""
    protocol: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The object that `results.jsonl` holds."""
        told = {"protocol": self.protocol} if self.protocol else {}
        if self.prediction is None:
            return {"frame": self.name, "error": self.error, **told}
        return {"frame": self.name, **self.prediction.to_dict(), **told}


def predict_frames(model: Model, frames: list[FrameLike]) -> list[Prediction]:
    """Score several frames in one inference; sizes may differ; the first bad one raises."""
    if not frames:
        return []
    decoded = [as_frame(item, model.spec) for item in frames]
    outputs = model.run(np.stack([prepare(frame, model.spec) for frame in decoded]))
    return [_predict(model, outputs, index, frame) for index, frame in enumerate(decoded)]


def score_source(model: Model, source: Source, *, batch: int = 1) -> Iterator[ScoredFrame]:
    """Score every frame of a source in order; an unusable frame yields its error.

    Args:
        model: detector or edge model.
        source: frames.
        batch: frames in one inference.
    """
    waiting: list[tuple[str, tuple[Frame, NDArray[np.uint8]] | FrameError]] = []
    # A live source is judged as it comes; a stored one is decoded ahead.
    ahead = max(8, 2 * batch) if source.rereadable else 1
    for item in read_ahead(source.jobs(), _preparer(model.spec), ahead=ahead):
        waiting.append(item)
        if len(waiting) == batch:
            yield from _score_batch(model, waiting)
            waiting = []
    yield from _score_batch(model, waiting)


def _preparer(spec: InputSpec) -> Callable[[Frame], tuple[Frame, NDArray[np.uint8]]]:
    return lambda frame: (frame, prepare(frame, spec))


def _score_batch(
    model: Model, waiting: list[tuple[str, tuple[Frame, NDArray[np.uint8]] | FrameError]]
) -> Iterator[ScoredFrame]:
    usable = [item[1] for _, item in waiting if not isinstance(item, FrameError)]
    outputs = model.run(np.stack(usable)) if usable else None
    places = iter(range(len(usable)))
    for name, item in waiting:
        if isinstance(item, FrameError) or outputs is None:
            reason = str(item).removeprefix(f"{name}: ")
            yield ScoredFrame(name, None, None, reason, model.protocol)
            continue
        try:
            result = _predict(model, outputs, next(places), item[0])
            yield ScoredFrame(name, item[0], result, "", model.protocol)
        except FrameError as error:
            yield ScoredFrame(name, item[0], None, str(error), model.protocol)


def _predict(model: Model, outputs: Outputs, index: int, frame: Frame) -> Prediction:
    rows, columns = frame.shape[:2]
    return make_prediction(
        float(outputs.score[index]),
        outputs.anomaly_map[index],
        (rows, columns),
        calibration=model.calibration,
        spec=model.spec,
        extra=outputs.of_frame(index),
    )
