"""The good images that defects are put on: read once, judged as they are, their part found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from anomalib_lite.data.simulate.defect_set import FEWEST_GOOD, Where
from anomalib_lite.data.simulate.part_mask import Part
from anomalib_lite.detector.image_stream import fingerprint
from anomalib_lite.detector.training_record import FittedData, digest_ids, image_id
from anomalib_lite.edge.errors import FrameError, SettingsError, SourceError
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.inputs import prepare_view
from anomalib_lite.edge.promise import percent
from anomalib_lite.edge.runs.scoring import Model, predict_frames
from anomalib_lite.edge.sources import Source

MOST_PHOTOGRAPHS = 60
_MOST_BYTES = 600 << 20
_SURPRISE = 0.01  # probability of so many rejected images, were the bound of the promise true


@dataclass(frozen=True, eq=False)
class Photograph:
    """One good image that the model accepts as it is.

    Attributes:
        name: what the source calls it.
        frame: as decoded.
        part: where defects may lie: the part, within the model's region of interest.
    """

    name: str
    frame: Frame
    part: Part


@dataclass(frozen=True, eq=False)
class Photographs:
    """What a study has to work with.

    Attributes:
        usable: images that take part.
        rejected: names of those that the model rejects without any defect; they take no part.
        learnt: how many of those that take part the model was fitted on.
        skipped: name -> why it could not be used.
        passed_over: how many were left unread, or left out since the model knows them.
        warning: what is to be said before any figure; empty where nothing is.
    """

    usable: list[Photograph]
    rejected: list[str] = field(default_factory=list)
    learnt: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    passed_over: int = 0
    warning: str = ""

    @property
    def judged(self) -> int:
        """Images that were judged without a defect."""
        return len(self.usable) + len(self.rejected)

    def summary(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "photographs": len(self.usable),
            "rejected_without_defect": len(self.rejected),
            "learnt": self.learnt,
            "skipped": len(self.skipped),
            "warning": self.warning,
        }


def read_photographs(
    model: Model,
    good: Source,
    *,
    where: Where | None = None,
    most: int = MOST_PHOTOGRAPHS,
    seed: int = 0,
) -> Photographs:
    """Read good images, those first that the model has not learnt.

    Args:
        model: a detector, whose record tells what it has learnt, or an edge model.
        good: good images.
        where: how the part is found.
        most: images that take part at most; memory is bounded, too.
        seed: draws which of many.

    Raises:
        SourceError: fewer than five can take part.
        SettingsError: the model sees more than pictures; a mask of another size.
    """
    if model.inputs.measured:
        raise SettingsError(
            "defects can be simulated in pictures only; this model also sees "
            f"{', '.join(model.inputs.measured)}"
        )
    jobs = list(good.jobs())
    order = np.random.default_rng([seed, 3]).permutation(len(jobs)).tolist()
    known = _learnt_ids(model)
    unseen: list[tuple[str, Frame]] = []
    seen: list[tuple[str, Frame]] = []
    skipped: dict[str, str] = {}
    ids, held = [], 0
    for index in order:
        if len(unseen) >= most or held > _MOST_BYTES:
            break
        job = jobs[index]
        try:
            frame = job.load()
            identity = image_id(fingerprint(prepare_view(frame, model.inputs)))
        except FrameError as error:
            skipped[job.name] = str(error).removeprefix(f"{job.name}: ")
            continue
        ids.append(identity)
        target = seen if identity in known else unseen
        if len(target) < most:
            target.append((job.name, frame))
            held += frame.nbytes
    chosen = unseen if len(unseen) >= FEWEST_GOOD else (unseen + seen)[:most]
    learnt = max(0, len(chosen) - len(unseen))
    warning = _warning(model, ids, learnt, len(chosen))
    usable, rejected = _accepted(model, chosen, where or Where())
    if len(usable) < FEWEST_GOOD:
        raise SourceError(
            f"{good.name}: {len(usable)} good image(s) can take part ({len(rejected)} are rejected "
            f"as they are, {len(skipped)} cannot be used{_first(skipped)}); give at least "
            f"{FEWEST_GOOD} like those that the model was fitted on"
        )
    if unlike := _unlike(model, len(rejected), len(chosen)):
        warning = f"{warning}; {unlike}" if warning else unlike
    return Photographs(
        usable, rejected, learnt, skipped, len(jobs) - len(chosen) - len(skipped), warning
    )


def _first(skipped: dict[str, str]) -> str:
    """The first reason, for images that could not be used."""
    return "".join(f": {name}: {why}" for name, why in list(skipped.items())[:1])


def _unlike(model: Model, rejected: int, judged: int) -> str:
    """What to say where far more images are rejected than the threshold promises."""
    bound = model.calibration.operating.upper_bound
    if binom.sf(rejected - 1, judged, bound) >= _SURPRISE:
        return ""
    return (
        f"{rejected} of {judged} good images are rejected where at most {percent(bound)} are "
        "promised: they are not like those that the model was fitted on, and the sizes hold for "
        "the others only"
    )


def _learnt_ids(model: Model) -> frozenset[str]:
    """Ids of the images that a detector was fitted on; an edge file does not list them."""
    data = getattr(model, "data", None)
    if not isinstance(data, FittedData):
        return frozenset()
    return frozenset(record.id for record in data.records if record.learnt)


def _warning(model: Model, ids: list[str], learnt: int, chosen: int) -> str:
    if learnt:
        return (
            f"{learnt} of {chosen} images were learnt by the model: what is found on images that "
            "it knows says too much; give good images that it has not seen"
        )
    about = getattr(model, "about", None)
    if isinstance(about, Mapping) and about["data"]["fingerprint"] == digest_ids(ids):
        return (
            "these are the images that the model was fitted on: what is found on images that it "
            "knows says too much; give good images that it has not seen"
        )
    return ""


def _accepted(
    model: Model, chosen: list[tuple[str, Frame]], where: Where
) -> tuple[list[Photograph], list[str]]:
    usable, rejected = [], []
    for name, frame in chosen:
        if predict_frames(model, [frame])[0].is_anomalous:
            rejected.append(name)
            continue
        part = _within(where.part(frame), model.spec.roi)
        usable.append(Photograph(name, frame, part))
    return usable, rejected


def _within(part: Part, roi: NDArray[np.bool_] | None) -> Part:
    """The part inside the region of interest; that region where they do not meet."""
    if roi is None:
        return part
    height, width = part.mask.shape
    inside = cv2.resize(roi.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    both = part.mask & inside
    return Part(both if both.any() else np.asarray(inside))
