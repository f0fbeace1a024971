"""The one preparation: any decoded frame -> the `uint8 (h, w, 3)` that the network sees.

There is no other resize in the project. What a fit, an evaluation and an edge box compute is the
same because they all call `prepare`; the way back, `map_to_frame`, lives beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, cast, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.errors import FrameError, SettingsError, did_you_mean
from anomalib_lite.edge.frames import Exif, Frame
from anomalib_lite.edge.likeness import check_aspect, check_colours, check_mask
from anomalib_lite.edge.model_files.roi import check_mask_channels, pack_roi, unpack_roi
from anomalib_lite.edge.plain import is_whole, plain
from anomalib_lite.edge.resize import resize

Colour: TypeAlias = Literal["rgb", "grey"]
Alpha: TypeAlias = Literal["opaque", "ignore"]

OUTSIDE_ROI_RGB = (124, 116, 104)
"""Colour put outside the region of interest: the ImageNet mean, zero after normalisation."""

_MIN_SIDE, _MAX_SIDE = 16, 4096


@dataclass(frozen=True, eq=False)
class InputSpec:
    """What a frame is declared to be, and what the network is given.

    Attributes:
        height: rows of the prepared picture, pixels.
        width: columns of the prepared picture, pixels.
        colour: `"rgb"` keeps colour (a grey frame is replicated to three equal channels);
            `"grey"` reduces every frame to luminance, then replicates it.
        bit_depth: significant bits of a pixel, 8 to 16. At 8 frames are `uint8`; above, frames
            are `uint16` and `2**bit_depth - 1` is white.
        alpha: `"opaque"` refuses frames with real transparency; `"ignore"` drops the channel.
        exif: whether files are turned upright by their EXIF tag (read by the decoders).
        roi: region of interest, bool `(height, width)`, or None for the whole frame.
        aspect: width / height of the frames, set by a fit on frames of one shape; a frame that is
            more than 10 % off is refused instead of being squeezed. None accepts any.
        roi_aspect: width / height of the mask that `roi` was drawn as; a frame more than 2 % off is
            refused. None accepts any.
        roi_hw: size of that mask; an enlarged frame of another size is refused. None accepts any.
        coloured: whether all fitted frames had colours; grey ones are then refused.
        monochrome: whether all fitted frames were grey; coloured ones are then refused.
    """

    height: int = 256
    width: int = 256
    colour: Colour = "rgb"
    bit_depth: int = 8
    alpha: Alpha = "opaque"
    exif: Exif = "apply"
    roi: NDArray[np.bool_] | None = None
    aspect: float | None = None
    roi_aspect: float | None = None
    roi_hw: tuple[int, int] | None = None
    coloured: bool = False
    monochrome: bool = False

    def __post_init__(self) -> None:
        for name in ("height", "width", "colour", "bit_depth", "alpha", "exif", "aspect"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        if self.roi is not None:
            object.__setattr__(self, "roi", np.asarray(self.roi, bool))
        for name in ("height", "width", "bit_depth"):
            if not is_whole(getattr(self, name)):
                words = name.replace("_", " ")
                raise SettingsError(f"{words} is {getattr(self, name)!r}; give a whole number")
        for side, pixels in (("height", self.height), ("width", self.width)):
            if not _MIN_SIDE <= pixels <= _MAX_SIDE:
                raise SettingsError(
                    f"input {side} is {pixels} px; choose {_MIN_SIDE} to {_MAX_SIDE}"
                )
        if not 8 <= self.bit_depth <= 16:
            raise SettingsError(f"bit depth is {self.bit_depth}; choose 8 to 16")
        for field, value, allowed in (
            ("colour", self.colour, get_args(Colour)),
            ("alpha", self.alpha, get_args(Alpha)),
            ("exif", self.exif, get_args(Exif)),
        ):
            if value not in allowed:
                raise SettingsError(
                    f"{field} is {value!r}{did_you_mean(str(value), allowed)}; choose one of "
                    f"{', '.join(allowed)}"
                )
        if self.roi is not None and self.roi.shape != self.size_hw:
            raise SettingsError(f"region of interest is {self.roi.shape}, input is {self.size_hw}")

    @property
    def size_hw(self) -> tuple[int, int]:
        """Prepared size `(height, width)`, pixels."""
        return self.height, self.width

    def with_roi(self, mask: NDArray[Any]) -> InputSpec:
        """The same spec, limited to the non-zero pixels of `mask`.

        Args:
            mask: `(H, W)` or `(H, W, C)` integer or bool picture in frame coordinates; any pixel
                with a non-zero colour counts as inside. Frames of another shape than the mask
                are refused.

        Raises:
            SettingsError: the mask keeps nothing, or is drawn in its transparency.
        """
        check_mask_channels(mask)
        inside = mask if mask.ndim == 2 else mask[:, :, :3].max(axis=2)
        # A prepared pixel counts only if nothing outside the mask is averaged into it.
        roi = resize((inside == 0).astype(np.float32), self.size_hw) == 0
        if not roi.any():
            raise SettingsError(
                "the region of interest keeps no pixel; white (non-zero) marks what counts"
            )
        aspect = float(f"{inside.shape[1] / inside.shape[0]:.4g}")
        hw = inside.shape[0], inside.shape[1]
        return replace(self, roi=None if roi.all() else roi, roi_aspect=aspect, roi_hw=hw)

    def fitted_on(self, *, aspect: float | None, coloured: bool, monochrome: bool) -> InputSpec:
        """The same declaration, with what a fit found its frames to be."""
        grey = self.colour == "grey"
        return replace(
            self,
            aspect=aspect,
            coloured=coloured and not grey,
            monochrome=monochrome and not grey,
        )

    def of_copies(self) -> InputSpec:
        """The same preparation, whatever size and kind of frame was fitted or drawn on: probes."""
        any_kind = self.fitted_on(aspect=None, coloured=False, monochrome=False)
        return replace(any_kind, roi_aspect=None, roi_hw=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; `from_dict` is the inverse."""
        fields: dict[str, Any] = {
            "height": self.height,
            "width": self.width,
            "colour": self.colour,
            "bit_depth": self.bit_depth,
            "alpha": self.alpha,
            "exif": self.exif,
            "resize": "area when shrinking, bilinear when enlarging, stretched to the input size",
        }
        if self.aspect is not None:
            fields["aspect"] = self.aspect
        if self.roi_aspect is not None:
            fields["roi_aspect"] = self.roi_aspect
        if self.roi_hw is not None:
            fields["roi_hw"] = list(self.roi_hw)
        for name in ("coloured", "monochrome"):
            if getattr(self, name):
                fields[name] = True
        if self.roi is not None:
            fields["roi"] = pack_roi(self.roi)
        return fields

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> InputSpec:
        """Rebuild from `to_dict`; raises KeyError, TypeError or ValueError on foreign content."""
        height, width = int(fields["height"]), int(fields["width"])
        if max(height, width) > _MAX_SIDE or min(height, width) < _MIN_SIDE:
            raise ValueError(f"input is {height}x{width}")
        roi = unpack_roi(fields["roi"], (height, width)) if "roi" in fields else None
        drawn = fields.get("roi_hw")
        return cls(
            height=height,
            width=width,
            colour=cast(Colour, fields["colour"]),
            bit_depth=int(fields["bit_depth"]),
            alpha=cast(Alpha, fields["alpha"]),
            exif=cast(Exif, fields["exif"]),
            roi=roi,
            aspect=float(fields["aspect"]) if "aspect" in fields else None,
            roi_aspect=float(fields["roi_aspect"]) if "roi_aspect" in fields else None,
            roi_hw=(int(drawn[0]), int(drawn[1])) if drawn else None,
            coloured=bool(fields.get("coloured", False)),
            monochrome=bool(fields.get("monochrome", False)),
        )


def as_spec(image_size: Any) -> InputSpec:
    """The declaration for a side, `(height, width)`, or one that is made already.

    Raises:
        SettingsError: it is none of these, or out of range.
    """
    if isinstance(image_size, InputSpec):
        return image_size
    size = plain(image_size)
    sides = size if isinstance(size, list) else [size, size]
    if len(sides) != 2 or not all(map(is_whole, sides)):
        raise SettingsError(
            f"image_size is {size!r}; give a side in pixels, (height, width), or an InputSpec"
        )
    return InputSpec(height=sides[0], width=sides[1])


def prepare(frame: Frame, spec: InputSpec) -> NDArray[np.uint8]:
    """Bring a decoded frame to the network's input.

    Args:
        frame: `(H, W)`, `(H, W, 1|3|4)`, `uint8` or `uint16`, RGB order.
        spec: what the frame is declared to be.

    Returns:
        `uint8 (spec.height, spec.width, 3)`, contiguous.

    Raises:
        FrameError: the frame is not what the spec declares.
    """
    frame = _checked(frame)
    check_aspect(frame, spec.aspect)
    check_mask(frame, spec.roi_aspect, spec.roi_hw, spec.size_hw)
    check_colours(frame, coloured=spec.coloured, monochrome=spec.monochrome)
    pixels: Any = _to_8bit(frame, spec.bit_depth)
    pixels = _to_colour(pixels, spec)
    pixels = resize(pixels, spec.size_hw)
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if spec.roi is not None:
        pixels = np.where(spec.roi[:, :, None], pixels, np.array(OUTSIDE_ROI_RGB, np.uint8))
    prepared: NDArray[np.uint8] = np.ascontiguousarray(pixels)
    return prepared


def map_to_frame(
    anomaly_map: NDArray[np.float32], frame_hw: tuple[int, int], spec: InputSpec
) -> NDArray[np.float32]:
    """Enlarge a network map `(h, w)` to frame coordinates `(H, W)`; 0 outside the ROI."""
    height, width = frame_hw
    if anomaly_map.shape == (1, 1):
        enlarged = np.full(frame_hw, anomaly_map[0, 0], np.float32)
    else:
        enlarged = resize(np.ascontiguousarray(anomaly_map, np.float32), frame_hw)
    if spec.roi is not None:
        inside = cv2.resize(
            spec.roi.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
        )
        enlarged = np.where(inside > 0, enlarged, np.float32(0))
    return enlarged


def _checked(frame: Frame) -> Frame:
    if not isinstance(frame, np.ndarray):
        raise FrameError(f"expected a numpy array (H, W[, C]), got {type(frame).__name__}")
    if frame.ndim == 3 and frame.shape[2] == 1:
        frame = frame[:, :, 0]
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] not in (3, 4)):
        raise FrameError(
            f"frame has shape {frame.shape}, expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        )
    if min(frame.shape[:2]) < 1:
        raise FrameError(f"frame has shape {frame.shape}: it holds no pixel")
    return frame


def _to_8bit(frame: Frame, bit_depth: int) -> NDArray[np.uint8]:
    """Scale the declared range to 8 bits, rounding to nearest; alpha scales along."""
    if bit_depth == 8:
        if frame.dtype != np.uint8:
            raise FrameError(
                f"frame is {frame.dtype}, the model expects 8-bit pixels; for a 10-, 12- or "
                "16-bit camera declare the bit depth when fitting (--bit-depth 12)"
            )
        return cast("NDArray[np.uint8]", frame)
    if frame.dtype != np.uint16:
        raise FrameError(f"frame is {frame.dtype}, the model expects {bit_depth}-bit (uint16)")
    white = 2**bit_depth - 1
    brightest = int(frame.max())
    if brightest > white:
        raise FrameError(
            f"frame holds the value {brightest}, above white ({white}) at the declared "
            f"{bit_depth} bits; declare the camera's true bit depth"
        )
    scaled = (frame.astype(np.uint32) * 255 + white // 2) // white
    return cast("NDArray[np.uint8]", scaled.astype(np.uint8))


def _to_colour(pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        if spec.alpha == "opaque" and int(pixels[:, :, 3].min()) < 255:
            raise FrameError(
                "frame has transparent pixels; save it opaque, or declare that the channel is "
                "to be dropped (--alpha ignore)"
            )
        pixels = np.ascontiguousarray(pixels[:, :, :3])
    if spec.colour == "grey" and pixels.ndim == 3:
        return cast("NDArray[np.uint8]", cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    return pixels
