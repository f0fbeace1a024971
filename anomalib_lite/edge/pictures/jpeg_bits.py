"""Bits of a JPEG's compressed data, and look-up tables of its Huffman codes (ITU-T T.81)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

INVALID = 1 << 20
END_OF_BLOCK = 128  # more than any run reaches from inside a block
_PADDED_BYTES = 300
_SPARE_BITS = 24  # padding that encoders leave: less than one byte, and sometimes a byte or two


class Bits(NamedTuple):
    """Compressed data between two markers.

    Attributes:
        length: number of bits.
        window: the 24 bits from each byte on; ones behind the end.
    """

    length: int
    window: list[int]

    def ends_at(self, position: int) -> bool:
        """Whether nothing but padding is left behind a bit, and nothing is missing before it."""
        return 0 <= self.length - position < _SPARE_BITS


def read_bits(data: bytes) -> Bits:
    """Bits of compressed data, stuffed zeros and padding removed."""
    plain = np.frombuffer(data.rstrip(b"\xff").replace(b"\xff\x00", b"\xff"), np.uint8)
    padded = np.concatenate([plain, np.full(_PADDED_BYTES, 0xFF, np.uint8)]).astype(np.int64)
    window = padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]
    return Bits(8 * len(plain), window.tolist())


def dc_table(counts: bytes, symbols: bytes) -> list[int]:
    """16 bits ahead -> 64 + bits to go on by; `64 * INVALID` where no code begins so."""
    return _table(counts, symbols, lambda symbol: (1, symbol if symbol <= 15 else 0))


def ac_table(counts: bytes, symbols: bytes) -> list[int]:
    """16 bits ahead -> bits to go on by, and 64 times the coefficients to go on by."""
    return _table(counts, symbols, _ac_step)


def band_table(counts: bytes, symbols: bytes) -> list[int]:
    """As `ac_table`, for progressive bands: `EOBn` is 64 times `END_OF_BLOCK + n`."""

    def step(symbol: int) -> tuple[int, int]:
        run, size = symbol >> 4, symbol & 15
        return (END_OF_BLOCK + run, 0) if not size and run < 15 else _ac_step(symbol)

    return _table(counts, symbols, step)


def _ac_step(symbol: int) -> tuple[int, int]:
    run, size = symbol >> 4, symbol & 15
    if not symbol:
        return END_OF_BLOCK, 0
    if not size:
        return (16 if run == 15 else INVALID), 0
    return run + 1, size


def _table(counts: bytes, symbols: bytes, step: Callable[[int], tuple[int, int]]) -> list[int]:
    table = np.full(1 << 16, INVALID << 6, np.int64)
    at = index = 0
    for length, count in enumerate(counts, start=1):
        width = 1 << (16 - length)
        for symbol in symbols[index : index + count]:
            coefficients, size = step(symbol)
            table[at : at + width] = coefficients << 6 | length + size
            at += width
        index += count
    values: list[int] = table.tolist()
    return values
