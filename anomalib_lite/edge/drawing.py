"""How a prediction is looked at: a line of text, a picture, a file, a notebook cell."""

from __future__ import annotations

import os
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.colour_scale import ColourScale
from anomalib_lite.edge.errors import FrameError, SettingsError
from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.edge.frame_like import FrameLike, ValueRange, as_frame
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.overlay import as_rgb8, draw_verdict, encode_png
from anomalib_lite.edge.prepare import InputSpec, map_to_frame

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_NOTEBOOK_SIDE_PX = 640
_NO_FRAME_GREY = 150


class Drawable:
    """The half of `Prediction` that people look at; the attributes are described there."""

    score: float
    p_value: float
    is_anomalous: bool
    regions: tuple[Any, ...]
    network_map: NDArray[np.float32]
    frame_hw: tuple[int, int]
    spec: InputSpec
    colours: ColourScale
    name: str
    origin: Frame | Path | None

    def picture(
        self, frame: FrameLike | None = None, *, value_range: ValueRange | None = None
    ) -> NDArray[np.uint8]:
        """The frame under its anomaly map, regions boxed, as in reports: RGB `uint8 (H, W, 3)`.

        Args:
            frame: the frame that was judged; None takes the one that was kept, or reads the file
                again.
            value_range: as for `predict`.

        Raises:
            FrameError: the frame was not kept, is unreadable now, or is of another size.
        """
        found = self.origin if frame is None else frame
        if found is None:
            raise FrameError(
                "the frame itself was not kept; give it: show(frame) or save(path, frame), or "
                "judge with predict(frame, keep_frame=True)"
            )
        decoded = as_frame(found, self.spec, value_range)
        if decoded.shape[:2] != self.frame_hw:
            raise FrameError(
                f"this frame is {_size(decoded.shape[:2])}, the one that was judged was "
                f"{_size(self.frame_hw)}; give the same frame"
            )
        return self._drawn_over(as_rgb8(decoded, self.spec.bit_depth))

    def save(
        self,
        path: str | Path,
        frame: FrameLike | None = None,
        *,
        value_range: ValueRange | None = None,
    ) -> Path:
        """Write `picture` as `.png`, `.jpg` or `.webp`, atomically; returns the path.

        Raises:
            FrameError: as for `picture`.
            SettingsError: another suffix.
            AnomalibLiteError: the file cannot be written.
        """
        target = Path(path)
        suffix = target.suffix.lower()
        if suffix not in _SUFFIXES:
            raise SettingsError(f"{path}: a picture is saved as {', '.join(_SUFFIXES)}")
        picture = self.picture(frame, value_range=value_range)
        encoded: Any = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
        write_bytes_atomic(target, encoded.tobytes())
        return target

    def show(
        self, frame: FrameLike | None = None, *, value_range: ValueRange | None = None
    ) -> None:
        """Show `picture`: in the cell of a notebook, else in the system's viewer.

        Raises:
            FrameError: as for `picture`.
            SettingsError: this machine has no viewer.
        """
        data = encode_png(self.picture(frame, value_range=value_range))
        if not _shown_in_notebook(data):
            _show_in_viewer(data)

    def _drawn_over(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        located = self.network_map.size > 1
        return draw_verdict(
            picture,
            map_to_frame(self.network_map, self.frame_hw, self.spec) if located else None,
            ((item.x, item.y, item.width, item.height) for item in self.regions),
            colours=self.colours,
            is_anomalous=self.is_anomalous,
        )

    def _repr_png_(self) -> bytes | None:
        """For notebooks, at most 640 px; over plain grey where the frame was not kept."""
        try:
            picture = self.picture()
        except FrameError:
            if self.network_map.size == 1:
                return None
            picture = self._drawn_over(np.full((*self.frame_hw, 3), _NO_FRAME_GREY, np.uint8))
        share = min(1.0, _NOTEBOOK_SIDE_PX / max(self.frame_hw))
        size_wh = tuple(max(1, round(side * share)) for side in self.frame_hw[::-1])
        if share < 1:
            picture = cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        return encode_png(picture)

    def __repr__(self) -> str:
        parts = [
            *([repr(self.name)] if self.name else []),
            f"score={self.score:.4g}",
            f"p_value={self.p_value:.3g}",
            "anomalous" if self.is_anomalous else "good",
            f"{len(self.regions)} region{'' if len(self.regions) == 1 else 's'}",
            f"frame {_size(self.frame_hw)}",
        ]
        return f"Prediction({', '.join(parts)})"


def _size(size_hw: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in size_hw)


def _shown_in_notebook(png: bytes) -> bool:
    """Whether a running notebook has taken the picture; IPython is there already or never."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get_ipython() if get_ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return False
    shell.display_pub.publish({"image/png": png, "text/plain": "Prediction"})
    return True


def _show_in_viewer(png: bytes) -> None:
    # One file a process: a run that shows thousands does not fill the disk.
    path = Path(tempfile.gettempdir()) / f"anomalib-lite-{os.getpid()}.png"
    write_bytes_atomic(path, png)
    if not webbrowser.open(path.as_uri()):
        raise SettingsError("this machine has no viewer for pictures; call save('picture.png')")
