"""Follow the Huffman codes of a baseline JPEG to the last bit, without making pixels.

ITU-T T.81, annex F. Slow (about 0.1 s a megapixel), so only suspects are followed. Data that were
lost, inserted or overwritten leave too few or too many bits, or a code that does not exist.
"""

from __future__ import annotations

import numpy as np

from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.jpeg import FrameHeader, Scan

_BASELINE = frozenset({0xC0, 0xC1})
_BLOCK = 64
_END_OF_BLOCK = 128  # more than any run reaches from inside a block
_INVALID = 1024
_SPARE_BITS = 24  # padding that encoders leave: less than one byte, and sometimes a byte or two


def follow_codes(data: bytes, frame: FrameHeader, scan: Scan, name: str) -> None:
    """Raise `FrameError` unless the scan's data hold exactly the blocks that are announced."""
    if frame.marker not in _BASELINE:
        return
    blocks = _blocks(frame, scan)
    if blocks is None:
        raise FrameError(f"{name}: the JPEG is damaged (a Huffman table is missing)")
    units = frame.units(scan.components)
    bounds = [scan.start, *(int(at) for at in scan.restarts), scan.end]
    for index in range(len(bounds) - 1):
        start = bounds[index] + (2 if index else 0)
        count = min(scan.interval or units, units - index * scan.interval)
        if count > 0 and not _consumed(data[start : bounds[index + 1]], blocks * count):
            raise FrameError(
                f"{name}: the JPEG is damaged (its compressed data do not hold the picture: "
                "something was lost or overwritten)"
            )


Tables = list[tuple[list[int], list[int]]]


def _blocks(frame: FrameHeader, scan: Scan) -> Tables | None:
    """The (DC, AC) look-up tables of each block of one coded unit, in order."""
    luts: dict[tuple[int, int], list[int]] = {}
    blocks: Tables = []
    for position, identifier in enumerate(scan.components):
        chosen = scan.header[2 + 2 * position]
        keys = (0, chosen >> 4), (1, chosen & 15)
        if any(key not in scan.tables for key in keys):
            return None
        for key in keys:
            luts.setdefault(key, _lookup(*scan.tables[key], ac=bool(key[0])))
        component = next((c for c in frame.components if c.identifier == identifier), None)
        if component is None:
            return None
        repeats = 1 if len(scan.components) == 1 else component.horizontal * component.vertical
        blocks += [(luts[keys[0]], luts[keys[1]])] * repeats
    return blocks


def _lookup(counts: bytes, symbols: bytes, *, ac: bool) -> list[int]:
    """16 bits ahead -> bits to go on by, and 64 times the coefficients to go on by."""
    table = np.full(1 << 16, _INVALID << 6, np.int64)
    at = index = 0
    for length, count in enumerate(counts, start=1):
        width = 1 << (16 - length)
        for symbol in symbols[index : index + count]:
            run, size = symbol >> 4, symbol & 15
            if not ac:
                step = 1
                size = symbol if symbol <= 15 else 0
            elif symbol == 0:
                step = _END_OF_BLOCK
            elif size == 0:
                step = 16 if run == 15 else _INVALID
            else:
                step = run + 1
            table[at : at + width] = step << 6 | length + size
            at += width
        index += count
    return list(map(int, table))


def _consumed(data: bytes, blocks: Tables) -> bool:
    """Whether exactly these blocks are coded in the data, but for padding."""
    plain = np.frombuffer(data.rstrip(b"\xff").replace(b"\xff\x00", b"\xff"), np.uint8)
    bits = 8 * len(plain)
    padded = np.concatenate([plain, np.full(300, 0xFF, np.uint8)]).astype(np.int64)
    window = (padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]).tolist()
    at = 0
    for dc, ac in blocks:
        found = dc[window[at >> 3] >> (8 - (at & 7)) & 0xFFFF]
        at += found & 63
        place = found >> 6
        while place < _BLOCK:
            found = ac[window[at >> 3] >> (8 - (at & 7)) & 0xFFFF]
            at += found & 63
            place += found >> 6
        if at > bits or place >= _INVALID or _BLOCK < place < _END_OF_BLOCK:
            return False
    return bits - at < _SPARE_BITS
