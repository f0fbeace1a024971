"""Follow the Huffman codes of a JPEG to the last bit, without making pixels.

ITU-T T.81, annexes F and G. Slow (about 0.1 s a megapixel), so of baseline files only suspects are
followed. Data that were lost, inserted or overwritten leave too few or too many bits, or a code
that does not exist.

Of progressive files the passes that stand alone are followed. A pass that refines AC coefficients
depends on all that was decoded before; what is lost there is the last bits of detail.
"""

from __future__ import annotations

from anomalib_lite.edge.errors import FrameError
from anomalib_lite.edge.pictures.jpeg import FrameHeader, Scan
from anomalib_lite.edge.pictures.jpeg_bits import (
    END_OF_BLOCK,
    INVALID,
    Bits,
    ac_table,
    band_table,
    dc_table,
    read_bits,
)

_BLOCK = 64
_BASELINE = frozenset({0xC0, 0xC1})
_PROGRESSIVE = 0xC2  # with Huffman codes
Tables = list[tuple[list[int], list[int]]]


def follow_codes(data: bytes, frame: FrameHeader, scan: Scan, name: str) -> None:
    """Raise `FrameError` unless the scan's data hold exactly the blocks that are announced."""
    if frame.marker not in _BASELINE and frame.marker != _PROGRESSIVE:
        return
    units = frame.units(scan.components)
    bounds = [scan.start, *(int(at) for at in scan.restarts), scan.end]
    try:
        for index in range(len(bounds) - 1):
            start = bounds[index] + (2 if index else 0)
            count = min(scan.interval or units, units - index * scan.interval)
            bits = data[start : bounds[index + 1]]
            if count > 0 and not _holds(bits, frame, scan, count):
                raise FrameError(
                    f"{name}: the JPEG is damaged (its compressed data do not hold the picture: "
                    "something was lost or overwritten)"
                )
    except KeyError as error:
        raise FrameError(f"{name}: the JPEG is damaged (a Huffman table is missing)") from error


def _holds(data: bytes, frame: FrameHeader, scan: Scan, units: int) -> bool:
    """Whether a stretch of data holds exactly so many units, but for padding."""
    if frame.marker in _BASELINE:
        return _holds_blocks(read_bits(data), _baseline_tables(frame, scan) * units)
    first, last, bits = scan.header[-3:]
    refines = bool(bits >> 4)
    if first and refines:
        return True
    found = read_bits(data)
    if first:
        table = band_table(*scan.tables[1, scan.header[2] & 15])
        return _holds_band(found, table, units, last + 1 - first)
    sizes = _block_tables(frame, scan)
    if refines:  # one bit a block
        return found.ends_at(units * len(sizes))
    return _holds_dc(found, [dc_table(*scan.tables[0, table >> 4]) for table in sizes] * units)


def _block_tables(frame: FrameHeader, scan: Scan) -> list[int]:
    """The table selectors of each block of one coded unit, in order."""
    sampling = {c.identifier: c.horizontal * c.vertical for c in frame.components}
    chosen: list[int] = []
    for position, identifier in enumerate(scan.components):
        repeats = 1 if len(scan.components) == 1 else sampling[identifier]
        chosen += [scan.header[2 + 2 * position]] * repeats
    return chosen


def _baseline_tables(frame: FrameHeader, scan: Scan) -> Tables:
    made = {
        chosen: (dc_table(*scan.tables[0, chosen >> 4]), ac_table(*scan.tables[1, chosen & 15]))
        for chosen in set(_block_tables(frame, scan))
    }
    return [made[chosen] for chosen in _block_tables(frame, scan)]


def _holds_blocks(bits: Bits, blocks: Tables) -> bool:
    """Whole blocks, one after the other (annex F)."""
    window, at = bits.window, 0
    for dc, ac in blocks:
        found = dc[window[at >> 3] >> (8 - (at & 7)) & 0xFFFF]
        at += found & 63
        place = found >> 6
        while place < _BLOCK:
            found = ac[window[at >> 3] >> (8 - (at & 7)) & 0xFFFF]
            at += found & 63
            place += found >> 6
        if at > bits.length or place >= INVALID or _BLOCK < place < END_OF_BLOCK:
            return False
    return bits.ends_at(at)


def _holds_dc(bits: Bits, tables: list[list[int]]) -> bool:
    """The first pass over the DC coefficients (annex G.1.2.1)."""
    window, at = bits.window, 0
    for table in tables:
        found = table[window[at >> 3] >> (8 - (at & 7)) & 0xFFFF]
        at += found & 63
        if at > bits.length or found >= INVALID << 6:
            return False
    return bits.ends_at(at)


def _holds_band(bits: Bits, table: list[int], blocks: int, width: int) -> bool:
    """The first pass over a band of AC coefficients, with its runs of ended blocks (G.1.2.2)."""
    window, at = bits.window, 0
    while blocks > 0:
        place = 0
        while place < width:
            found = table[window[at >> 3] >> (8 - (at & 7)) & 0xFFFF]
            at += found & 63
            step = found >> 6
            if END_OF_BLOCK <= step < INVALID:
                extra = step - END_OF_BLOCK
                more = window[at >> 3] >> (8 - (at & 7)) & 0xFFFF
                blocks -= (1 << extra) - 1 + (more >> (16 - extra))
                at += extra
                break
            place += step
            if place > width:
                return False
        blocks -= 1
        if at > bits.length:
            return False
    return blocks == 0 and bits.ends_at(at)
