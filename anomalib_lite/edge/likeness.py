"""Whether a frame is of the kind that was fitted or drawn on: its shape, its colours."""

from __future__ import annotations

import numpy as np

from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.frames import Frame

SAME_VIEW = 1.1
"""Width / height of frames and of those fitted, at most so far apart."""
_SAME_MASK = 1.02
_SPARSE = 16  # pixels between those that are looked at first


def check_aspect(frame: Frame, aspect: float | None) -> None:
    """Raise `FrameError` unless a frame has the shape (width / height) that was fitted."""
    if aspect is None:
        return
    rows, columns = frame.shape[:2]
    found = columns / rows
    if not 1 / SAME_VIEW <= found / aspect <= SAME_VIEW:
        raise FrameError(
            f"frame is {rows}x{columns} (width / height {_shown(found)}), the model was fitted on "
            f"frames of width / height {_shown(aspect)}; crop it to the fitted view, or turn it"
        )


def check_mask_aspect(frame: Frame, aspect: float | None) -> None:
    """Raise `FrameError` unless the mask of the region of interest has the frame's shape."""
    if aspect is None:
        return
    rows, columns = frame.shape[:2]
    found = columns / rows
    if not 1 / _SAME_MASK <= found / aspect <= _SAME_MASK:
        raise FrameError(
            f"frame is {rows}x{columns} (width / height {_shown(found)}), the mask of the region "
            f"of interest has width / height {_shown(aspect)}; draw the mask on a frame"
        )


def check_colours(frame: Frame, *, coloured: bool) -> None:
    """Raise `FrameError` for a grey frame where all that were fitted had colours.

    A frame of one value, such as that of a covered lens, is judged.
    """
    if coloured and not has_colours(frame) and frame[..., :3].min() != frame[..., :3].max():
        raise FrameError(
            "frame is grey, the model was fitted on colour frames; set the camera to colour, or "
            "fit with --colour grey"
        )


def has_colours(frame: Frame) -> bool:
    """Whether the channels of any pixel differ; frames with colours are told from a few pixels."""
    if frame.ndim == 2 or frame.shape[2] < 3:
        return False
    return _differ(frame[::_SPARSE, ::_SPARSE]) or _differ(frame)


def _differ(frame: Frame) -> bool:
    red, green, blue = (frame[:, :, channel] for channel in range(3))
    return not (np.array_equal(red, green) and np.array_equal(green, blue))


def _shown(aspect: float) -> str:
    return f"{aspect:.2f}" if aspect >= 0.1 else f"{aspect:.2g}"
