"""What people call a frame -> a decoded frame. Nothing guesses a range or a layout from the values.

| given | rule |
|---|---|
| `str`, `Path` | a file, decoded |
| `bytes`, `bytearray`, `memoryview` | an encoded image, decoded |
| numpy array (or what converts to one) | `(H, W)` or `(H, W, C)`, RGB order |
| torch tensor | `(C, H, W)` where the first axis can be channels; else as arrays |
| PIL image | modes `1`, `L`, `LA`, `P`, `RGB`, `RGBA`, `I;16`; turned upright by its EXIF tag |

`C` is 1 (grey), 3 (RGB) or 4 (RGBA). Arrays and tensors hold `uint8` or `uint16`; any other kind of
number needs `value_range`. PIL and torch are recognised by their class names and never imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from anomalib_lite.edge.errors import FrameError, SettingsError
from anomalib_lite.edge.foreign import is_pil_image, is_torch_tensor
from anomalib_lite.edge.frames import Frame, decode_frame, read_frame
from anomalib_lite.edge.prepare import InputSpec

FrameLike: TypeAlias = Frame | bytes | str | Path
ValueRange: TypeAlias = tuple[float, float]

_CHANNELS = (1, 3, 4)
_ORIENTATION_TAG = 0x0112
_PLAIN_MODES = ("1", "L", "RGB", "RGBA", "I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_EXPECTED = "expected an array, bytes or a path, a PIL image or a torch tensor"


def as_frame(item: Any, spec: InputSpec, value_range: ValueRange | None = None) -> Frame:
    """Bring what a user calls a frame to `(H, W)` or `(H, W, 1|3|4)`, `uint8` or `uint16`.

    Args:
        item: see the table above.
        spec: its `exif` rules files and PIL images, its `bit_depth` what white becomes.
        value_range: values of black and of white in arrays and tensors, e.g. `(0, 1)`; None for
            pixels that are `uint8` or `uint16` already. Files are what they are.

    Raises:
        FrameError: it is unreadable, of another type, or its values say nothing without a range.
        SettingsError: the range is none.
    """
    if isinstance(item, (str, os.PathLike)):
        return read_frame(Path(item), exif=spec.exif)
    if isinstance(item, (bytes, bytearray, memoryview)):
        return decode_frame(bytes(item), exif=spec.exif)
    if is_pil_image(item):
        return as_pixels(_from_pil(item, spec), spec, value_range)
    if is_torch_tensor(item):
        return as_pixels(_from_torch(item), spec, value_range)
    if isinstance(item, np.ndarray):
        return as_pixels(item, spec, value_range)
    if hasattr(item, "__array__") and not isinstance(item, (np.generic, Mapping)):
        return as_pixels(np.asarray(item), spec, value_range)
    raise FrameError(f"{_EXPECTED}, got {type(item).__name__}")


def as_pixels(pixels: Frame, spec: InputSpec, value_range: ValueRange | None) -> Frame:
    """Scale declared values to the pixels of `spec`; `uint8` and `uint16` pass when none are."""
    if pixels.ndim == 3 and pixels.shape[0] in _CHANNELS and pixels.shape[2] not in _CHANNELS:
        raise FrameError(
            f"frame has shape {pixels.shape}, channels first; call frame.transpose(1, 2, 0)"
        )
    if value_range is not None:
        return _scaled(pixels, spec.bit_depth, value_range)
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:  # the other byte order
        return pixels.astype(np.uint16)
    if pixels.dtype.kind in "fiub":
        raise FrameError(
            f"frame is {pixels.dtype}, and its numbers do not say what is white; call predict or "
            "fit with value_range=(0, 1), the values of black and white, or give uint8 pixels"
        )
    raise FrameError(f"frame is {pixels.dtype}, expected numbers: uint8 or uint16 pixels")


def _scaled(pixels: Frame, bit_depth: int, value_range: ValueRange) -> Frame:
    try:
        black, white = (float(value) for value in value_range)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"value_range is {value_range!r}; give (black, white)") from error
    if not (np.isfinite([black, white]).all() and black < white):
        raise SettingsError(f"value_range is {value_range!r}; give (black, white), black < white")
    if pixels.dtype.kind not in "fiub":
        raise FrameError(f"frame is {pixels.dtype}, expected numbers from {black:g} to {white:g}")
    values = pixels.astype(np.float64)
    if values.size and not ((values >= black) & (values <= white)).all():
        low, high = float(values.min()), float(values.max())
        raise FrameError(
            f"frame holds values from {low:g} to {high:g}, outside the declared range "
            f"{black:g} to {white:g}; declare the true range, or clip the frame"
        )
    levels = 2**bit_depth - 1
    scaled: Frame = np.rint((values - black) * (levels / (white - black)))
    return scaled.astype(np.uint8 if bit_depth == 8 else np.uint16)


def _from_torch(tensor: Any) -> Frame:
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # numpy knows no bfloat16
    pixels: Frame = tensor.numpy()
    if pixels.ndim == 3 and pixels.shape[0] in _CHANNELS:
        return pixels.transpose(1, 2, 0)
    return pixels


def _from_pil(image: Any, spec: InputSpec) -> Frame:
    mode = str(image.mode)
    name = str(getattr(image, "filename", "") or "PIL image")
    try:
        tag = image.getexif().get(_ORIENTATION_TAG, 1) if spec.exif == "apply" else 1
        if mode in ("P", "LA", "PA", "La", "RGBa"):
            clear = mode != "P" or "transparency" in image.info
            image = image.convert("RGBA" if clear else "RGB")
        elif mode not in _PLAIN_MODES:
            raise FrameError(f"{name}: is a PIL image of mode {mode}; call image.convert('RGB')")
        pixels: Frame = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise FrameError(f"{name}: not a readable image ({error})") from error
    if mode == "1":
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    return np.ascontiguousarray(_turned(pixels, int(tag)))


def _turned(pixels: Frame, orientation: int) -> Frame:
    """Undo an EXIF orientation (1 to 8), as image decoders do; other values mean upright."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
