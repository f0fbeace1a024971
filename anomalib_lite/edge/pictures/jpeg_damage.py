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
from anomalib_lite.edge.pictures.header import jpeg_restarts, peek_bytes
from anomalib_lite.edge.pictures.jpeg import Layout, Scan, read_layout, stored_size
from anomalib_lite.edge.pictures.jpeg_entropy import follow_codes

_ZERO_RUN = bytes(64)
_LOST_GREY = 128  # what every sample is where no coefficient was decoded
_BLOCK, _HALF = 8, 4
_MOST_TRIED = 64


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
        if not ((layout.zeros > scan.start) & (layout.zeros < scan.end)).any():
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
    # Nothing is decoded after the data end, but for the next restart: the last block tells.
    grey = _has_grey_block(frame) if jpeg_restarts(peek_bytes(data)) else _has_grey_corner(frame)
    if not grey:
        return
    layout = read_layout(data, name)
    if layout.frame.progressive:
        return
    for scan in layout.scans:
        follow_codes(data, layout.frame, scan, name)


def _has_grey_corner(frame: NDArray[Any]) -> bool:
    """Whether the block in some corner is mid-grey; the last one may have been turned there."""
    high, wide = (min(_HALF + 1, (side - 1) % _BLOCK + 1) for side in frame.shape[:2])
    return any(
        bool((frame[rows, columns] == _LOST_GREY).all())
        for rows in (slice(0, high), slice(-high, None))
        for columns in (slice(0, wide), slice(-wide, None))
    )


def _has_grey_block(frame: NDArray[Any]) -> bool:
    """Whether some 8 x 8 block is exactly mid-grey; every eighth pixel shows where to look.

    Each block holds one of these pixels and reaches half its size from there in one direction of
    each axis, wherever its corner lies in a picture that was turned; but for the border.
    """
    first = frame if frame.ndim == 2 else frame[:, :, 0]
    found = np.flatnonzero(first[::_BLOCK, ::_BLOCK] == _LOST_GREY)
    if not len(found):
        return False
    rows, columns = np.divmod(found * _BLOCK, -(-first.shape[1] // _BLOCK) * _BLOCK)
    rows *= _BLOCK
    for other in () if frame.ndim == 2 else (1, 2):
        keep = frame[rows, columns, other] == _LOST_GREY
        rows, columns = rows[keep], columns[keep]
    for distance in (1, _HALF):
        keep = _goes_on(first, rows, columns, distance)
        rows, columns = rows[keep], columns[keep]
    # So many are no accident, and following the codes tells.
    return len(rows) > _MOST_TRIED or any(
        _grey_around(frame, int(row), int(column))
        for row, column in zip(rows, columns, strict=True)
    )


def _goes_on(
    first: NDArray[Any], rows: NDArray[np.int64], columns: NDArray[np.int64], distance: int
) -> NDArray[np.bool_]:
    """Which pixels have mid-grey at a distance, in one direction of each axis."""
    above, below = np.maximum(rows - distance, 0), np.minimum(rows + distance, len(first) - 1)
    left = np.maximum(columns - distance, 0)
    right = np.minimum(columns + distance, first.shape[1] - 1)
    down = (first[above, columns] == _LOST_GREY) | (first[below, columns] == _LOST_GREY)
    across = (first[rows, left] == _LOST_GREY) | (first[rows, right] == _LOST_GREY)
    return np.asarray(down & across)


def _grey_around(frame: NDArray[Any], row: int, column: int) -> bool:
    """Whether all is mid-grey from a pixel on, half a block down or up, and to one side."""
    return any(
        bool(
            (
                frame[max(0, top) : top + _HALF + 1, max(0, left) : left + _HALF + 1] == _LOST_GREY
            ).all()
        )
        for top in (row - _HALF, row)
        for left in (column - _HALF, column)
    )


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
