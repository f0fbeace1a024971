"""The production report: frames without labels, collected while they stream by.

Memory: 8 bytes a frame for its score, and a bounded number of pictures, names and reasons.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.prediction import Prediction
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.runs.run_record import Judge
from anomalib_lite.edge.runs.scoring import Model, ScoredFrame
from anomalib_lite.report.explain import PairPicture
from anomalib_lite.report.pictures import Highest, Picture, make_picture

MOST_PICTURES = 24
"""Rejected frames with a picture: the highest scores."""

MOST_ACCEPTED = 8
"""Accepted frames with a picture: the highest scores, where an undetected defect would be."""

_MOST_NAMES = 200
_MOST_UNREADABLE = 200


@dataclass(frozen=True, eq=False)
class JudgedFrame:
    """A frame worth looking at; `picture` is None for those that are only named.

    `pairs` hold, where an explanation was asked for, its first region beside
    the nearest good patch.
    """

    name: str
    score: float
    p_value: float
    regions: int
    is_anomalous: bool
    picture: Picture | None = None
    pairs: tuple[PairPicture, ...] = ()


class ProductionReport:
    """Collects what the report shows; `add` every scored frame, then `write_production`.

    Args:
        calibration: threshold and scores of good images.
        spec: the input declaration.
        source: what is judged, in words.
        model: what judges, in words.
        provenance: facts about the model, shown as a table.
    """

    def __init__(
        self,
        calibration: Calibration,
        spec: InputSpec,
        *,
        source: str,
        model: str,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.calibration = calibration
        self.spec = spec
        self.source = source
        self.model = model
        self.provenance: Mapping[str, Any] = provenance or {}
        self.unreadable: dict[str, str] = {}
        self.unreadable_count = 0
        self.rejected_count = 0
        self._scores = array("d")
        self._pictured: Highest[JudgedFrame] = Highest(MOST_PICTURES)
        self._accepted: Highest[JudgedFrame] = Highest(MOST_ACCEPTED)
        self._named: Highest[JudgedFrame] = Highest(_MOST_NAMES)

    def add(self, item: ScoredFrame, pairs: Sequence[PairPicture] = ()) -> None:
        """Take one frame's outcome, and its explanation; the frame itself is not kept."""
        prediction = item.prediction
        if prediction is None:
            self.unreadable_count += 1
            if len(self.unreadable) < _MOST_UNREADABLE:
                self.unreadable[item.name] = item.error
            return
        self._scores.append(prediction.score)

        def pictured() -> JudgedFrame:
            picture = self._picture(item.frame, prediction)
            return _judged(item.name, prediction, picture, tuple(pairs[:1]))

        if not prediction.is_anomalous:
            self._accepted.offer(prediction.score, pictured)
            return
        self.rejected_count += 1
        self._named.offer(prediction.score, lambda: _judged(item.name, prediction, None))
        self._pictured.offer(prediction.score, pictured)

    @property
    def scores(self) -> NDArray[np.float64]:
        """Scores of all judged frames `(n,)`, in order of arrival."""
        return np.frombuffer(self._scores, np.float64) if self._scores else np.zeros(0)

    @property
    def pictured(self) -> list[JudgedFrame]:
        """Rejected frames with the highest scores, with pictures, highest first."""
        return self._pictured.items()

    @property
    def accepted(self) -> list[JudgedFrame]:
        """Accepted frames with the highest scores, with pictures, highest first."""
        return self._accepted.items()

    @property
    def named(self) -> list[JudgedFrame]:
        """The rejected frames that follow, highest first."""
        return self._named.items()[MOST_PICTURES:]

    def _picture(self, frame: Frame | None, prediction: Prediction) -> Picture | None:
        if frame is None:
            return None
        return make_picture(
            frame,
            prediction.network_map,
            spec=self.spec,
            colours=self.calibration.colours,
        )


def production_report(judge: Judge, model: Model, source: str) -> ProductionReport:
    """An empty production report that knows its model."""
    calibration, about = judge.calibration, judge.about
    return ProductionReport(
        calibration,
        model.spec,
        source=source,
        model=f"{about['detector']['name']} on {about['backbone']['name']}"
        + (f" ({model.protocol})" if model.protocol else ""),
        provenance={
            "file": str(judge.file),
            "file sha256": judge.sha256,
            **({"product": judge.product} if judge.product is not None else {}),
            "threshold": calibration.threshold,
            "map threshold": calibration.map_threshold,
            "false rejects": calibration.operating.explain(),
            "calibration": calibration.method,
            **about,
        },
    )


def _judged(
    name: str,
    prediction: Prediction,
    picture: Picture | None,
    pairs: tuple[PairPicture, ...] = (),
) -> JudgedFrame:
    return JudgedFrame(
        name,
        prediction.score,
        prediction.p_value,
        len(prediction.regions),
        prediction.is_anomalous,
        picture,
        pairs,
    )
