"""`--detector NAME --help`: options and settings that only this detector has.

The plain help leaves them out, and loads no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    from anomalib_lite.scorers import Setting

_ASKED = "anomalib_lite.detector"
_OF_ONE_KIND = frozenset({"size", "width", "steps", "minutes", "resume"})
_WITH_STEPS = "resume"


class DetectorCommand(TyperCommand):
    """A command with `--detector`, whose help knows the detector that is named with it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[_ASKED] = named_detector(args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        name = ctx.meta.get(_ASKED)
        settings = _settings_of(name) if name else []
        options = {setting.name for setting in settings} & _OF_ONE_KIND
        if "steps" in options:
            options.add(_WITH_STEPS)
        with self._showing(options):
            super().format_help(ctx, formatter)
        if name:
            _print_settings(name, [item for item in settings if item.name not in options])

    @contextmanager
    def _showing(self, options: set[str]) -> Iterator[None]:
        """Hide the options of training detectors but these; audits keep their own `--resume`."""
        hidden: list[Any] = [
            param
            for param in self.params
            if getattr(param, "rich_help_panel", None) == "Training"
            and param.name in _OF_ONE_KIND - options
        ]
        for param in hidden:
            param.hidden = True
        try:
            yield
        finally:
            for param in hidden:
                param.hidden = False


def named_detector(args: list[str]) -> str | None:
    """The value of the last `--detector` in a command line that may be incomplete."""
    found = None
    for position, word in enumerate(args):
        if word.startswith("--detector="):
            found = word.partition("=")[2]
        elif word == "--detector" and position + 1 < len(args):
            found = args[position + 1]
    return found if found and not found.startswith("-") else None


def _settings_of(name: str) -> list[Setting]:
    from anomalib_lite.scorers import describe_settings

    return describe_settings(name)


def _print_settings(name: str, settings: list[Setting]) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for style in ("bold cyan", "", ""):
        table.add_column(style=style, overflow="fold")
    table.columns[0].no_wrap = True
    for setting in settings:
        table.add_row(
            Text(setting.name),
            Text(json.dumps(setting.default).strip('"')),
            Text(setting.text.replace("`", "")),
        )
    if not settings:
        table.add_row(Text(f"{name} has none"), Text(""), Text(""))
    title = f"Settings of {name}: --set NAME=VALUE (name, default, what it does)"
    Console().print(Panel(table, title=title, title_align="left", border_style="dim"))
