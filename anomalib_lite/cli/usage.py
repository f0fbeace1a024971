"""A command line that cannot be read -> one line that says what to do."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

_CHOICE = re.compile(r"Invalid value for '?([^':]+)'?: (?:Value error, )?'(.*)' is not one of (.+)")
_INVALID = re.compile(r"Invalid value for '?([^':]+)'?: (?:Value error, )?(.+)")


def usage_line(error: Any) -> str:
    """Typer's complaint in one line; empty where it has printed the help instead."""
    message = one_line(error.format_message()).rstrip(".")
    if not message:
        return ""
    context = getattr(error, "ctx", None)
    where = f"; see {context.command_path} --help" if context else ""
    return f"{_in_words(message)}{where}"


def one_line(text: str) -> str:
    """White space and line ends become single spaces."""
    return " ".join(text.split())


def _in_words(message: str) -> str:
    choice = _CHOICE.fullmatch(message)
    if choice:
        option, value, listed = choice.groups()
        known = re.findall(r"'([^']*)'", listed)
        close = get_close_matches(value.lower(), known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        return f"{option} {value}{hint}: choose one of {', '.join(known)}"
    invalid = _INVALID.fullmatch(message)
    if invalid:
        option, reason = invalid.groups()
        return f"{option}: {reason[0].lower()}{reason[1:]}"
    return f"{message[0].lower()}{message[1:]}"
