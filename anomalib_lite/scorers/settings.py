"""Settings of a scorer: what its constructor takes, in words, and whether given values fit."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from anomalib_lite.edge.errors import SettingsError, did_you_mean

_ENTRY = re.compile(r"^(\w+): (.*)$")
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    NoneType: "null",
}


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        name: as written in `--set name=value`.
        hint: its type annotation.
        default: what it is when nobody names it.
        text: what it does.
    """

    name: str
    hint: Any
    default: Any
    text: str

    @property
    def kind(self) -> str:
        """What may be given, in words."""
        return in_words(self.hint)


def settings_of(scorer: type[Any]) -> list[Setting]:
    """Settings of a scorer class, from its constructor and the `Args:` of its docstring."""
    texts = _argument_texts(inspect.getdoc(scorer) or "")
    hints = get_type_hints(scorer.__init__)
    return [
        Setting(name, hints.get(name, Any), parameter.default, texts.get(name, ""))
        for name, parameter in inspect.signature(scorer).parameters.items()
    ]


def check_names(name: str, settings: Sequence[Setting], given: Mapping[str, Any]) -> None:
    """Refuse settings that a scorer does not have.

    Args:
        name: of the scorer.
        settings: what it has.
        given: setting name -> value.

    Raises:
        SettingsError: says which settings there are.
    """
    known = {setting.name: setting for setting in settings}
    for key in given:
        if key not in known:
            choose = f"choose from {', '.join(known)}" if known else "it has none"
            raise SettingsError(
                f"{name} has no setting {key!r}{did_you_mean(key, known)}; {choose}"
            )


def check_kinds(name: str, settings: Sequence[Setting], given: Mapping[str, Any]) -> None:
    """Refuse values of another kind, where the scorer has no words of its own for them.

    Raises:
        SettingsError: says what may be given.
    """
    known = {setting.name: setting for setting in settings}
    for key, value in given.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise SettingsError(f"{name}: {key} is {value}; give {known[key].kind}")
        if not fits(value, known[key].hint):
            raise SettingsError(f"{name}: {key} is {value!r}; give {known[key].kind}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the annotated type; annotations beyond the plain ones accept all."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in arguments)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in arguments)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Sequence):
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        return listed and all(fits(one, arguments[0]) for one in value)
    if hint in (int, float):
        number = Integral if hint is int else Real
        return isinstance(value, number) and not isinstance(value, bool)
    if hint in _WORDS:
        return isinstance(value, hint)
    return True


def in_words(hint: Any) -> str:
    """`int | None` -> `a whole number or null`, a `Literal` -> its values."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(in_words(one) for one in arguments))
    if origin is Literal:
        return " or ".join(str(one) for one in arguments)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Sequence):
        return "a list such as [1, 2]" if arguments[0] is int else 'a list such as ["a", "b"]'
    return _WORDS.get(hint, "a value")


def _argument_texts(docstring: str) -> dict[str, str]:
    """The entries below `Args:`, each as one line."""
    _, found, below = docstring.partition("Args:\n")
    texts: dict[str, str] = {}
    name = ""
    for line in below.splitlines() if found else ():
        if not line.startswith(" "):
            break
        entry = _ENTRY.match(line.removeprefix("    "))
        if entry:
            name, texts[entry[1]] = entry[1], entry[2]
        elif name and line.strip():
            texts[name] += f" {line.strip()}"
    return texts
