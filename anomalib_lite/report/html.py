"""A tiny HTML writer that escapes everything: file names come from cameras and strangers."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TypeAlias

# Control characters, and the marks that turn text around: a name must look like what it is.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_VOID = frozenset({"br", "col", "hr", "img", "link", "meta"})


class Markup(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"
Attribute: TypeAlias = "str | int | float | bool | None"


def clean(text: str) -> str:
    """Text that can be written as UTF-8, with characters nobody can see made visible."""
    return _UNSEEN.sub("\ufffd", text.encode("utf-8", "replace").decode("utf-8"))


def escape(text: str) -> Markup:
    """Any text, safe inside an element or a quoted attribute."""
    return Markup(html.escape(clean(text), quote=True))


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """One element; children are escaped unless they are `Markup`.

    Args:
        name: element name.
        children: text, markup, or iterables of them; None is left out.
        attributes: `class_` becomes `class` and `aria_label` becomes `aria-label`; None and False
            leave the attribute out, True writes its name alone.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """Children one after the other, escaped unless they are `Markup`."""
    return Markup("".join(_text(child) for child in children))


def shorten(text: str, most: int = 120) -> str:
    """Text of at most `most` characters; the middle of a longer one is left out."""
    if len(text) <= most:
        return text
    tail = (most - 1) * 2 // 3
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"


def _text(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, (str, int)):
        return escape(str(child))
    return join(child)


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = number(value) if isinstance(value, float) else escape(str(value))
    return f' {name}="{text}"'


def number(value: float) -> str:
    """A coordinate: at most two decimals, no trailing zeros, never `-0`."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
