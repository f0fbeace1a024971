"""Measured inputs beside the picture: depth, height, points. Their numbers mean something.

A value is never interpolated, clipped or normalised: each prepared cell is one measurement, in the
declared unit, or none. Which cells are measurements travels as a last channel, 1 or 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.errors import FrameError, SettingsError
from anomalib_lite.edge.resize import shrunk_hw

Stored: TypeAlias = Literal["float32", "uint16"]
MEASURED_SUFFIXES = frozenset({".npy", ".pgm", ".png", ".tif", ".tiff"})
_CHANNELS = (1, 2, 3, 4)


@dataclass(frozen=True)
class MeasuredSpec:
    """What a measured input is declared to be.

    A cell is missing where any of its values is NaN or infinite, and, with `zero_is_missing`, where
    all of them are 0, as most depth cameras write it.

    Attributes:
        height: rows of the prepared input; that of the picture.
        width: columns of the prepared input; that of the picture.
        channels: values of a cell: 1 for depth, 3 for points.
        stored: number type of frames and files; `"float32"` takes any floating-point type.
        scale: prepared value = stored value times this; e.g. 0.001 from millimetres to metres.
        zero_is_missing: whether 0 means that nothing was measured.
    """

    height: int = 256
    width: int = 256
    channels: int = 1
    stored: Stored = "float32"
    scale: float = 1.0
    zero_is_missing: bool = True

    def __post_init__(self) -> None:
        if self.channels not in _CHANNELS:
            raise SettingsError(f"a measured input has {self.channels} channels; choose 1 to 4")
        if self.stored not in get_args(Stored):
            raise SettingsError(f"stored is {self.stored!r}; choose float32 or uint16")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise SettingsError(f"scale is {self.scale}; choose a number above 0")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the prepared input: its channels, then validity."""
        return self.height, self.width, self.channels + 1

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; `from_dict` is the inverse."""
        return {
            "kind": "measured",
            "height": self.height,
            "width": self.width,
            "channels": self.channels,
            "stored": self.stored,
            "scale": self.scale,
            "zero_is_missing": self.zero_is_missing,
            "resize": "nearest: row (i + 1/2) * rows / height, rounded down",
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> MeasuredSpec:
        """Rebuild from `to_dict`; raises KeyError, TypeError or ValueError on foreign content."""
        if fields["kind"] != "measured":
            raise ValueError(f"kind of input is {fields['kind']!r}")
        return cls(
            height=int(fields["height"]),
            width=int(fields["width"]),
            channels=int(fields["channels"]),
            stored=cast(Stored, fields["stored"]),
            scale=float(fields["scale"]),
            zero_is_missing=bool(fields["zero_is_missing"]),
        )


def prepare_measured(
    values: NDArray[Any], spec: MeasuredSpec, roi: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Bring measured values to the network's input.

    Args:
        values: `(H, W)` for one channel, or `(H, W, C)`, of the declared number type.
        spec: what they are declared to be.
        roi: region of interest, bool `(spec.height, spec.width)`; outside it nothing is measured.

    Returns:
        float32 `(spec.height, spec.width, C + 1)`, contiguous: scaled values, 0 where missing, then
        1 where measured and 0 where missing.

    Raises:
        FrameError: the values are not what the spec declares.
    """
    values = _checked(values, spec)
    cells = nearest(values, (spec.height, spec.width))
    prepared = np.zeros(spec.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (cells * np.float64(spec.scale)).astype(np.float32)
    measured: NDArray[np.bool_] = np.asarray(np.isfinite(scaled).all(axis=2))
    if spec.zero_is_missing:
        measured &= (cells != 0).any(axis=2)
    if roi is not None:
        measured &= roi
    np.copyto(prepared[:, :, :-1], scaled, where=measured[:, :, None])
    prepared[:, :, -1] = measured
    return prepared


def nearest(values: NDArray[Any], size_hw: tuple[int, int]) -> NDArray[Any]:
    """The cell whose area holds the centre of each new cell, `(h, w, ...)`; nothing is averaged."""
    rows, columns = (
        ((2 * np.arange(new) + 1) * old) // (2 * new)
        for new, old in zip(size_hw, values.shape[:2], strict=True)
    )
    picked: NDArray[Any] = values[rows[:, None], columns]
    return picked


def shrink_measured(values: NDArray[Any], longest: int) -> NDArray[Any]:
    """A small copy of the same kind, of the size that `shrunk_hw` gives."""
    return nearest(values, shrunk_hw((values.shape[0], values.shape[1]), longest))


def read_measured(path: str | Path) -> NDArray[Any]:
    """Read measured values `(H, W)` or `(H, W, C)` as stored, from `.npy`, TIFF, PNG or PGM.

    Raises:
        FrameError: the file is missing, damaged, or of another kind.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FrameError(f"{path}: cannot be read ({reason})") from error
    if not data:
        raise FrameError(f"{path}: the file is empty (0 bytes)")
    if path.suffix.lower() == ".npy":
        try:
            return cast("NDArray[Any]", np.load(path, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise FrameError(f"{path}: not a readable .npy file ({error})") from error
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise FrameError(f"{path}: cannot be decoded ({error.err})") from error
    if values is None:
        raise FrameError(f"{path}: not a readable image (truncated, corrupt or not an image)")
    # OpenCV reverses the first three channels of what it takes for a colour picture.
    if values.ndim == 3 and values.shape[2] in (3, 4):
        values = values[:, :, [2, 1, 0, 3][: values.shape[2]]]
    return values


def _checked(values: NDArray[Any], spec: MeasuredSpec) -> NDArray[Any]:
    if not isinstance(values, np.ndarray):
        raise FrameError(f"expected a numpy array (H, W[, C]), got {type(values).__name__}")
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[2] != spec.channels or min(values.shape[:2]) < 1:
        expected = "(H, W) or (H, W, 1)" if spec.channels == 1 else f"(H, W, {spec.channels})"
        raise FrameError(f"has shape {values.shape}, expected {expected}")
    kind = values.dtype.kind == "f" if spec.stored == "float32" else values.dtype == np.uint16
    if not kind:
        raise FrameError(f"holds {values.dtype}, declared are {spec.stored} values")
    return values
