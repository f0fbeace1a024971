"""Inputs by name: the picture, `frames`, and what is measured beside it.

A *view* is what one look at a part gives: a frame, or frames by name. What is prepared from it has
the same form, so that a model of pictures alone handles arrays and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.errors import FrameError, SettingsError
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.measured import MeasuredSpec, prepare_measured, shrink_measured
from anomalib_lite.edge.prepare import InputSpec, prepare
from anomalib_lite.edge.resize import shrink

FRAMES = "frames"
"""The picture's name, in views, batches and exported graphs."""

View: TypeAlias = "Frame | Mapping[str, Frame]"
Prepared: TypeAlias = "NDArray[Any] | Mapping[str, NDArray[Any]]"

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SAME_VIEW = 1.1


@dataclass(frozen=True)
class Inputs:
    """What a model is declared to see.

    Attributes:
        frames: the picture.
        measured: further inputs by name, each of the picture's prepared size.

    Raises:
        SettingsError: a name that cannot be one, or another size.
    """

    frames: InputSpec
    measured: Mapping[str, MeasuredSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, spec in self.measured.items():
            if not _NAME.fullmatch(name) or name == FRAMES:
                raise SettingsError(
                    f"input {name!r}: choose another name, of small letters, digits and _"
                )
            if (spec.height, spec.width) != self.frames.size_hw:
                raise SettingsError(
                    f"input {name!r} is {spec.height}x{spec.width}, the picture "
                    f"{self.frames.height}x{self.frames.width}; prepare them to one size"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """All names, the picture's first; the order of the graph's inputs."""
        return FRAMES, *self.measured

    def of_copies(self) -> Inputs:
        """The same preparation, whatever kind of frame was fitted (`InputSpec.of_copies`)."""
        return replace(self, frames=self.frames.of_copies())

    def blank(self) -> Prepared:
        """A prepared batch of one, `(1, h, w, C)` each: black, nothing measured."""
        frames = np.zeros((1, *self.frames.size_hw, 3), np.uint8)
        if not self.measured:
            return frames
        return {
            FRAMES: frames,
            **{name: np.zeros((1, *s.shape), np.float32) for name, s in self.measured.items()},
        }


def prepare_view(view: View, inputs: Inputs) -> Prepared:
    """Prepare a view: uint8 `(h, w, 3)`, and by name where more than the picture is declared.

    Raises:
        FrameError: an input is missing, unknown, or not what is declared.
    """
    if not inputs.measured:
        return prepare(picture_of(view, inputs), inputs.frames)
    picture = picture_of(view, inputs)
    assert isinstance(view, Mapping)
    prepared: dict[str, NDArray[Any]] = {FRAMES: prepare(picture, inputs.frames)}
    for name, spec in inputs.measured.items():
        try:
            prepared[name] = prepare_measured(view[name], spec, inputs.frames.roi)
            _check_same_view(picture, view[name])
        except FrameError as error:
            raise FrameError(f"{name}: {error}") from error
    return prepared


def picture_of(view: View, inputs: Inputs) -> Frame:
    """The picture of a view, after a check of the names; raises `FrameError`."""
    if isinstance(view, Mapping):
        check_names(view, inputs)
        return view[FRAMES]
    if inputs.measured:
        check_names({FRAMES: view}, inputs)
    return view


def check_names(view: Mapping[str, Any], inputs: Inputs) -> None:
    """Raise `FrameError` unless a view has exactly the declared inputs."""
    missing = [name for name in inputs.names if name not in view]
    unknown = [str(name) for name in view if name not in inputs.names]
    if missing or unknown:
        wrong = [f"{', '.join(missing)} missing"] if missing else []
        wrong += [f"{', '.join(unknown)} unknown"] if unknown else []
        raise FrameError(
            f"the model sees {' and '.join(inputs.names)}: {'; '.join(wrong)}; give a mapping of "
            "frames by these names"
        )


def shrink_view(view: View, longest: int) -> View:
    """A small view of the same kind and shape (see `shrunk_hw`)."""
    if not isinstance(view, Mapping):
        return shrink(view, longest).copy()
    return {
        name: shrink(frame, longest).copy() if name == FRAMES else shrink_measured(frame, longest)
        for name, frame in view.items()
    }


def stacked(prepared: Sequence[Prepared]) -> Prepared:
    """Prepared views as one batch."""
    first = prepared[0]
    if not isinstance(first, Mapping):
        return np.stack(prepared)  # type: ignore[arg-type]
    return {name: np.stack([item[name] for item in prepared]) for name in first}


def part_of(batch: Prepared, window: slice) -> Prepared:
    """Some views of a batch."""
    if not isinstance(batch, Mapping):
        return batch[window]
    return {name: values[window] for name, values in batch.items()}


def _check_same_view(picture: Frame, values: Frame) -> None:
    wide, high = (values.shape[1] / values.shape[0], picture.shape[1] / picture.shape[0])
    if not 1 / _SAME_VIEW <= wide / high <= _SAME_VIEW:
        raise FrameError(
            f"is {values.shape[0]}x{values.shape[1]}, its picture "
            f"{picture.shape[0]}x{picture.shape[1]}: not the same view; crop them alike"
        )
