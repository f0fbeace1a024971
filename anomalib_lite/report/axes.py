"""Axes: where a value lies between 0 and 1, and which values are worth a tick."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MOST_SPAN = 1e5
_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Axis:
    """One direction of a plot.

    Attributes:
        low: value at the start.
        high: value at the end, above `low`.
        label: what the values are.
        log: whether the axis is logarithmic; `low` is then above 0.
    """

    low: float
    high: float
    label: str = ""
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"axis {self.label!r} cannot run from {self.low} to {self.high}")

    def place(self, value: float) -> float:
        """Position of a value, 0 at the start and 1 at the end; values outside are clipped."""
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, share))

    def value(self, share: float) -> float:
        """The value at a position; the inverse of `place`."""
        if self.log:
            return float(self.low * (self.high / self.low) ** share)
        return self.low + (self.high - self.low) * share

    def edges_through(self, value: float, bins: int) -> list[float]:
        """Edges of about `bins` bins, equally wide on the axis, one edge exactly at `value`.

        So no bar of a histogram stands on both sides of a threshold.
        """
        width, middle = 1.0 / bins, self.place(value)
        before, after = math.ceil(middle * bins - 1e-9), math.ceil((1 - middle) * bins - 1e-9)
        shares = [middle + width * step for step in range(-before, after + 1)]
        edges = [self.value(min(1.0, max(0.0, share))) for share in shares]
        edges[before] = value
        return edges

    def ticks(self, wanted: int = 5) -> list[tuple[float, str]]:
        """Round values on the axis with their labels, about `wanted` of them."""
        values = self._log_ticks(wanted) if self.log else linear_ticks(self.low, self.high, wanted)
        return [(value, _label(value, power=self.log)) for value in values]

    def _log_ticks(self, wanted: int) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        stride = max(1, (last - first) // wanted)
        for mantissas in ((1,), (1, 3), (1, 2, 5)):
            values = [
                mantissa * 10.0**power
                for power in range(first, last + 1, stride)
                for mantissa in mantissas
            ]
            inside = [value for value in values if self.low <= value <= self.high]
            if len(inside) >= min(3, wanted):
                return inside
        return linear_ticks(self.low, self.high, wanted)


def _label(value: float, *, power: bool) -> str:
    """A tick in words: `0.2`, `1500`; far from 1 on a logarithmic axis `10⁻⁶`."""
    exponent = round(math.log10(value)) if power else 0
    if power and abs(exponent) > 3 and math.isclose(value, 10.0**exponent):
        return f"10{str(exponent).translate(_SUPERSCRIPT)}"
    return f"{value:.6g}".replace("-", "−")


def linear_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between `low` and `high`."""
    rough = (high - low) / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in _STEPS if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def score_axis(values: Sequence[float], threshold: float, label: str = "score") -> Axis:
    """An axis that holds all scores and the threshold; logarithmic when the scores span decades.

    Args:
        values: finite scores; may be empty.
        threshold: always inside the axis.
        label: its unit; `(log scale)` is added where it applies.
    """
    low, high = min([*values, threshold]), max([*values, threshold])
    # A stray score near zero must not stretch the axis over empty decades.
    if low > 0 and high > 8 * threshold and 20 * low < high < _MOST_SPAN * low:
        return Axis(low / 1.08, high * 1.08, f"{label} (log scale)", log=True)
    margin = 0.03 * (high - low) or 0.5 * max(abs(high), 1e-9)
    return Axis(low - margin, high + margin, label)
