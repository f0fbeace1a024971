"""Frames that a program hands over one by one, as a source: arrays, tensors, PIL images, files."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np

from anomalib_lite.edge.errors import SourceError
from anomalib_lite.edge.foreign import is_pil_image, is_torch_tensor
from anomalib_lite.edge.frame_like import ValueRange
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.inputs import Inputs
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.sources import Job, Source, SourceLike, open_source
from anomalib_lite.edge.views import as_view

FramesLike: TypeAlias = "SourceLike | Sequence[Any]"
"""What `open_frames` takes."""


class ItemSource:
    """What `as_view` takes, item by item.

    Args:
        items: a sequence, or an iterator, which is read as it comes and only once.
        inputs: what the model is declared to see.
        value_range: values of black and white in arrays and tensors.
    """

    def __init__(
        self, items: Iterable[Any], inputs: Inputs, value_range: ValueRange | None = None
    ) -> None:
        self.rereadable = isinstance(items, Sequence)
        arrays = isinstance(items, Sequence) and all(isinstance(x, np.ndarray) for x in items)
        self.name = "arrays" if arrays else "frames"
        self._items = items
        self._inputs = inputs
        self._value_range = value_range

    def __len__(self) -> int:
        return len(self._items) if isinstance(self._items, Sequence) else 0

    def jobs(self) -> Iterator[Job]:
        for index, item in enumerate(self._items):
            named = str(item) if is_path(item) else f"{self.name}#{index:06d}"
            yield Job(named, lambda item=item: self._load(item))  # type: ignore[misc]

    def _load(self, item: Any) -> Frame:
        view = as_view(item, self._inputs, self._value_range)
        # Who delivers frame after frame may fill one buffer again and again.
        view = view if self.rereadable else copy.deepcopy(view)
        return cast(Frame, view)  # readers hand on what they get; only preparation looks inside


def open_frames(
    source: FramesLike, spec: InputSpec | Inputs, value_range: ValueRange | None = None
) -> Source:
    """As `open_source`, and lists may mix arrays, tensors, PIL images, encoded bytes and files.

    Args:
        source: what `open_source` takes; a list of frames; a batch `(N, H, W, C)`, of tensors
            `(N, C, H, W)`; an iterator of frames.
        spec: what the picture is declared to be, or all inputs.
        value_range: values of black and white in arrays and tensors.

    Raises:
        SourceError: nothing is there, or it is no source.
    """
    inputs = spec if isinstance(spec, Inputs) else Inputs(spec)
    items = as_items(source)
    if items is None:
        one = isinstance(source, bytes) or is_pil_image(source) or hasattr(source, "__array__")
        if not one:
            return _opened(source, inputs)
        items = [source]
    files = isinstance(items, Sequence) and all(is_path(item) for item in items)
    if files or is_number_list(items):
        return _opened(items, inputs)  # type: ignore[arg-type]
    return ItemSource(items, inputs, value_range)


def _opened(source: SourceLike, inputs: Inputs) -> Source:
    if inputs.measured and not hasattr(source, "jobs"):
        names = " and ".join(inputs.names)
        raise SourceError(
            f"the model sees {names}; give a PairedSource with a folder for each, or a list of "
            "mappings by these names"
        )
    return open_source(source, exif=inputs.frames.exif)


def as_items(given: Any) -> Iterable[Any] | None:
    """The frames of a list, a batch or an iterator; None where it is one frame or a source."""
    if is_path(given) or isinstance(given, (bytes, bytearray, memoryview, Mapping)):
        return None
    if hasattr(given, "jobs") or is_pil_image(given):
        return None
    if is_torch_tensor(given):
        return list(given) if given.ndim == 4 else None
    if hasattr(given, "__array__"):
        array = np.asarray(given)
        many = array.ndim == 4 or (array.ndim == 1 and array.dtype.kind in "OU")
        return list(array) if many else None
    if isinstance(given, Sequence) or hasattr(given, "__iter__"):
        return given  # type: ignore[no-any-return]
    return None


def is_path(item: Any) -> bool:
    """Whether it names a file."""
    return isinstance(item, (str, os.PathLike))


def is_number_list(items: Any) -> bool:
    """Whether it is a picture in plain lists, which says nothing about its kind of pixels."""
    return isinstance(items, Sequence) and any(
        isinstance(item, (int, float, list, tuple, np.generic)) and not is_path(item)
        for item in items
    )
