"""JPEG files: their structure, and the marks that lost data leave.

ITU-T T.81. Markers may stand inside compressed data only as restarts, in order; anything else is
damage that a decoder passes over with a warning nobody sees.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.errors import FrameError

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_PIECE = 1 << 16  # stays in the processor's cache
_SCAN, _END, _START, _RESTART, _TABLES, _INTERVAL = 0xDA, 0xD9, 0xD8, 0xD0, 0xC4, 0xDD


class Component(NamedTuple):
    """One component of the frame: its identifier and sampling factors."""

    identifier: int
    horizontal: int
    vertical: int


class FrameHeader(NamedTuple):
    """What the start of frame says."""

    marker: int
    height: int
    width: int
    components: tuple[Component, ...]

    @property
    def progressive(self) -> bool:
        return self.marker in _PROGRESSIVE

    def units(self, chosen: tuple[int, ...]) -> int:
        """Number of minimum coded units in a scan of these components."""
        across = max(c.horizontal for c in self.components)
        down = max(c.vertical for c in self.components)
        if len(chosen) == 1:
            only = next(c for c in self.components if c.identifier == chosen[0])
            width = -(-self.width * only.horizontal // across)
            height = -(-self.height * only.vertical // down)
            return -(-width // 8) * -(-height // 8)
        return -(-self.width // (8 * across)) * -(-self.height // (8 * down))


class Scan(NamedTuple):
    """One scan: the offset of its header's payload, and where its compressed data lie.

    Attributes:
        header: payload of the scan header.
        start, end: compressed data, markers of restarts included.
        restarts: offsets of the restart markers.
        restart_numbers: their numbers, 0 to 7.
        interval: units between restarts; 0 for none.
        tables: Huffman tables in force, (class, destination) -> (16 counts, symbols).
    """

    header: bytes
    start: int
    end: int
    restarts: NDArray[np.int64]
    restart_numbers: list[int]
    interval: int
    tables: dict[tuple[int, int], tuple[bytes, bytes]]

    @property
    def components(self) -> tuple[int, ...]:
        return tuple(self.header[1 : 1 + 2 * self.header[0] : 2])


class Layout(NamedTuple):
    """A whole JPEG.

    Attributes:
        frame: the frame header.
        scans: in order.
        end: offset of the end marker.
        zeros: offsets, multiples of eight, of eight zero bytes.
    """

    frame: FrameHeader
    scans: list[Scan]
    end: int
    zeros: NDArray[np.int64]


def read_layout(data: bytes, name: str) -> Layout:
    """Follow every marker from start to end.

    Raises:
        FrameError: the file is truncated, or a marker stands where none may.
    """
    marks, zeros = _look_through(data)
    frame: FrameHeader | None = None
    scans: list[Scan] = []
    tables: dict[tuple[int, int], tuple[bytes, bytes]] = {}
    interval, position = 0, 2
    while position + 4 <= len(data) or data[position : position + 2] == b"\xff\xd9":
        if data[position] != 0xFF:
            raise FrameError(f"{name}: the JPEG is damaged (no marker at byte {position})")
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == _END:
            if frame is None or not scans:
                break
            return Layout(frame, scans, position, zeros)
        if marker == _START:
            raise FrameError(
                f"{name}: the JPEG is damaged (another one begins inside it, at byte {position})"
            )
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        payload = data[position + 4 : end]
        if end > len(data):
            break
        if marker in _START_OF_FRAME:
            if frame is None:
                frame = _frame_header(marker, payload, name)
        elif marker == _TABLES:
            tables = {**tables, **_huffman_tables(payload)}
        elif marker == _INTERVAL:
            interval = int.from_bytes(payload[:2], "big")
        elif marker == _SCAN:
            after, restarts = _scan_end(marks, data, end)
            numbers = [data[at + 1] & 7 for at in restarts]
            scans.append(Scan(payload, end, after, restarts, numbers, interval, tables))
            end = after
        position = end
    raise FrameError(f"{name}: the JPEG is truncated ({len(data)} bytes, no end marker)")


def stored_size(data: bytes, start: int) -> tuple[int, int] | None:
    """(height, width) of a JPEG that begins at `start`, or None where none does."""
    position = start + 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _START_OF_FRAME:
            height, width = data[position + 5 : position + 7], data[position + 7 : position + 9]
            return int.from_bytes(height, "big"), int.from_bytes(width, "big")
        if marker in (_SCAN, _END):
            break
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _look_through(data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where markers may stand, and where eight zero bytes do; one pass, since memory is slow.

    Markers: every 0xFF that is followed by neither a stuffed zero nor another 0xFF.
    """
    values = np.frombuffer(data, np.uint8)
    words = np.frombuffer(data, np.uint64, len(data) // 8)
    marks, zeros = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for start in range(0, len(values), _PIECE):
        piece = values[start : min(start + _PIECE, len(values) - 1)]
        marks.append(start + np.flatnonzero(piece == 0xFF))
        zeros.append(start + 8 * np.flatnonzero(words[start // 8 : (start + _PIECE) // 8] == 0))
    found = np.concatenate(marks)
    after = values[found + 1]
    return found[(after != 0) & (after != 0xFF)], np.concatenate(zeros)


def _scan_end(marks: NDArray[np.int64], data: bytes, start: int) -> tuple[int, NDArray[np.int64]]:
    """Where a scan's compressed data end, and the restart markers before that."""
    inside = marks[np.searchsorted(marks, start) :]
    kinds = np.frombuffer(data, np.uint8)[inside + 1]
    other = np.flatnonzero((kinds & 0xF8) != _RESTART)
    count = int(other[0]) if len(other) else len(inside)
    end = int(inside[count]) if len(other) else len(data)
    return end, inside[:count]


def _frame_header(marker: int, payload: bytes, name: str) -> FrameHeader:
    count = payload[5] if len(payload) > 5 else 0
    if count == 4:
        raise FrameError(f"{name}: is a CMYK JPEG; convert it to RGB first")
    if len(payload) < 6 + 3 * count or not count:
        raise FrameError(f"{name}: the JPEG is damaged (its frame header is too short)")
    components = tuple(
        Component(payload[at], payload[at + 1] >> 4, payload[at + 1] & 15)
        for at in range(6, 6 + 3 * count, 3)
    )
    if not all(1 <= c.horizontal <= 4 and 1 <= c.vertical <= 4 for c in components):
        raise FrameError(f"{name}: the JPEG is damaged (impossible sampling factors)")
    height, width = int.from_bytes(payload[1:3], "big"), int.from_bytes(payload[3:5], "big")
    return FrameHeader(marker, height, width, components)


def _huffman_tables(payload: bytes) -> dict[tuple[int, int], tuple[bytes, bytes]]:
    found: dict[tuple[int, int], tuple[bytes, bytes]] = {}
    at = 0
    while at + 17 <= len(payload):
        counts = payload[at + 1 : at + 17]
        end = at + 17 + sum(counts)
        found[payload[at] >> 4, payload[at] & 15] = (counts, payload[at + 17 : end])
        at = end
    return found
