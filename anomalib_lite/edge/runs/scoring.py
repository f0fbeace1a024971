"""Score a whole source: one result a frame, whatever happens to single frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.inputs import Inputs, Prepared, View, picture_of, prepare_view, stacked
from anomalib_lite.edge.outputs import Outputs
from anomalib_lite.edge.prediction import Prediction, make_prediction
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.sources import Source, read_ahead
from anomalib_lite.edge.views import as_view


class Model(Protocol):
    """A detector or an edge model."""

    @property
    def spec(self) -> InputSpec:
        """What the picture is declared to be."""

    @property
    def inputs(self) -> Inputs:
        """All that it sees, by name."""

    @property
    def calibration(self) -> Calibration:
        """Threshold and p-values."""

    @property
    def protocol(self) -> str:
        """How it judges, in words, where that is not the published method; else empty."""

    @property
    def localises(self) -> bool:
        """Whether the map says where."""

    def run(self, prepared: Prepared, /) -> Outputs:
        """Raw outputs for prepared frames `uint8 (N, h, w, 3)`, or for prepared views by name."""


@dataclass(frozen=True, eq=False)
class ScoredFrame:
    """One frame's outcome: a prediction, or the reason why there is none.

    Attributes:
        name: what the source calls the frame.
        frame: the decoded picture, or None when it could not be used.
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


def predict_frames(model: Model, views: list[Any]) -> list[Prediction]:
    """Score several views in one inference; sizes may differ; the first bad one raises.

    Args:
        model: detector or edge model.
        views: what `views.as_view` takes.
    """
    if not views:
        return []
    inputs = model.inputs
    decoded = [as_view(item, inputs) for item in views]
    outputs = model.run(stacked([prepare_view(view, inputs) for view in decoded]))
    return [
        _predict(model, outputs, index, picture_of(view, inputs))
        for index, view in enumerate(decoded)
    ]


def score_source(model: Model, source: Source, *, batch: int = 1) -> Iterator[ScoredFrame]:
    """Score every frame of a source in order; an unusable frame yields its error.

    Args:
        model: detector or edge model.
        source: frames.
        batch: frames in one inference.
    """
    waiting: list[_Waiting] = []
    # A live source is judged as it comes; a stored one is decoded ahead.
    ahead = max(8, 2 * batch) if source.rereadable else 1
    for item in read_ahead(source.jobs(), _preparer(model.inputs), ahead=ahead):
        waiting.append(item)
        if len(waiting) == batch:
            yield from _score_batch(model, waiting)
            waiting = []
    yield from _score_batch(model, waiting)


_Waiting: TypeAlias = tuple[str, tuple[Frame, Prepared] | FrameError]


def _preparer(inputs: Inputs) -> Callable[[View], tuple[Frame, Prepared]]:
    return lambda view: (picture_of(view, inputs), prepare_view(view, inputs))


def _score_batch(model: Model, waiting: list[_Waiting]) -> Iterator[ScoredFrame]:
    usable = [item[1] for _, item in waiting if not isinstance(item, FrameError)]
    outputs = model.run(stacked(usable)) if usable else None
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
