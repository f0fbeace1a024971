"""What a product is to the generator, and what a rendered image carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .camera import Studio
from .surface import Surface

Family = Literal["structural", "contamination", "logical"]


@dataclass(frozen=True)
class DefectInfo:
    """A defect a product can have: its name (also its folder) and its family."""

    name: str
    family: Family


@dataclass(frozen=True)
class Fault:
    """The defect to paint now, with the random stream that is its alone."""

    name: str
    rng: np.random.Generator


@dataclass(frozen=True)
class Product:
    """One kind of part.

    Attributes:
        name: also the folder of its data set.
        defects: what can be wrong with it.
        studio: how it is lit.
        compose: paints the unlit canvas of the given side from the scene stream; a fault may
            change the result but never the number or order of draws from the scene stream.
    """

    name: str
    defects: tuple[DefectInfo, ...]
    studio: Studio
    compose: Callable[[np.random.Generator, Fault | None, int], Surface]


@dataclass(frozen=True)
class Rendered:
    """One made image with its ground truth.

    Attributes:
        image: (size, size, 3) uint8 RGB.
        mask: (size, size) uint8, 255 where the defect changed the part, else 0.
        defect: the defect's name, or None for a good part.
        family: the defect's family, or None for a good part.
    """

    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8]
    defect: str | None
    family: Family | None
