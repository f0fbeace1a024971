"""Options of a backbone beyond its layers and weights: what any takes, and what one declares."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from anomalib_lite.edge.errors import SettingsError

NORMALISATION = ("mean", "std")
"""Per-channel numbers on the scale 0 to 1, which every backbone takes in place of its own."""
_COMMON = ("name", "layers", "weights", "input_hw")


def own_options(factory: Callable[..., Any]) -> tuple[str, ...]:
    """Options that a backbone itself declares: keyword arguments beyond the common ones."""
    return tuple(name for name in signature(factory).parameters if name not in _COMMON)


def checked_options(
    name: str, factory: Callable[..., Any], options: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Options as plain JSON types.

    Raises:
        SettingsError: an option that the backbone does not know, or a normalisation that is none.
    """
    given = dict(options or {})
    known = (*NORMALISATION, *own_options(factory))
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise SettingsError(
            f"backbone {name} takes no option {unknown[0]!r}; choose from {', '.join(known)}"
        )
    for key in NORMALISATION:
        if key in given:
            given[key] = _three_numbers(key, given[key])
    return given


def _three_numbers(key: str, value: Any) -> list[float]:
    try:
        numbers = [float(item) for item in value]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 3 or not all(math.isfinite(item) for item in numbers):
        raise SettingsError(
            f"{key} is {value!r}; give three numbers on the scale 0 to 1, e.g. [0.5, 0.5, 0.5]"
        )
    if key == "std" and min(numbers) <= 0:
        raise SettingsError(f"std is {value!r}; choose three numbers above 0")
    return numbers
