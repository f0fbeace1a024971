"""What a study found: figures, and words that say what was not reached.

Pages and files are made of it; it knows neither models nor how trials are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.simulate.families import FAMILIES
from anomalib_lite.statistics.hit_miss import HitMissCurve

if TYPE_CHECKING:
    from anomalib_lite.evaluation.pod.photographs import Photographs
    from anomalib_lite.evaluation.pod.trials import Trial

PROMISE = (
    "Measured on simulated defects, on these good images, at this threshold: it says how small "
    "such a defect may be, not that real ones of that size are found. Real defects differ in edge, "
    "light and place; acceptance takes real or artificial ones on real parts."
)

_ENOUGH_TO_PROMISE = 29  # hits without a miss that show 90 % with 95 % confidence


@dataclass(frozen=True, eq=False)
class FamilyResult:
    """What a study found of one family at one contrast.

    Attributes:
        kind: name of the family.
        contrast: grey levels; None where the picture itself sets it.
        trials: all of them.
        curve: fitted to them.
        refused: trials that did not fit the part.
    """

    kind: str
    contrast: float | None
    trials: list[Trial]
    curve: HitMissCurve
    refused: int = 0

    @property
    def tried(self) -> tuple[float, float]:
        """Smallest and largest size, pixels."""
        sizes = [trial.size for trial in self.trials]
        return min(sizes), max(sizes)

    @property
    def hits(self) -> int:
        """Trials that were found."""
        return sum(trial.hit for trial in self.trials)

    @property
    def a50(self) -> float | None:
        """Size found in half of the trials, pixels; None outside the sizes tried."""
        return self._inside(self.curve.size_at(0.5))

    @property
    def a90(self) -> float | None:
        """Size found in nine of ten, pixels; None where it is not reached."""
        return self._inside(self.curve.size_at(0.9))

    @property
    def a90_95(self) -> float | None:
        """Its upper 95 % bound, pixels; None where there is none."""
        return None if self.a90 is None else self.curve.upper_size_at(0.9)

    def _inside(self, size: float | None) -> float | None:
        """A curve says nothing about sizes that nobody tried."""
        low, high = self.tried
        return None if size is None or not 0.5 * low <= size <= high else size

    @property
    def slenderness(self) -> float:
        """Length over width of its lines; 0 for compact ones."""
        return FAMILIES[self.kind].slenderness

    def size_words(self, size: float | None, mm_per_pixel: float | None = None) -> str:
        """A size with its unit: `9.1 px`, `3.1 x 40 px (0.16 x 2 mm)`; a dash for none."""
        if size is None:
            return "–"
        sides = [size]
        if self.slenderness:
            sides = [max(1.0, size / self.slenderness), size]
        pixels = " x ".join(f"{side:.3g}" for side in sides) + " px"
        if mm_per_pixel is None:
            return pixels
        return pixels + " (" + " x ".join(f"{side * mm_per_pixel:.2g}" for side in sides) + " mm)"

    def verdict(self, mm_per_pixel: float | None = None) -> str:
        """One line: what is found in nine of ten cases, or why that cannot be said."""
        count, low, high = len(self.trials), *self.tried
        tried = f"{low:.3g} to {high:.3g} px"
        standing = self.curve.standing
        if standing == "all found":
            enough = self.hits == count >= _ENOUGH_TO_PROMISE
            shown = " (90 % is shown with 95 % confidence)" if enough else ""
            return f"all {count} found, {tried}{shown}; smaller ones were not tried"
        if standing == "none found":
            return f"a90 is not reached: none of {count} was found, {tried}"
        if standing == "flat":
            return (
                f"a90 is not reached: {self.hits} of {count} were found, and size makes no "
                f"difference, {tried}"
            )
        if self.a90 is None:
            return f"a90 is not reached: {self.hits} of {count} were found, {tried}"
        bound = self.size_words(self.a90_95, mm_per_pixel)
        ending = f"at most {bound} with 95 % confidence" if self.a90_95 else "no upper bound"
        said = f"90 % are found from {self.size_words(self.a90, mm_per_pixel)} on, {ending}"
        if standing == "separated":
            said += "; hits and misses do not overlap, so the slope is not known: try more sizes"
        return said


@dataclass(frozen=True, eq=False)
class PodStudy:
    """All families of a study.

    Attributes:
        families: results, in the order asked for.
        photographs: what they were made on.
        left_out: kind -> why it could not be tried.
        mm_per_pixel: of the frames; None where it was not said.
        promise: what such a study can and cannot say.
    """

    families: list[FamilyResult]
    photographs: Photographs
    left_out: dict[str, str] = field(default_factory=dict)
    mm_per_pixel: float | None = None
    promise: ClassVar[str] = PROMISE

    def blind_map(self, cells: int = 16) -> NDArray[np.float64]:
        """How much more often small defects are missed than their size explains, `(cells, cells)`.

        Over the picture, from top left; 0.3 means that of ten defects three more are missed than
        elsewhere. A few trials cannot show much: each cell is drawn towards 0 as by three trials.
        """
        places, excess = [], []
        for result in self.families:
            if not result.curve.usable:
                continue
            expected = result.curve.probability(np.array([trial.size for trial in result.trials]))
            for trial, chance in zip(result.trials, expected, strict=True):
                places.append(trial.place_yx)
                excess.append(chance - trial.hit)
        if not places:
            return np.zeros((cells, cells))
        centres = (np.arange(cells) + 0.5) / cells
        y, x = np.array(places).T
        near_y = np.exp(-0.5 * ((centres[:, None] - y) / 0.07) ** 2)
        near_x = np.exp(-0.5 * ((centres[:, None] - x) / 0.07) ** 2)
        summed = (near_y * np.array(excess)) @ near_x.T
        grid: NDArray[np.float64] = summed / (near_y @ near_x.T + 3.0)
        return grid
