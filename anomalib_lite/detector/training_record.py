"""The record of what a detector has seen: which images, and their held-out scores."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.detector.independence import ID_DIGITS, Independence
from anomalib_lite.detector.thumbnails import Gallery
from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.inputs import View
from anomalib_lite.scorers import HeldOutScores


class ImageRecord(NamedTuple):
    """One good image.

    Attributes:
        id: first half of the sha256 of its prepared pixels.
        learnt: whether the model was fitted on it.
        score: image score by a model that had not seen it, or None.
        map_peak: largest map value by that model, or None.
        sample_weight: how far the model counted it.
        name: what its source called it, below the source; empty in files of earlier versions.
        origin: what it shows, equal for images of one part; empty: nothing that another shows.
    """

    id: str
    learnt: bool
    score: float | None
    map_peak: float | None
    sample_weight: float = 1.0
    name: str = ""
    origin: str = ""

    @property
    def shows(self) -> str:
        """What it shows, equal for images that are not independent."""
        return self.origin or self.id


@dataclass(frozen=True)
class FittedData:
    """What a detector was fitted on.

    Attributes:
        source: name of the source.
        records: one entry per usable image.
        skipped: image name -> why it was left out.
        frame_hw: size of the first frame, pixels.
        samples: a few raw frames (shrunk), or views by input name, for the probes of an export.
        gallery: small pictures of the good images, for scorers that explain by them.
        copies: name of an exact copy that was left out -> the image that it repeats.
        hints: what about the images contradicts a declaration or other images, in words; of a fit
            only, not kept in files.
    """

    source: str
    records: tuple[ImageRecord, ...]
    skipped: dict[str, str]
    frame_hw: tuple[int, int]
    samples: tuple[View, ...] = field(default=(), compare=False, repr=False)
    gallery: Gallery = field(default=Gallery(), compare=False, repr=False)
    copies: dict[str, str] = field(default_factory=dict)
    hints: tuple[str, ...] = field(default=(), compare=False)

    @property
    def parts(self) -> int:
        """Number of independent images: copies and views of one part count as one."""
        return len({record.shows for record in self.records})

    @property
    def images(self) -> int:
        """Number of usable images."""
        return len(self.records)

    @property
    def fingerprint(self) -> str:
        """sha256 over the images, independent of their order."""
        return digest_ids(record.id for record in self.records)

    def summary(self) -> dict[str, Any]:
        """Plain JSON types, without the images themselves."""
        return {
            "source": self.source.rstrip("/\\").replace("\\", "/").split("/")[-1],
            "images": self.images,
            "independent_images": self.parts,
            **({"copies": self.copies} if self.copies else {}),
            "skipped": self.skipped,
            "fingerprint": self.fingerprint,
            "frame_hw": list(self.frame_hw),
        }

    def calibration(self, max_false_reject: float, method: str) -> Calibration:
        """The calibration that the held-out scores give."""
        scored = [record for record in self.records if record.score is not None]
        return Calibration.from_scores(
            [record.score or 0.0 for record in scored],
            [record.map_peak or 0.0 for record in scored],
            max_false_reject=max_false_reject,
            method=method,
            origins=[record.shows for record in scored],
        )


def record_images(
    stream: ImageStream,
    held_out: HeldOutScores,
    *,
    held_out_is_learnt: bool,
    independence: Independence | None = None,
) -> tuple[ImageRecord, ...]:
    """Join what a stream has read with the held-out scores, in reading order."""
    scores = {
        int(index): (float(score), float(peak))
        for index, score, peak in zip(
            held_out.indices, held_out.image, held_out.map_peak, strict=True
        )
    }
    records = []
    for index, digest in sorted(stream.fingerprints.items()):
        score, peak = scores.get(index, (None, None))
        learnt = score is None or held_out_is_learnt
        weights = stream.sample_weight
        weight = 1.0 if weights is None else float(weights[index])
        origin = "" if independence is None else independence.name_of(index)
        name = stream.names[index]
        records.append(ImageRecord(image_id(digest), learnt, score, peak, weight, name, origin))
    return tuple(records)


def gallery_of(stream: ImageStream, earlier: Gallery) -> Gallery:
    """The gallery with what a stream has collected; unchanged when it was not asked to."""
    if stream.gallery is None:
        return earlier
    images = [image._replace(id=image_id(image.id)) for image in stream.gallery.images()]
    return earlier.joined(images, len(stream))


def image_id(fingerprint: str) -> str:
    """The id of an image in the records, from the sha256 of its prepared pixels."""
    return fingerprint[:ID_DIGITS]


def digest_ids(ids: Iterable[str]) -> str:
    """sha256 over image ids, independent of their order."""
    digest = hashlib.sha256()
    for value in sorted(map(image_id, ids)):
        digest.update(value.encode())
    return digest.hexdigest()
