"""What a JPEG tells about lost data, from its structure, its compressed data and its pixels.

The fast checks read no compressed data. Only a suspect, a file whose pixels or bytes bear a mark
of loss, has its Huffman codes followed to the last bit (`jpeg_entropy`); and a progressive file,
since what it lost leaves no mark.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.jpeg import Layout, Scan, read_layout, stored_size
from anomalib_lite.edge.jpeg_entropy import follow_codes

_ZERO_RUN = bytes(64)
_LOST_GREY = 128  # what every sample is where no coefficient was decoded
_STEP = 4


def check_file(data: bytes, name: str) -> None:
    """Refuse a JPEG that is truncated, damaged in its structure, or one of several pictures.

    Raises:
        FrameError: with what is wrong.
    """
    layout = read_layout(data, name)
    _check_restarts(layout, name)
    if layout.frame.progressive:
        _check_scans_complete(layout, name)
    _check_single(data, layout, name)
    for scan in layout.scans:
        if layout.frame.progressive:
            follow_codes(data, layout.frame, scan, name)
            continue
        hole = data.find(_ZERO_RUN, scan.start, scan.end)
        if hole < 0:
            continue
        if not _zeros_are_flat(scan):
            raise FrameError(f"{name}: the JPEG is damaged (zero bytes at {hole} in its pixels)")
        follow_codes(data, layout.frame, scan, name)


def check_pixels(data: bytes, frame: NDArray[Any], name: str) -> None:
    """Refuse a JPEG that ran out of data: the decoder leaves exact mid-grey blocks.

    Raises:
        FrameError: the compressed data end early, or are damaged.
    """
    if not _has_grey_block(frame):
        return
    layout = read_layout(data, name)
    if layout.frame.progressive:
        return
    for scan in layout.scans:
        follow_codes(data, layout.frame, scan, name)


def _has_grey_block(frame: NDArray[Any]) -> bool:
    """Whether some 8 x 8 block is exactly mid-grey; every fourth pixel shows where to look."""
    first = frame if frame.ndim == 2 else frame[:, :, 0]
    sparse = first[::_STEP, ::_STEP] == _LOST_GREY
    if not sparse.any():
        return False
    # A block covers 2 x 2 of the sparse pixels, whatever the picture was turned to; blocks that
    # the border cuts are smaller.
    padded = np.pad(sparse, ((0, 1), (0, 1)), constant_values=True)
    pairs = padded[:-1, :-1] & padded[1:, :-1] & padded[:-1, 1:] & padded[1:, 1:]
    rows, columns = np.nonzero(pairs)
    for row, column in zip(rows[:64] * _STEP, columns[:64] * _STEP, strict=True):
        if (frame[row : row + _STEP + 1, column : column + _STEP + 1] == _LOST_GREY).all():
            return True
    return len(rows) > 64


def _check_restarts(layout: Layout, name: str) -> None:
    for scan in layout.scans:
        found = scan.restarts
        if not scan.interval:
            expected = 0
        else:
            units = layout.frame.units(scan.components)
            expected = -(-units // scan.interval) - 1
        if len(found) not in (expected, expected + bool(scan.interval)):
            raise FrameError(
                f"{name}: the JPEG is damaged ({len(found)} restart markers, expected {expected})"
            )
        if any(number % 8 != kind for number, kind in enumerate(scan.restart_numbers)):
            raise FrameError(f"{name}: the JPEG is damaged (restart markers out of order)")


def _check_scans_complete(layout: Layout, name: str) -> None:
    """Each coefficient of a progressive JPEG must have reached its last bit."""
    missing = {c.identifier: np.full(64, 99) for c in layout.frame.components}
    for scan in layout.scans:
        start, end, bits = scan.header[-3:]
        for identifier in scan.components:
            if identifier in missing:
                missing[identifier][start : end + 1] = bits & 15
    if any(low.any() for low in missing.values()):
        raise FrameError(f"{name}: the JPEG is damaged (some of its scans are missing)")


def _check_single(data: bytes, layout: Layout, name: str) -> None:
    """Another picture of the same size behind the first (MPO) is a frame nobody would judge."""
    size = (layout.frame.height, layout.frame.width)
    position, others = layout.end + 2, 0
    while (position := data.find(b"\xff\xd8\xff", position)) >= 0:
        others += stored_size(data, position) == size
        position += 3
    if others:
        raise FrameError(
            f"{name}: the JPEG holds {others + 1} pictures, expected one; save each as a file of "
            "its own"
        )


def _zeros_are_flat(scan: Scan) -> bool:
    """Whether zero bits mean "no change" under this scan's own Huffman tables."""
    return all(symbols[:1] == b"\0" for _, symbols in scan.tables.values())
