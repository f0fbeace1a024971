"""Rows in a few random directions, as whole numbers: what a coreset is selected by.

Whole numbers below 2^24 are exact in float32, so a squared distance is the same number whether it
comes from one product or from a block of them, on any number of threads. They fit in 16 bits, a
quarter of the memory of the rows of a small network and less for a larger one.
"""

from __future__ import annotations

import torch
from torch import Tensor

PROJECTION = 128
"""Random directions that distances are measured in while rows are selected."""

LARGEST_NORM = 2040.0
"""(2 * norm)^2 stays below 2^24, rounding included."""

HEADROOM = 2.0
"""Rows that come after the scale is set may be so many times longer than those that set it."""

_CHUNK = 4096
_LARGEST_HALF = 60000.0


class RandomDirections:
    """Projects rows `(n, d)` to half-precision numbers `(n, p)` of the order of 1.

    Rows of at most p numbers are not projected. Origin and unit come from the first rows; they only
    keep rounding small, the scale that selection works with is `WholeNumbers`'.

    Args:
        first: float32 `(n, d)`; their mean becomes the origin.
        seed: of the directions, drawn from a Gaussian.
        directions: p.

    Attributes:
        width: numbers per projected row.
    """

    def __init__(self, first: Tensor, seed: int, directions: int = PROJECTION) -> None:
        width = first.shape[1]
        self._matrix = torch.eye(width)
        if width > directions:
            generator = torch.Generator().manual_seed(seed)
            self._matrix = torch.randn(width, directions, generator=generator) / directions**0.5
        self.width = self._matrix.shape[1]
        self._centre = mean_row(first).float()
        largest = float(((first - self._centre) @ self._matrix).norm(dim=1).max())
        self._unit = 1 / largest if largest > 0 else 1.0

    def __call__(self, rows: Tensor) -> Tensor:
        """Rows `(n, d)` -> float16 `(n, p)`."""
        projected = torch.empty(len(rows), self.width, dtype=torch.float16)
        for start in range(0, len(rows), _CHUNK):
            part = slice(start, start + _CHUNK)
            exact = ((rows[part] - self._centre) @ self._matrix).mul_(self._unit)
            projected[part] = exact.clamp_(-_LARGEST_HALF, _LARGEST_HALF)
        return projected


class WholeNumbers:
    """Projected rows `(n, p)` as whole numbers; origin and scale come from a sample of them.

    A row longer than `headroom` times the longest of the sample is shortened to the largest norm
    that is exact: it stays far from all others.

    Args:
        sample: float16 `(n, p)`: all rows that there are so far.
        headroom: 1 when no row will follow.
    """

    def __init__(self, sample: Tensor, headroom: float = HEADROOM) -> None:
        self._centre = mean_row(sample).float()
        # Rounding moves a row by at most half the root of its length.
        self._limit = LARGEST_NORM - sample.shape[1] ** 0.5
        largest = max(
            (
                float((part.float() - self._centre).norm(dim=1).max())
                for part in sample.split(_CHUNK)
            ),
            default=0.0,
        )
        self._scale = self._limit / (headroom * largest) if largest > 0 else 1.0

    def __call__(self, projected: Tensor) -> Tensor:
        """Rows float16 `(n, p)` -> int16 `(n, p)`."""
        whole = torch.empty(projected.shape, dtype=torch.int16)
        for start in range(0, len(projected), _CHUNK):
            part = slice(start, start + _CHUNK)
            exact = (projected[part].float() - self._centre).mul_(self._scale)
            norm = exact.norm(dim=1, keepdim=True)
            exact.mul_(self._limit / norm.clamp(min=self._limit))
            whole[part] = exact.round_().to(torch.int16)
        return whole


def mean_row(rows: Tensor) -> Tensor:
    """Mean of rows `(n, d)` in float64 `(d,)`, without a float64 copy of all of them."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for part in rows.split(_CHUNK):
        total += part.double().sum(dim=0)
    return total / max(1, len(rows))
