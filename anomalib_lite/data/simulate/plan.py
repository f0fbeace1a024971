"""Which defects a set is to hold: kinds, ranges of sizes and contrasts, and one draw of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomalib_lite.data.simulate.families import FAMILIES, family_named
from anomalib_lite.data.simulate.made import DefectRequest, MadeDefect, put_defect, put_texture
from anomalib_lite.data.simulate.part_mask import Part
from anomalib_lite.data.simulate.textures import TextureBank
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.frames import Frame

PERLIN = "perlin"
KINDS = (*FAMILIES, PERLIN)
"""All that can be asked for by name."""

Range = tuple[float, float]

_SIZE_SHARE = (0.03, 0.25)  # of the side of a square as large as the part
_LEAST_SIZE = 3.0
_CONTRAST: Range = (20.0, 80.0)
_SHRINK, _TRIES = 0.6, 6
_UNITS = {"size": "pixels", "contrast": "grey levels", "width": "pixels"}


@dataclass(frozen=True, kw_only=True)
class DefectPlan:
    """What a set is made of.

    Attributes:
        kinds: names of families, or `perlin`, in turn.
        size: least and largest, pixels; None follows the part.
        contrast: least and largest, grey levels of 255; None is 20 to 80, and as strong as the
            picture makes it for kinds whose contrast is a limit.
        width: of scratches, cracks and scars; None follows the size.

    Raises:
        SettingsError: an unknown kind, or a range upside down or out of bounds.
    """

    kinds: tuple[str, ...]
    size: Range | None = None
    contrast: Range | None = None
    width: float | None = None

    def __post_init__(self) -> None:
        if not self.kinds:
            raise SettingsError("no kind of defect is named")
        for name in self.kinds:
            if name != PERLIN:
                family_named(name)
        if set(self.kinds) == {PERLIN} and (self.size or self.contrast or self.width):
            raise SettingsError("perlin masks have sizes and contrasts of their own; give none")
        _check("size", self.size, 1, np.inf)
        _check("contrast", self.contrast, 1, 255)
        if self.width is not None:
            _check("width", (self.width, self.width), 1, np.inf)
            if not any(FAMILIES[name].slenderness for name in self.kinds if name != PERLIN):
                raise SettingsError(
                    f"width {self.width:g}: only scratches, cracks and scars have one; leave "
                    "it out, or name such a kind"
                )

    def draw(
        self,
        kind: str,
        frame: Frame,
        part: Part,
        rng: np.random.Generator,
        textures: TextureBank,
    ) -> tuple[MadeDefect, DefectRequest | None]:
        """One defect of that kind in a good frame, and what was asked for; None for perlin.

        Raises:
            SettingsError: it does not fit the part, or changes nothing.
        """
        if kind == PERLIN:
            return put_texture(frame, rng, textures, part=part), None
        for attempt in range(_TRIES):
            request = self._request(kind, part, rng, _SHRINK**attempt)
            try:
                made = put_defect(frame, request, rng, part=part, textures=textures)
            except SettingsError:
                if self.size is not None or attempt == _TRIES - 1:
                    raise
            else:
                return made, request
        raise AssertionError  # the last attempt returns or raises

    def _request(
        self, kind: str, part: Part, rng: np.random.Generator, shrink: float
    ) -> DefectRequest:
        family = FAMILIES[kind]
        low, high = self.size or tuple(
            max(_LEAST_SIZE, share * part.side * shrink) for share in _SIZE_SHARE
        )
        size = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        contrast = self.contrast or (None if family.limit else _CONTRAST)
        strength = None if contrast is None else float(rng.uniform(*contrast))
        width = None if self.width is None or not family.slenderness else min(self.width, size)
        return DefectRequest(kind=kind, size=size, contrast=strength, width=width)


def _check(name: str, limits: Range | None, least: float, most: float) -> None:
    if limits is None:
        return
    low, high = limits
    said = f"{name} {low:g}" if low == high else f"{name} {low:g}..{high:g}"
    if low > high:
        raise SettingsError(f"{said}: the smaller one comes first; write {high:g}..{low:g}")
    if not (least <= low and high <= most and np.isfinite(high)):
        upper = " or more" if np.isinf(most) else f" to {most:g}"
        raise SettingsError(f"{said}: choose {_UNITS[name]} of {least:g}{upper}")
