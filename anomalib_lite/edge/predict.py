"""`predict`: one frame, a list, a folder, a stream. The same for detectors and edge models."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, overload

from anomalib_lite.edge.errors import FrameError, SettingsError
from anomalib_lite.edge.frame_like import FrameLike, ValueRange
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.inputs import picture_of
from anomalib_lite.edge.pictures.names import VIDEO_SUFFIXES
from anomalib_lite.edge.prediction import Prediction, Region
from anomalib_lite.edge.runs.scoring import Model, predict_frames, score_source
from anomalib_lite.edge.source_kinds.items import ItemSource, as_items, is_number_list, is_path
from anomalib_lite.edge.sources import Source, open_source
from anomalib_lite.edge.views import as_view


class NoResultError(FrameError, AttributeError):
    """A figure was asked of a frame that could not be used."""


@dataclass(frozen=True)
class Unusable:
    """In place of a prediction: a frame that could not be used, and why.

    Whatever a prediction would tell (`score`, `is_anomalous`, ...) raises `FrameError` with the
    reason, so that no frame is counted as good by accident.

    Attributes:
        name: what the source calls the frame.
        error: the reason.
    """

    name: str
    error: str

    @property
    def score(self) -> float:
        """Raises `FrameError`."""
        raise self._reason()

    @property
    def p_value(self) -> float:
        """Raises `FrameError`."""
        raise self._reason()

    @property
    def is_anomalous(self) -> bool:
        """Raises `FrameError`."""
        raise self._reason()

    @property
    def regions(self) -> tuple[Region, ...]:
        """Raises `FrameError`."""
        raise self._reason()

    @property
    def anomaly_map(self) -> Frame:
        """Raises `FrameError`."""
        raise self._reason()

    def _reason(self) -> NoResultError:
        return NoResultError(f"{self.name}: {self.error}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"frame": self.name, "error": self.error}


Judged: TypeAlias = Prediction | Unusable


class Predictions(list[Judged]):
    """One entry a frame, in order: a `Prediction`, or `Unusable` with the reason."""

    @property
    def unusable(self) -> list[Unusable]:
        """The frames that could not be used."""
        return [item for item in self if isinstance(item, Unusable)]


class Predicts:
    """`predict` for whatever has `spec`, `inputs`, `calibration`, `protocol` and `run`."""

    @overload
    def predict(
        self: Model,
        frames: Frame | bytes | Mapping[str, Any],
        *,
        value_range: ValueRange | None = ...,
        keep_frame: bool = ...,
        batch: int = ...,
    ) -> Prediction: ...

    @overload
    def predict(
        self: Model,
        frames: list[Any] | tuple[Any, ...],
        *,
        value_range: ValueRange | None = ...,
        keep_frame: bool = ...,
        batch: int = ...,
    ) -> Predictions: ...

    @overload
    def predict(
        self: Model,
        frames: Any,
        *,
        value_range: ValueRange | None = ...,
        keep_frame: bool = ...,
        batch: int = ...,
    ) -> Any: ...

    def predict(
        self: Model,
        frames: Any,
        *,
        value_range: ValueRange | None = None,
        keep_frame: bool = False,
        batch: int = 1,
    ) -> Prediction | Predictions | Iterator[Judged]:
        """Judge one frame or many.

        | given | returned |
        |---|---|
        | a frame: array, tensor, PIL image, encoded bytes, a file | `Prediction` |
        | a mapping of frames by input name, where the model sees several | `Prediction` |
        | a list of those, an array `(N, H, W, C)`, a tensor `(N, C, H, W)` | `Predictions` |
        | a folder, a glob, a video file, `camera:0`, a generator, a source | iterator |

        Of many, a frame that cannot be used is listed as `Unusable` with the reason and never ends
        the run; an iterator holds one frame at a time, however many come.

        Args:
            frames: see the table.
            value_range: values of black and white in arrays and tensors that are not `uint8` or
                `uint16`, e.g. `(0, 1)`.
            keep_frame: keep the frame in its prediction, for `show` and `save`; files are read
                again and need it not.
            batch: of many, how many are judged in one inference.

        Raises:
            FitError: not fitted yet.
            FrameError: one frame was given, and it cannot be used.
            SourceError: there is no such folder, or no image in it.
        """
        _ = self.calibration  # an unfitted detector says so before anything is read
        if batch < 1:
            raise SettingsError(f"batch is {batch}; choose 1 or more")
        many = None if is_number_list(frames) else as_items(frames)
        if many is not None:
            found = _judge(self, ItemSource(many, self.inputs, value_range), keep_frame, batch)
            return Predictions(found) if isinstance(many, Sequence) else found
        if hasattr(frames, "jobs"):
            return _judge(self, frames, keep_frame, batch)
        if is_path(frames) and _names_many(os.fspath(frames)):
            source = open_source(os.fspath(frames), exif=self.spec.exif)
            return _judge(self, source, keep_frame, batch)
        return _judge_one(self, frames, value_range, keep_frame)

    def predict_batch(self: Model, frames: Sequence[FrameLike]) -> list[Prediction]:
        """Judge several frames in one inference; sizes may differ; the first bad one raises."""
        _ = self.calibration
        return predict_frames(self, list(frames))


def _judge_one(
    model: Model, frame: Any, value_range: ValueRange | None, keep_frame: bool
) -> Prediction:
    decoded = as_view(frame, model.inputs, value_range)
    (found,) = predict_frames(model, [decoded])
    picture = picture_of(decoded, model.inputs)
    name = os.fspath(frame) if is_path(frame) else ""
    return replace(found, name=name, origin=_origin(name, picture, keep_frame))


def _judge(model: Model, source: Source, keep_frame: bool, batch: int) -> Iterator[Judged]:
    for item in score_source(model, source, batch=batch):
        if item.prediction is None or item.frame is None:
            yield Unusable(item.name, item.error)
        else:
            origin = _origin(item.name, item.frame, keep_frame)
            yield replace(item.prediction, name=item.name, origin=origin)


def _origin(name: str, frame: Frame, keep_frame: bool) -> Frame | Path | None:
    if keep_frame:
        return frame.copy()  # the caller's buffer may hold the next frame when it is drawn
    return Path(name).absolute() if name and os.path.isfile(name) else None


def _names_many(text: str) -> bool:
    """Whether a text names more than one frame."""
    if os.path.isfile(text):
        return Path(text).suffix.lower() in VIDEO_SUFFIXES
    return os.path.isdir(text) or glob.has_magic(text) or bool(re.fullmatch(r"camera:\d+", text))
