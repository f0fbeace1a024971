"""Which good images a threshold rests on: one odd picture can decide how many defects pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from anomalib_lite.detector.training_record import FittedData, ImageRecord
from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.promise import percent

_SHOWN = 3
_NOTABLE = 0.05
_OTHER_RATE = 0.05


class Resting(NamedTuple):
    """The good images with the highest held-out scores, and what the threshold is without them.

    Attributes:
        record: the image.
        without: threshold if it, and what shows the same, were not there.
    """

    record: ImageRecord
    without: float

    @property
    def name(self) -> str:
        """What its source called it, or the start of its id in files of earlier versions."""
        return self.record.name or self.record.id[:12]


def rests_on(data: FittedData, calibration: Calibration, most: int = _SHOWN) -> list[Resting]:
    """The calibration images at or above the threshold, highest first, then the next below.

    Args:
        data: what the detector was fitted on.
        calibration: its threshold.
        most: images at most.
    """
    scored = [record for record in data.records if record.score is not None]
    ranked = sorted(scored, key=lambda record: -_score(record))
    found = []
    for record in ranked[:most]:
        others = [other for other in scored if other.shows != record.shows]
        if not others:
            break
        found.append(Resting(record, _threshold(others, calibration)))
    return found


class Without(NamedTuple):
    """The images that a threshold rests on.

    Attributes:
        oddest: at or above the threshold, highest first, at most three.
        together: threshold without all of them.
    """

    oddest: list[Resting]
    together: float


def threshold_without(data: FittedData, calibration: Calibration) -> Without:
    """What the threshold would be without the oddest images that set it, each and together."""
    threshold = calibration.threshold
    oddest = [item for item in rests_on(data, calibration) if _score(item.record) >= threshold]
    shown = {item.record.shows for item in oddest}
    others = [
        record for record in data.records if record.score is not None and record.shows not in shown
    ]
    return Without(oddest, _threshold(others, calibration) if others else threshold)


def explain_resting(data: FittedData, calibration: Calibration) -> str:
    """One line where up to three images move the threshold by more than 5 %; else empty."""
    operating = calibration.operating
    if operating.threshold <= 0:
        return ""
    oddest, together = threshold_without(data, calibration)

    def lower(threshold: float) -> float:
        return 1 - threshold / operating.threshold

    moving = [item for item in oddest if lower(item.without) >= _NOTABLE]
    if len(moving) == 1:
        words = (
            f"the threshold rests on {moving[0].name}: without it, it would be "
            f"{moving[0].without:.4g}, {percent(lower(moving[0].without))} lower"
        )
    elif oddest and (moving or lower(together) >= _NOTABLE):
        each = ", ".join(f"without {item.name} {item.without:.4g}" for item in oddest)
        words = (
            f"the threshold rests on {_listed([item.name for item in oddest])}: it would be {each}"
            f"; without all of them {together:.4g}, {percent(lower(together))} lower"
        )
    else:
        return ""
    if operating.requested < _OTHER_RATE:
        loose = calibration.with_rate(_OTHER_RATE).threshold
        if loose < operating.threshold:  # few images have but one threshold
            words += f"; at {percent(_OTHER_RATE)} it would be {loose:.4g}"
    return words


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _threshold(records: Sequence[ImageRecord], calibration: Calibration) -> float:
    """Threshold of some of the images at the same rate."""
    scores = np.array([_score(record) for record in records])
    return Calibration.from_scores(
        scores,
        scores,
        max_false_reject=calibration.max_false_reject,
        method=calibration.method,
        origins=[record.shows for record in records],
    ).threshold


def _score(record: ImageRecord) -> float:
    return float("-inf") if record.score is None else record.score
