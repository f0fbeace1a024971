"""Bounds for documents that others may have written: a table of what each field may be.

Model files travel; what they say is checked before anything is computed or allocated from it. A
few rules by hand, because a validation library would cost an edge box more at start than the model
(pydantic: 127 ms and 17 MB to import; these rules: 0.2 ms for a description of 200 images).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

_LARGEST_INTEGER = 2**63


class Rule(Protocol):
    """What a value may be."""

    def check(self, value: Any, where: str) -> None:
        """Raise `ValueError` that names the place and says what was found and expected."""


@dataclass(frozen=True)
class Number:
    """A finite number within bounds, both included."""

    low: float = -1e300
    high: float = 1e300
    whole: bool = False

    def check(self, value: Any, where: str) -> None:
        """As `Rule.check`."""
        kind = int if self.whole else (int, float)
        # Comparing first keeps integers of thousands of digits away from float().
        if isinstance(value, bool) or not isinstance(value, kind) or not self._within(value):
            words = "a whole number" if self.whole else "a number"
            raise ValueError(
                f"{where} is {_short(value)}, expected {words} from {self.low:g} to {self.high:g}"
            )

    def _within(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Text:
    """Text of bounded length, or one of a few."""

    longest: int = 1000
    choices: tuple[str, ...] = ()

    def check(self, value: Any, where: str) -> None:
        """As `Rule.check`."""
        if not isinstance(value, str):
            raise ValueError(f"{where} is {_short(value)}, expected text")
        if self.choices and value not in self.choices:
            expected = ", ".join(self.choices)
            raise ValueError(f"{where} is {_short(value)}, expected one of {expected}")
        if len(value) > self.longest:
            raise ValueError(
                f"{where} has {len(value)} characters, expected at most {self.longest}"
            )


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def check(self, value: Any, where: str) -> None:
        """As `Rule.check`."""
        if not isinstance(value, bool):
            raise ValueError(f"{where} is {_short(value)}, expected true or false")


@dataclass(frozen=True)
class OrNull:
    """What another rule allows, or null."""

    rule: Rule

    def check(self, value: Any, where: str) -> None:
        """As `Rule.check`."""
        if value is not None:
            self.rule.check(value, where)


@dataclass(frozen=True)
class Many:
    """A list of bounded length whose items follow one rule."""

    item: Rule
    fewest: int = 0
    most: int = 10_000_000

    def check(self, value: Any, where: str) -> None:
        """As `Rule.check`."""
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} is {_short(value)}, expected a list")
        if not self.fewest <= len(value) <= self.most:
            raise ValueError(
                f"{where} has {len(value)} entries, expected {self.fewest} to {self.most}"
            )
        for index, one in enumerate(value):
            self.item.check(one, f"{where}[{index}]")


@dataclass(frozen=True)
class Row:
    """A list with a rule for each place; the last ones may be left out down to `fewest`."""

    items: tuple[Rule, ...]
    fewest: int

    def check(self, value: Any, where: str) -> None:
        """As `Rule.check`."""
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} is {_short(value)}, expected a list")
        if not self.fewest <= len(value) <= len(self.items):
            raise ValueError(
                f"{where} has {len(value)} entries, expected {self.fewest} to {len(self.items)}"
            )
        for index, (one, rule) in enumerate(zip(value, self.items, strict=False)):
            rule.check(one, f"{where}[{index}]")


@dataclass(frozen=True)
class Named:
    """A mapping from any names to values of one rule."""

    value: Rule
    most: int = 1_000_000
    longest_name: int = 4096

    def check(self, value: Any, where: str) -> None:
        """As `Rule.check`."""
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} is {_short(value)}, expected names with values")
        if len(value) > self.most:
            raise ValueError(f"{where} has {len(value)} entries, expected at most {self.most}")
        names = Text(self.longest_name)
        for name, one in value.items():
            names.check(name, f"a name in {where}")
            self.value.check(one, f"{where}.{name}")


@dataclass(frozen=True)
class Plain:
    """Any JSON of bounded depth: what is shown to people and decides nothing."""

    depth: int = 12
    longest: int = 100_000

    def check(self, value: Any, where: str) -> None:
        """As `Rule.check`."""
        if isinstance(value, Mapping | list | tuple):
            if not self.depth:
                raise ValueError(f"{where} is nested too deeply")
            inside = Plain(self.depth - 1, self.longest)
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            for name, one in items:
                inside.check(one, f"{where}.{name}")
        elif isinstance(value, str):
            Text(self.longest).check(value, where)
        elif isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
            raise ValueError(f"{where} is {_short(value)}, expected a number below 2**63")


@dataclass(frozen=True)
class Fields:
    """A mapping with a rule for each known name; further names may hold plain JSON.

    Attributes:
        needed: name -> rule; each must be there.
        optional: name -> rule.
    """

    needed: Mapping[str, Rule] = field(default_factory=dict)
    optional: Mapping[str, Rule] = field(default_factory=dict)

    def check(self, value: Any, where: str) -> None:
        """As `Rule.check`."""
        if not isinstance(value, Mapping):
            raise ValueError(f"{where or 'it'} is {_short(value)}, expected names with values")
        missing = [name for name in self.needed if name not in value]
        if missing:
            raise ValueError(f"{where or 'it'} has no {missing[0]!r}")
        known = {**self.needed, **self.optional}
        for name, one in value.items():
            known.get(name, _ANYTHING).check(one, f"{where}.{name}" if where else str(name))


_ANYTHING = Plain()


def read_json(text: str | bytes) -> Any:
    """Parse JSON; whatever is wrong with it is a `ValueError`."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def _short(value: Any) -> str:
    """A value for a message: never long, never a number too large to print."""
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return "a number of many digits"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping | list | tuple):
        return f"a {'list' if isinstance(value, list | tuple) else 'mapping'} of {len(value)}"
    return repr(value if not isinstance(value, str) else value[:40])
