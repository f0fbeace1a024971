"""How many patches PatchCore may keep and hold, in rows and in bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.memory_bank.coreset_buffer import fits_on_disk, held_row_bytes
from anomalib_lite.scorers.memory_bank.projection import PROJECTION

_BANK_SHARE = 8  # the buffer holds at least so many times the bank
_KEPT = 2  # rows per wanted row that a reduction leaves
_FEWEST_HELD = 64
_BANKS = 5  # the bank, the coresets of all folds (a quarter more than it), two in the making
_SEARCH_BYTES = 96 << 20


@dataclass(frozen=True)
class BankBudget:
    """Limits of a bank of patch vectors and of the buffer that it is selected from.

    Args:
        coreset_ratio: share of the good patches to keep, when neither `rows` nor `megabytes` is
            given.
        rows: patches to keep.
        megabytes: size of the bank, MB.
        buffer_megabytes: memory for patches while good images stream through, MB.
        width: numbers per patch.
    """

    coreset_ratio: float | None
    rows: int | None
    megabytes: float | None
    buffer_megabytes: float
    width: int = 1

    def __post_init__(self) -> None:
        if self.coreset_ratio is not None and not 0 < self.coreset_ratio <= 1:
            raise SettingsError(f"coreset_ratio is {self.coreset_ratio}; choose a share up to 1")
        if self.rows is not None and not (type(self.rows) is int and self.rows >= 1):
            raise SettingsError(f"rows is {self.rows}; choose 1 or more")
        for name in ("megabytes", "buffer_megabytes"):
            size = getattr(self, name)
            if size is not None and not 0 < size < math.inf:
                raise SettingsError(f"{name} is {size}; choose a size above 0")

    @property
    def fixed(self) -> int | None:
        """Rows allowed, None for a share."""
        bank_row = 4 * self.width + 24
        limits = [] if self.rows is None else [self.rows]
        if self.megabytes is not None:
            limits.append(max(1, int(self.megabytes * 1e6) // bank_row))
        return min(limits) if limits else None

    @property
    def capacity(self) -> int:
        """Rows that the buffer holds: what was allowed, and never less than eight banks."""
        allowed = self._held(on_disk=True)
        if not fits_on_disk(allowed, self.width):
            allowed = self._held(on_disk=False)
        return max(allowed, _BANK_SHARE * (self.fixed or 1), _FEWEST_HELD)

    def target(self, offered: int) -> int:
        """Rows to keep of so many offered; a share is limited to an eighth of the buffer."""
        if self.fixed is not None:
            return self.fixed
        assert self.coreset_ratio is not None  # one of the three is given
        return max(1, min(math.ceil(self.coreset_ratio * offered), self._largest_share))

    def reduced_to(self, expected: int) -> int:
        """Rows that a reduction of the full buffer leaves."""
        return min(self.capacity // 2, _KEPT * self.target(expected))

    def memory_bytes(self) -> int:
        """The full buffer and the banks of all folds; a short stream fills only part of it."""
        bank = self.fixed or self._largest_share
        banks = bank * (_BANKS * 4 * self.width + 4 * min(self.width, PROJECTION))
        on_disk = fits_on_disk(self.capacity, self.width)
        return self.capacity * held_row_bytes(self.width, on_disk=on_disk) + banks + _SEARCH_BYTES

    @property
    def _largest_share(self) -> int:
        return self.capacity // _BANK_SHARE

    def _held(self, *, on_disk: bool) -> int:
        return int(self.buffer_megabytes * 1e6) // held_row_bytes(self.width, on_disk=on_disk)
