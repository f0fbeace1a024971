"""What counts prove about a share. Standard library only: reports need it on the edge box."""

from __future__ import annotations

import math

_Z95 = 1.959963984540054


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """95 % interval of a share from its counts (Wilson 1927); (0, 1) without any sample."""
    if total == 0:
        return 0.0, 1.0
    share, square = hits / total, _Z95**2
    centre = share + square / (2 * total)
    spread = _Z95 * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    scale = 1 + square / total
    low = 0.0 if hits == 0 else (centre - spread) / scale
    high = 1.0 if hits == total else (centre + spread) / scale
    return low, high
