"""Figures in words that people on the line use."""

from __future__ import annotations

import math

from anomalib_lite.statistics.shares import wilson_interval

_UNITS = {"ms": ("ms", 1.0), "seconds": ("s", 1.0), "bytes": ("MB", 1e-6)}
_PERCENT = "\u00a0%"  # a space that does not break


def percent(rate: float) -> str:
    """A share: `1.7 %`, `0 %`, `100 %`; never rounded to 0 or 100 when it is not."""
    if rate in (0.0, 1.0):
        return f"{100 * rate:.0f}{_PERCENT}"
    shown = f"{100 * rate:.1f}" if rate >= 0.001 else f"{100 * rate:.2g}"
    return f"> 99.9{_PERCENT}" if shown == "100.0" else f"{shown.removesuffix('.0')}{_PERCENT}"


def counted(hits: int, total: int) -> str:
    """`3 of 120`."""
    return f"{hits} of {total}"


def interval(hits: int, total: int) -> str:
    """The 95 % interval of a share in words."""
    if total == 0:
        return "nothing to count"
    low, high = wilson_interval(hits, total)
    return f"{percent(hits / total)}; 95 % interval {percent(low)} to {percent(high)}"


def bracketed(hits: int, total: int) -> str:
    """The same in few words, for tables: `1.7 % (0.3 % to 8.9 %)`; `total` is at least 1."""
    low, high = wilson_interval(hits, total)
    return f"{percent(hits / total)} ({percent(low)} to {percent(high)})"


def promise(rate: float, bound: float) -> str:
    """`of 100 good parts 1 rejected on average, at most 3 with 95 % confidence`.

    Args:
        rate: expected share; the base is chosen so that it gives at least 1.
        bound: that 95 % of calibrations stay below.
    """
    base = 100
    while rate * base < 1 - 1e-9 and base < 1_000_000:
        base *= 10
    worst = f"{bound * base:.2g}" if bound * base < 100 else f"{bound * base:.0f}"
    return (
        f"of {base} good parts {rate * base:.2g} rejected on average, at most {worst} with 95"
        f"{_PERCENT} confidence"
    )


def figure_text(value: float | None, digits: int = 3) -> str:
    """A metric, or a dash where it is not defined; only what is 1 is written 1.000."""
    if value is None or math.isnan(value):
        return "–"
    shown = f"{value:.{digits}f}"
    rounded_up = value < 1 and float(shown) == 1
    return f"> {1 - 10.0**-digits:.{digits}f}" if rounded_up else shown


def signed(value: float) -> str:
    """A change with its sign: `+0.50`, `−1.20`, `0.00`."""
    shown = f"{value:+.2f}"
    return "0.00" if float(shown) == 0 else shown.replace("-", "−")


def with_unit(name: str, value: float | None) -> tuple[str, str]:
    """A figure whose name holds its unit: `("fit_seconds", 2.5)` -> `("fit", "2.5 s")`."""
    words = name.split("_")
    unit = next((word for word in words if word in _UNITS), None)
    shown = " ".join(word for word in words if word != unit)
    if value is None:
        return shown, "–"
    symbol, scale = _UNITS[unit] if unit else ("", 1.0)
    return shown, f"{value * scale:.3g} {symbol}".strip()
