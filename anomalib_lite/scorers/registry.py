"""Scorers by name: a scorer registers itself, `a+b` is handed to fusion.

Another package adds scorers by an entry point of the group `anomalib_lite.scorers` that names the
class, or a module that registers it (docs/methods/own.md).
"""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from anomalib_lite.edge.errors import SettingsError, did_you_mean
from anomalib_lite.edge.plain import plain
from anomalib_lite.scorers.base import Scorer
from anomalib_lite.scorers.fusion.create import create_fusion, settings_by_member
from anomalib_lite.scorers.fusion.fusion import SEPARATOR, Fusion
from anomalib_lite.scorers.settings import Setting, check_kinds, check_names, settings_of

_FAMILIES = "anomalib_lite.scorers"
_REGISTRY: dict[str, type[Scorer]] = {}
_UNLOADED: dict[str, str] = {}
"""Entry points of other packages that could not be loaded, and why."""


def register_scorer(scorer: type[Scorer]) -> type[Scorer]:
    """Class decorator: make a scorer known by its `name`.

    Raises:
        SettingsError: another scorer has that name, or it is none.
    """
    name = getattr(scorer, "name", "")
    if not name or SEPARATOR in name:
        raise SettingsError(f"{scorer.__qualname__}: {name!r} is no name for a scorer")
    known = _REGISTRY.get(name)
    if known is not None and _origin(known) != _origin(scorer):
        raise SettingsError(f"{_origin(scorer)}: {_origin(known)} is called {name!r} already")
    _REGISTRY[name] = scorer
    return scorer


def _origin(scorer: type[Scorer]) -> str:
    return f"{scorer.__module__}.{scorer.__qualname__}"


def create_scorer(name: str, /, **settings: Any) -> Scorer:
    """Build a scorer by name, or several joined by `+` (`"patchcore+mvg"`).

    Raises:
        SettingsError: an unknown name or setting.
    """
    name, settings = str(plain(name)), plain(settings)
    if SEPARATOR in name:
        own, of_member = settings_by_member(name, settings)
        members = [create_scorer(member, **given) for member, given in of_member.items()]
        return create_fusion(members, **own)
    scorer = _scorer_class(name)
    known = settings_of(scorer)
    check_names(name, known, settings)
    try:
        made = scorer(**settings)
        check_kinds(name, known, settings)
        return made
    except TypeError as error:
        check_kinds(name, known, settings)
        raise SettingsError(f"{name}: {str(error).split('() ')[-1]}") from error


def describe_settings(name: str) -> list[Setting]:
    """Settings of a scorer, in the order of its constructor; of `a+b` those of both, as `a.name`.

    Raises:
        SettingsError: an unknown name.
    """
    if SEPARATOR not in name:
        return settings_of(_scorer_class(name))
    _, of_member = settings_by_member(name, {})
    own = [setting for setting in settings_of(Fusion) if setting.name != "members"]
    parts = [
        replace(setting, name=f"{member}.{setting.name}")
        for member in of_member
        for setting in describe_settings(member)
    ]
    return own + parts


def _scorer_class(name: str) -> type[Scorer]:
    _import_families()
    if name not in _REGISTRY:
        known = list_scorers()
        missing = "".join(f"; {entry}: {why}" for entry, why in _UNLOADED.items())
        raise SettingsError(
            f"unknown detector {name!r}{did_you_mean(name, known)}; "
            f"choose from {', '.join(known)}{missing}"
        )
    return _REGISTRY[name]


def settings_from_file(name: str, saved: dict[str, Any]) -> dict[str, Any]:
    """Settings of a scorer that was saved, older ones completed: they mean what they meant then.

    Args:
        name: as for `create_scorer`.
        saved: `Scorer.settings()` of that time.
    """
    _import_families()
    before: dict[str, Any] = dict(Fusion.settings_before) if SEPARATOR in name else {}
    members = name.split(SEPARATOR)
    for member in members:
        known = _REGISTRY[member].settings_before if member in _REGISTRY else {}
        prefix = f"{member}." if len(members) > 1 else ""
        before.update({f"{prefix}{key}": value for key, value in known.items()})
    return {**before, **saved}


def list_scorers() -> list[str]:
    """Names of all scorers."""
    _import_families()
    return sorted(_REGISTRY)


def scorers_with(ability: type) -> list[str]:
    """Names of the scorers that have an ability, asked of instances with default settings."""
    able = []
    for name in list_scorers():
        try:
            scorer = create_scorer(name)
        except SettingsError:
            continue
        if scorer.can(ability):
            able.append(name)
    return able


@cache
def _import_families() -> None:
    """Import every module of every family folder: a new scorer is found by being there."""
    folder = Path(__file__).parent
    for family in sorted(
        item.name for item in folder.iterdir() if (item / "__init__.py").is_file()
    ):
        for module in pkgutil.iter_modules([str(folder / family)]):
            import_module(f"{_FAMILIES}.{family}.{module.name}")
    for entry in entry_points(group=_FAMILIES):
        try:
            found = entry.load()
            if isinstance(found, type) and issubclass(found, Scorer):
                register_scorer(found)
        except Exception as error:  # somebody else's code must not take our scorers away
            _UNLOADED[f"entry point {entry.name}"] = f"{type(error).__name__}: {error}"
