"""What people call a view -> decoded frames, by name where a model sees more than the picture."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.foreign import is_torch_tensor
from anomalib_lite.edge.frame_like import ValueRange, as_frame
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.inputs import FRAMES, Inputs, View, check_names
from anomalib_lite.edge.measured import read_measured


def as_view(item: Any, inputs: Inputs, value_range: ValueRange | None = None) -> View:
    """Bring what a user calls a view to decoded frames.

    Args:
        item: what `as_frame` takes; or a mapping of it, and of arrays or files, by input name.
        inputs: what the model is declared to see.
        value_range: of the picture; see `as_frame`.

    Raises:
        FrameError: it is unreadable, or an input is missing.
    """
    if not isinstance(item, Mapping):
        if inputs.measured:
            check_names({FRAMES: item}, inputs)
        return as_frame(item, inputs.frames, value_range)
    check_names(item, inputs)
    picture = as_frame(item[FRAMES], inputs.frames, value_range)
    if not inputs.measured:
        return picture
    return {FRAMES: picture, **{name: _measured(name, item[name]) for name in inputs.measured}}


def _measured(name: str, item: Any) -> Frame:
    if isinstance(item, (str, os.PathLike)):
        return read_measured(os.fspath(item))
    if is_torch_tensor(item):
        values: Frame = item.detach().cpu().numpy()
        return values
    if isinstance(item, np.ndarray):
        return item
    raise FrameError(f"{name}: expected an array or a file, got {type(item).__name__}")
