"""Whether a frame is of the kind that was fitted or drawn on: its shape, its colours."""

from __future__ import annotations

import numpy as np

from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.frames import Frame

SAME_VIEW = 1.1
"""Width / height of frames and of those fitted, at most so far apart."""
_SAME_MASK = 1.02
_SPARSE = 16  # pixels between those that are looked at first
_LOOKED_AT = 1 << 14
_CLEAR, _FEWEST_CLEAR = 0.12, 1 / 2000
"""Of a clearly coloured frame so many pixels have channels so far apart, of its brightest."""


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


def check_mask(
    frame: Frame,
    aspect: float | None,
    mask_hw: tuple[int, int] | None,
    size_hw: tuple[int, int],
) -> None:
    """Raise `FrameError` unless the mask of the region of interest can be one of the frame.

    Args:
        frame: `(H, W[, C])`.
        aspect: width / height of the mask; None accepts any.
        mask_hw: size of the mask; None accepts any.
        size_hw: size to which the frame is brought. An enlarged frame must be as large as the mask:
            else pixels that lie outside it are averaged into some that count as inside.
    """
    if aspect is None:
        return
    rows, columns = frame.shape[:2]
    if mask_hw is not None and any(
        own < wanted and own != drawn
        for own, wanted, drawn in zip((rows, columns), size_hw, mask_hw, strict=True)
    ):
        raise FrameError(
            f"frame is {rows}x{columns} and is enlarged to {size_hw[0]}x{size_hw[1]}, the mask of "
            f"the region of interest is {mask_hw[0]}x{mask_hw[1]}: pixels outside it would be "
            "averaged in; draw the mask on a frame as it is, or take a smaller --image-size"
        )
    found = columns / rows
    if not 1 / _SAME_MASK <= found / aspect <= _SAME_MASK:
        raise FrameError(
            f"frame is {rows}x{columns} (width / height {_shown(found)}), the mask of the region "
            f"of interest has width / height {_shown(aspect)}; draw the mask on a frame"
        )


def check_colours(frame: Frame, *, coloured: bool, monochrome: bool = False) -> None:
    """Raise `FrameError` for a grey frame where all fitted ones had colours, or the reverse.

    A frame of one value, such as that of a covered lens, is judged; so are traces of colour, as
    codecs leave them in grey pictures.
    """
    if monochrome and clearly_coloured(frame):
        raise FrameError(
            "frame has colours, the model was fitted on grey frames; set the camera to mono, or "
            "fit with --colour grey"
        )
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


def clearly_coloured(frame: Frame) -> bool:
    """Whether a frame has colours that no codec and no noise make, told from a few pixels."""
    if frame.ndim == 2 or frame.shape[2] < 3:
        return False
    stride = max(1, int((frame.shape[0] * frame.shape[1] / _LOOKED_AT) ** 0.5))
    pixels = frame[::stride, ::stride, :3].astype(np.int32)
    apart = pixels.max(axis=2) - pixels.min(axis=2)
    return float((apart > _CLEAR * max(64, int(pixels.max()))).mean()) >= _FEWEST_CLEAR


def _differ(frame: Frame) -> bool:
    red, green, blue = (frame[:, :, channel] for channel in range(3))
    return not (np.array_equal(red, green) and np.array_equal(green, blue))


def _shown(aspect: float) -> str:
    return f"{aspect:.2f}" if aspect >= 0.1 else f"{aspect:.2g}"
