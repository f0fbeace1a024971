"""Defects by the names that a factory gives them, made to measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from anomalib_lite.data.simulate import effects, shapes
from anomalib_lite.data.simulate.effects import FloatImage, Window
from anomalib_lite.edge.errors import SettingsError, did_you_mean

Outline = Callable[[np.random.Generator, float, float], FloatImage]


@dataclass(frozen=True)
class Family:
    """One kind of defect.

    Attributes:
        name: also the folder of its pictures.
        text: what it is, and what its size and contrast mean.
        outline: generator, size, width -> cover.
        effect: what happens under the cover.
        limit: contrast is an upper limit, not what is asked for.
        slenderness: size over width where no width is given; 0 where it has none of its own.
        on_rim: lies on the edge of the part, which must be known.
        margin: pixels of surroundings that the effect looks at, in sizes.
    """

    name: str
    text: str
    outline: Outline
    effect: Callable[[Window], FloatImage]
    limit: bool = False
    slenderness: float = 0.0
    on_rim: bool = False
    margin: float = 0.0


def _compact(rng: np.random.Generator, size: float, width: float) -> FloatImage:
    return shapes.blob(rng, size)


def _soft(rng: np.random.Generator, size: float, width: float) -> FloatImage:
    return shapes.blob(rng, size, softness=max(1.0, size / 8))


def _round(rng: np.random.Generator, size: float, width: float) -> FloatImage:
    return shapes.disc(size)


def _patch(rng: np.random.Generator, size: float, width: float) -> FloatImage:
    """A bar of that area upright or lying, its sides in the ratio 1 to 3.3 as in CutPaste."""
    aspect = float(np.exp(rng.uniform(0, np.log(3.3)))) ** 0.5
    turn = 0.0 if rng.random() < 0.5 else np.pi / 2
    return shapes.rectangle(rng, size * aspect, size / aspect, turn)


def _scar(rng: np.random.Generator, size: float, width: float) -> FloatImage:
    return shapes.rectangle(rng, size, width, float(rng.uniform(-np.pi / 4, np.pi / 4)))


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("spot", "brighter or darker; size: diameter", _compact, effects.mark),
        Family(
            "scratch",
            "a thin line; size: length",
            shapes.line,
            effects.mark,
            slenderness=13,
        ),
        Family("stain", "see-through, with a rim; size: diameter", _soft, effects.stain),
        Family("dent", "lit and shaded flanks; size: diameter", _round, effects.dent),
        Family(
            "crack",
            "jagged, dark, with a twig; size: length",
            shapes.jagged_line,
            effects.dark_mark,
            slenderness=24,
        ),
        Family(
            "chip",
            "a piece of the edge gone; size: diameter of the break",
            _compact,
            effects.chip,
            limit=True,
            on_rim=True,
            margin=0.5,
        ),
        Family(
            "missing",
            "painted over with its surroundings; size: diameter",
            _compact,
            effects.missing,
            limit=True,
            margin=0.75,
        ),
        Family(
            "doubled",
            "another place of the picture once more; size: diameter",
            _compact,
            effects.doubled,
            limit=True,
        ),
        Family(
            "blur",
            "out of focus; size: diameter",
            _compact,
            effects.blur,
            limit=True,
            margin=0.5,
        ),
        Family("colour", "another colour; size: diameter", _soft, effects.colour_shift),
        Family("foreign", "an opaque body; size: diameter", _compact, effects.foreign_body),
        Family(
            "cutpaste",
            "a rectangle from elsewhere (CutPaste); size: side of its area",
            _patch,
            effects.cut_and_paste,
            limit=True,
        ),
        Family(
            "scar",
            "a thin bar from elsewhere (CutPaste scar); size: length",
            _scar,
            effects.cut_and_paste,
            limit=True,
            slenderness=3,
        ),
    )
}
"""Every family by name."""

PLAIN_KINDS = tuple(name for name in FAMILIES if name not in ("cutpaste", "scar"))
"""Those that a factory names; the others are CutPaste's."""


def family_named(name: str) -> Family:
    """The family of that name.

    Raises:
        SettingsError: there is none.
    """
    if name not in FAMILIES:
        raise SettingsError(
            f"no kind of defect is called {name!r}{did_you_mean(name, FAMILIES)}; choose from "
            f"{', '.join(FAMILIES)}"
        )
    return FAMILIES[name]
