"""How `a+b` is taken apart into members and their settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.base import Scorer
from anomalib_lite.scorers.fusion.fusion import SEPARATOR, Fusion

_LAYERS = "layers"
_OWN = ("trust", "rule")


def settings_by_member(
    name: str, settings: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Split the settings of `"a+b"` into those of the fusion and those of each member.

    Args:
        name: member names joined by `+`, e.g. `"patchcore+mvg"`.
        settings: `trust`, `rule`, and settings of the members as `member.setting`, e.g.
            `mvg.components`; `member.layers` are the layers it sees, a list or text with commas.

    Raises:
        SettingsError: a member without a name, one given twice, a setting that belongs to none.
    """
    names = [part.strip() for part in name.split(SEPARATOR)]
    if not all(names) or len(set(names)) < len(names):
        raise SettingsError(f"detector {name!r}: join two or more different names by {SEPARATOR}")
    of_member: dict[str, dict[str, Any]] = {part: {} for part in names}
    own: dict[str, Any] = {}
    for key, value in settings.items():
        part, dot, setting = key.partition(".")
        if key in _OWN:
            own[key] = value
        elif dot and part in of_member and setting == _LAYERS:
            own.setdefault(_LAYERS, {})[part] = layer_names(key, value)
        elif dot and part in of_member:
            of_member[part][setting] = value
        else:
            raise SettingsError(
                f"{name} has no setting {key!r}; choose trust, rule, or a setting of a part, such "
                f"as {names[0]}.{setting or part}"
            )
    return own, of_member


def layer_names(key: str, value: Any) -> list[str]:
    """Names of layers as a setting gives them; raises `SettingsError` for anything else."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not names or not all(map(_is_name, names)):
        raise SettingsError(f"{key} is {value!r}; name layers, e.g. layer2,layer3")
    return [name.strip() for name in names]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def create_fusion(members: Sequence[Scorer], **own: Any) -> Fusion:
    """A fusion of members.

    Args:
        members: two or more scorers.
        own: settings of the fusion itself (`trust`, `rule`, `layers`).
    """
    return Fusion(members, **own)
