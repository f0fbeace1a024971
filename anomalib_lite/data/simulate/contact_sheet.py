"""A picture of what was simulated, to be looked at before any figure is believed."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.overlay import as_rgb8

_SIDE, _GAP, _PER_KIND = 150, 6, 4
_LINE, _TEXT, _GROUND = (230, 30, 30), (20, 20, 20), 255


class ContactSheet:
    """Takes a few examples of each kind as they are made; memory does not grow with the set."""

    def __init__(self) -> None:
        self._rows: dict[str, list[NDArray[np.uint8]]] = {}

    def add(self, kind: str, frame: Frame, mask: NDArray[np.bool_], caption: str) -> None:
        """Show a frame with its mask outlined, and the place of the defect enlarged."""
        row = self._rows.setdefault(kind, [])
        if len(row) < _PER_KIND:
            row.append(_example(frame, mask, caption))

    def picture(self) -> NDArray[np.uint8]:
        """All examples, a row for each kind, RGB uint8."""
        width = max((sum(cell.shape[1] for cell in row) for row in self._rows.values()), default=1)
        rows = []
        for cells in self._rows.values():
            row = np.concatenate(cells, axis=1)
            room = width - row.shape[1]
            rows.append(np.pad(row, ((0, 0), (0, room), (0, 0)), constant_values=_GROUND))
        return np.concatenate(rows) if rows else np.full((1, 1, 3), _GROUND, np.uint8)


def _example(frame: Frame, mask: NDArray[np.bool_], caption: str) -> NDArray[np.uint8]:
    picture = as_rgb8(frame, 16 if frame.dtype == np.uint16 else 8)
    rows, columns = np.nonzero(mask)
    middle = ((rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2)
    longest = max(int(np.ptp(rows)), int(np.ptp(columns)), 12)
    reach = int(longest * 0.75) + 4
    padded = cv2.copyMakeBorder(picture, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    close = padded[middle[0] : middle[0] + 2 * reach + 1, middle[1] : middle[1] + 2 * reach + 1]
    shrink = _SIDE / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * shrink)), max(1, round(picture.shape[0] * shrink)))
    whole = np.full((_SIDE, _SIDE, 3), _GROUND, np.uint8)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    centre = (round(middle[1] * shrink), round(middle[0] * shrink))
    cv2.circle(small, centre, max(4, round(reach * shrink)), _LINE, 1, cv2.LINE_AA)
    whole[: small.shape[0], : small.shape[1]] = small
    zoomed = cv2.resize(close, (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST)
    pair = np.concatenate([whole, zoomed], axis=1)
    label = np.full((18, pair.shape[1], 3), _GROUND, np.uint8)
    cv2.putText(label, caption, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, _TEXT, 1, cv2.LINE_AA)
    cell = np.concatenate([label, pair])
    return np.pad(cell, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=_GROUND)
