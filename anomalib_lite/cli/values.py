"""Text of an option -> value, or one line that says how to write it."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from typing import Any

import typer

_MOST_DIGITS = 6


def parse_size(text: str) -> tuple[int, int]:
    """`"256"` -> (256, 256), `"256x320"` -> height 256, width 320; both at least 1.

    Raises:
        SettingsError: anything else.
    """
    from anomalib_lite.edge.errors import SettingsError

    sides = [side.strip() for side in text.lower().split("x")]
    plain = all(side.isascii() and side.isdecimal() for side in sides)
    if not plain or len(sides) > 2 or any(len(side) > _MOST_DIGITS for side in sides):
        raise SettingsError(f"size {text!r} is not understood; write 256 or HxW such as 256x320")
    height, width = int(sides[0]), int(sides[-1])
    if not (height and width):
        raise SettingsError(f"size {text!r} holds no pixel; write 256 or HxW such as 256x320")
    return height, width


def parse_engine_settings(given: list[str] | None) -> dict[str, str] | None:
    """`["device_id=1"]` -> `{"device_id": "1"}`; None for none.

    Raises:
        SettingsError: one is not written so.
    """
    from anomalib_lite.edge.errors import SettingsError

    found: dict[str, str] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise SettingsError(
                f"--engine-option {text!r} is not understood; write NAME=VALUE such as device_id=1"
            )
        found[name.strip()] = value.strip()
    return found or None


def checked_seed(seed: int) -> int:
    """A seed that every random generator takes.

    Raises:
        SettingsError: negative, or beyond 63 bits.
    """
    from anomalib_lite.edge.errors import SettingsError

    if not 0 <= seed < 2**63:
        raise SettingsError(f"--seed {seed}: choose a whole number, 0 to {2**63 - 1}")
    return seed


def checked_minutes(minutes: float | None) -> float | None:
    """A budget of time; None is no budget.

    Raises:
        SettingsError: not above 0, or not finite.
    """
    from anomalib_lite.edge.errors import SettingsError

    if minutes is not None and not 0 < minutes < math.inf:
        raise SettingsError(f"--minutes {minutes}: choose a time above 0")
    return minutes


def checked_megapixels(context: typer.Context, most: float) -> float:
    """The limit of picture sizes, in force for all that is read until the command ends.

    Raises:
        SettingsError: not above 0, or not finite.
    """
    from anomalib_lite.edge.errors import SettingsError
    from anomalib_lite.edge.pictures.file import MAX_MEGAPIXELS, limit_megapixels

    if not 0 < most < math.inf:
        raise SettingsError(f"--max-megapixels {most}: give a number above 0, such as 100")
    limit_megapixels(most)
    context.call_on_close(lambda: limit_megapixels(MAX_MEGAPIXELS))
    return most


def parse_layers(text: str | None) -> list[str] | None:
    """`"layer1,layer2"` -> names; None stays None.

    Raises:
        SettingsError: a name is empty.
    """
    from anomalib_lite.edge.errors import SettingsError

    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise SettingsError(f"layers {text!r}: a name is empty; write them as layer1,layer2")
    return names


def parse_pairs(pairs: list[str]) -> dict[str, Any]:
    """`["sigma=3", "components=low"]` -> settings; values are read as JSON, else as text.

    Raises:
        SettingsError: not of the form name=value, or a name given twice.
    """
    from anomalib_lite.edge.errors import SettingsError

    settings: dict[str, Any] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name.strip() or not value.strip():
            raise SettingsError(f"setting {pair!r} is not understood; write name=value")
        if name in settings:
            raise SettingsError(f"setting {name} is given twice; give it once")
        try:
            settings[name] = json.loads(value)
        except (ValueError, RecursionError):
            settings[name] = value
    return settings


def parse_settings(
    pairs: list[str], detector: str, options: dict[str, Any], taken: Collection[str]
) -> dict[str, Any]:
    """Settings of a detector from `--set` and from options of their own.

    Args:
        pairs: what `--set` says.
        detector: a scorer's name, or several joined by `+`.
        options: option name -> value of those that are settings; None where it was not given.
        taken: names of all options of the command.

    Raises:
        SettingsError: the detector has no such setting; `--set` of what is an option.
    """
    from anomalib_lite.edge.errors import SettingsError
    from anomalib_lite.scorers import check_names, describe_settings

    settings = parse_pairs(pairs)
    for name in sorted(settings.keys() & set(taken)):
        raise SettingsError(f"--set {name}=...: write --{name.replace('_', '-')} instead")
    given = {name: value for name, value in options.items() if value is not None}
    known = describe_settings(detector)
    for name in sorted(given.keys() - {setting.name for setting in known}):
        raise SettingsError(
            f"--{name.replace('_', '-')} is not an option of {detector}; leave it out, or see "
            f"fit --detector {detector} --help"
        )
    check_names(detector, known, settings | given)
    return settings | given
