"""Trials: one defect of a chosen size on one photograph, found or missed at the threshold."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.simulate.families import Family
from anomalib_lite.data.simulate.made import DefectRequest, put_defect
from anomalib_lite.data.simulate.textures import TextureBank
from anomalib_lite.edge.errors import FrameError, SettingsError
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.runs.scoring import Model, predict_frames
from anomalib_lite.evaluation.pod.photographs import Photograph

_BATCH = 8


@dataclass(frozen=True)
class Trial:
    """One defect.

    Attributes:
        size: pixels of the frame.
        hit: whether the photograph was rejected with it.
        photograph: index among those that take part.
        place_yx: its middle, shares of height and width.
    """

    size: float
    hit: bool
    photograph: int
    place_yx: tuple[float, float]


@dataclass(eq=False)
class Bench:
    """Puts defects of one family and contrast on photographs, and asks the model.

    Attributes:
        model: judges at its own threshold.
        photographs: take turns.
        family: what is put on them.
        contrast: grey levels; None is as strong as the picture makes it.
        seed: with the number of a trial, draws its shape and place.
        textures: what foreign bodies look like.
        until: monotonic time after which no batch is begun; None is no limit.
        trials: made so far.
        refused: sizes that did not fit a photograph, and why.
    """

    model: Model
    photographs: Sequence[Photograph]
    family: Family
    contrast: float | None
    seed: int
    textures: TextureBank | None = None
    until: float | None = None
    trials: list[Trial] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _asked: int = 0

    def largest(self) -> float:
        """Size that most photographs can still hold, pixels."""
        reach = []
        for item in self.photographs:
            inscribed = 2 * float(item.part.depth.max()) - 1
            slender = self.family.slenderness > 4
            reach.append(0.8 * max(item.part.extent_hw) if slender else 0.8 * inscribed)
        return float(np.quantile(reach, 0.25))

    def run(self, sizes: Sequence[float]) -> None:
        """One trial for each size, a photograph each in turn."""
        made: list[tuple[float, int, tuple[float, float], Frame]] = []
        for size in sizes:
            if self.until is not None and time.monotonic() > self.until:
                break
            one = self._made(size)
            if one is not None:
                made.append(one)
            if len(made) == _BATCH:
                self._judge(made)
                made = []
        self._judge(made)

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
        """Size, hit and photograph of the trials, `(n,)` each."""
        return (
            np.array([trial.size for trial in self.trials]),
            np.array([trial.hit for trial in self.trials], bool),
            np.array([trial.photograph for trial in self.trials], np.int64),
        )

    def _made(self, size: float) -> tuple[float, int, tuple[float, float], Frame] | None:
        number, self._asked = self._asked, self._asked + 1
        index = number % len(self.photographs)
        item = self.photographs[index]
        # The family's name is part of the seed, so that families are not put on the same places.
        rng = np.random.default_rng([self.seed, *self.family.name.encode(), number])
        request = DefectRequest(kind=self.family.name, size=size, contrast=self.contrast)
        try:
            defect = put_defect(item.frame, request, rng, part=item.part, textures=self.textures)
        except SettingsError as error:
            self.refused.append(str(error))
            return None
        height, width = item.frame.shape[:2]
        place = ((defect.place[0] + 0.5) / height, (defect.place[1] + 0.5) / width)
        return size, index, place, defect.frame

    def _judge(self, made: list[tuple[float, int, tuple[float, float], Frame]]) -> None:
        if not made:
            return
        try:
            found = predict_frames(self.model, [frame for *_, frame in made])
        except FrameError as error:
            raise SettingsError(f"photographs cannot be judged together: {error}") from error
        for (size, index, place, _), verdict in zip(made, found, strict=True):
            self.trials.append(Trial(size, verdict.is_anomalous, index, place))
