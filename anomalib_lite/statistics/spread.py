"""Some of many, evenly spread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spread(total: int, wanted: int) -> NDArray[np.int64]:
    """Indices of so many of `total` things, evenly spread, ascending; all where there are fewer."""
    return np.unique(np.linspace(0, total - 1, min(wanted, total)).round().astype(np.int64))
