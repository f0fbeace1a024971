"""The one place where settings of the usual scientific types become plain Python.

Who computes a setting has it as a numpy number, a tensor, a `Path`, a tuple; files hold plain JSON.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from anomalib_lite.edge.foreign import is_torch_tensor


def plain(value: Any) -> Any:
    """Plain JSON types: `bool`, `int`, `float`, `str`, `None`, lists and dicts of them.

    A number in half or single precision becomes the decimal that it prints as: `float32(0.01)` is
    meant to be 0.01. What has no plain form stays, for the check of the setting to refuse.
    """
    if is_torch_tensor(value):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        value = value[()] if value.ndim == 0 else list(value)
    if isinstance(value, np.floating):
        return float(str(value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (Decimal, Fraction)):
        return float(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (list, tuple, range)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    return value


def plain_fields(settings: Any) -> None:
    """Make the fields of a frozen dataclass plain, in its `__post_init__`.

    Tuples stay tuples, and paths stay paths.
    """
    for field in fields(settings):
        given = getattr(settings, field.name)
        if not isinstance(given, os.PathLike):
            value = plain(given)
            object.__setattr__(
                settings, field.name, tuple(value) if isinstance(given, tuple) else value
            )


def is_number(value: Any) -> bool:
    """Whether it is a plain number and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether it is a plain whole number and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)
