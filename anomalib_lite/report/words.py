"""Figures in words that people on the line use."""

from __future__ import annotations

import math

from anomalib_lite.report.statistics import wilson_interval


def percent(rate: float) -> str:
    """A share: `1.7 %`, `0 %`, `100 %`; never rounded to 0 or 100 when it is not."""
    if rate in (0.0, 1.0):
        return f"{100 * rate:.0f} %"
    shown = f"{100 * rate:.1f}" if rate >= 0.001 else f"{100 * rate:.2g}"
    return "> 99.9 %" if shown == "100.0" else f"{shown.removesuffix('.0')} %"


def counted(hits: int, total: int) -> str:
    """`3 of 120`."""
    return f"{hits} of {total}"


def interval(hits: int, total: int) -> str:
    """The 95 % interval of a share in words."""
    if total == 0:
        return "nothing to count"
    low, high = wilson_interval(hits, total)
    return f"{percent(hits / total)}; 95 % interval {percent(low)} to {percent(high)}"


def promise(rate: float) -> str:
    """`of 100 good parts at most 1 rejected on average`, with a base that gives at least 1."""
    base = 100
    while rate * base < 1 - 1e-9 and base < 1_000_000:
        base *= 10
    return f"of {base} good parts at most {rate * base:.2g} rejected on average"


def figure_text(value: float | None, digits: int = 4) -> str:
    """A metric, or a dash where it is not defined."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.{digits}f}"


def with_unit(name: str, value: float | None) -> tuple[str, str]:
    """A figure whose name ends in its unit: `("fit_s", 2.5)` -> `("fit", "2.50 s")`."""
    for suffix, unit, scale in (
        ("_ms", "ms", 1.0),
        ("_seconds", "s", 1.0),
        ("_s", "s", 1.0),
        ("_bytes", "MB", 1e-6),
        ("_per_second", "per second", 1.0),
    ):
        if name.endswith(suffix):
            words = name.removesuffix(suffix).replace("_", " ")
            return words, "–" if value is None else f"{value * scale:.3g} {unit}"
    return name.replace("_", " "), "–" if value is None else f"{value:.4g}"
