"""What of a frame a model sees, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anomalib_lite.edge.prepare import InputSpec

_ENLARGED = 0.5  # pixels of the frame for one of the network, along either side
_SQUEEZED = 1.25  # one axis so much more than the other


def visible(spec: InputSpec, frame_hw: tuple[int, int]) -> list[str]:
    """What share of the frame a region of interest keeps, and what is too small to be seen."""
    lines = []
    if spec.roi is None and spec.roi_aspect is not None:
        lines.append(
            "region of interest: the mask has no black pixel, so the whole frame counts; black "
            "marks what is left out"
        )
    if spec.roi is not None:
        lines.append(f"region of interest: keeps {spec.roi.mean():.1%} of the frame")
    down, along = (frame / seen for frame, seen in zip(frame_hw, spec.size_hw, strict=True))
    if max(down, along) > 1:
        lines.append(
            f"one pixel of the network is {along:.1f} x {down:.1f} pixels of the frame (width x "
            f"height): what is smaller than about {math.ceil(2 * max(down, along))} pixels may "
            "not be visible; --image-size decides"
        )
    if max(down, along) < _ENLARGED:
        enough = -(-max(frame_hw) // 32) * 32
        lines.append(
            f"frames of {frame_hw[0]}x{frame_hw[1]} are enlarged to {spec.height}x{spec.width}, "
            f"which costs time and shows nothing more; --image-size {enough} is enough"
        )
    squeezed = max(down, along) / min(down, along)
    if squeezed > _SQUEEZED:
        lines.append(
            f"frames of {frame_hw[0]}x{frame_hw[1]} are squeezed to {spec.height}x{spec.width}; "
            "--image-size auto keeps their shape"
        )
    return lines
