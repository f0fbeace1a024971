"""How `a+b` is taken apart into members and their settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.base import Scorer
from anomalib_lite.scorers.fusion.fusion import SEPARATOR, Fusion


def settings_by_member(
    name: str, settings: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Split the settings of `"a+b"` into those of the fusion and those of each member.

    Args:
        name: member names joined by `+`, e.g. `"patchcore+mvg"`.
        settings: `trust`, and settings of the members as `member.setting`, e.g. `mvg.components`.

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
        if key == "trust":
            own[key] = value
        elif dot and part in of_member:
            of_member[part][setting] = value
        else:
            raise SettingsError(
                f"{name} has no setting {key!r}; choose trust, or a setting of a part such as "
                f"{names[0]}.{setting or part}"
            )
    return own, of_member


def create_fusion(members: Sequence[Scorer], **own: Any) -> Fusion:
    """A fusion of members.

    Args:
        members: two or more scorers.
        own: settings of the fusion itself (`trust`).
    """
    return Fusion(members, **own)
