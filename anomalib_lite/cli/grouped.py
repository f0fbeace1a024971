"""Options in small dataclasses: a command takes a group, its fields are the options of one panel.

    @dataclass(frozen=True, kw_only=True)
    class Frames:
        panel: ClassVar[str] = "Frames"
        image_size: Annotated[str, typer.Option(help="What the network sees.")] = "256"

    @grouped
    def fit(source: ..., frames: Frames) -> None: ...

A group is written once and is the same in every command that takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, Field, fields, is_dataclass
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, get_args, get_type_hints

from typer.models import OptionInfo


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with flat options, as typer reads them; what typer finds is put in groups."""
    hints = get_type_hints(command, include_extras=True)
    own = signature(command).parameters
    groups = {name: hints[name] for name in own if is_dataclass(hints[name])}
    flat: list[Parameter] = []
    for name, parameter in own.items():
        if name in groups:
            flat += _options(groups[name])
        else:
            flat.append(parameter.replace(annotation=hints[name], kind=Parameter.KEYWORD_ONLY))

    def run(**given: Any) -> None:
        _refuse_empty(flat, given)
        made = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, __name__
    run.__annotations__ = {item.name: item.annotation for item in flat}
    run.__signature__ = Signature(flat)  # type: ignore[attr-defined]
    return run


def option_names(command: Callable[..., None]) -> set[str]:
    """Names of all options and arguments of a command."""
    return set(signature(command).parameters)


def _refuse_empty(options: list[Parameter], given: dict[str, Any]) -> None:
    """An empty text comes from a variable that is not set; as a path it would be this folder."""
    for option in options:
        value = given[option.name]
        empty = "" in value if isinstance(value, list) else value == ""
        if empty and value != option.default:
            from anomalib_lite.edge.errors import SettingsError

            raise SettingsError(f"{_label(option)} is empty; give a value, or leave it out")


def _label(option: Parameter) -> str:
    info = get_args(option.annotation)[1]
    if not isinstance(info, OptionInfo):
        return option.name.upper()
    named = info.default
    return named if isinstance(named, str) else f"--{option.name.replace('_', '-')}"


def _options(group: type[Any]) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [_option(field, hints[field.name], group.panel) for field in fields(group)]


def _option(field: Field[Any], hint: Any, panel: str) -> Parameter:
    kind, info = get_args(hint)
    info = copy(info)
    if isinstance(info, OptionInfo) and info.rich_help_panel is None:
        info.rich_help_panel = panel
    default = Parameter.empty if field.default is MISSING else field.default
    return Parameter(
        field.name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info]
    )
