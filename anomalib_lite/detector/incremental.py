"""Learn more good images, or forget some, without the others; the threshold follows."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.detector.independence import Independence
from anomalib_lite.detector.out_of_fold import score_stream
from anomalib_lite.detector.training_record import (
    FittedData,
    ImageRecord,
    gallery_of,
    image_id,
    record_images,
)
from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.scorers import FitContext, Forget, PartialFit, Scorer, as_able

_FEWEST = 3


def learn_more(
    scorer: Scorer,
    data: FittedData,
    stream: ImageStream,
    context: FitContext,
    independence: Independence | None = None,
) -> FittedData:
    """Add good images to a fitted scorer.

    The new images are scored before they are learnt, so their scores are held-out scores and join
    the calibration. When anything fails on the way, Ctrl-C included, the scorer is as before.

    Raises:
        SettingsError: the scorer cannot learn on.
        FitError: no usable image.
    """
    able = as_able(scorer, PartialFit)
    if able is None:
        raise SettingsError(f"{scorer.name} cannot learn more images; fit again on all of them")
    with torch.no_grad():
        held_out = score_stream(scorer, stream)
        if len(held_out.indices) == 0:
            raise FitError("no usable image to add; see the skipped list")
        with _unchanged_on_failure(scorer):
            able.partial_fit(stream, context)
    added = record_images(stream, held_out, held_out_is_learnt=True, independence=independence)
    return replace(
        data,
        records=data.records + added,
        skipped={**data.skipped, **stream.skipped},
        gallery=gallery_of(stream, data.gallery),
    )


def forget_images(
    scorer: Scorer, data: FittedData, stream: ImageStream, context: FitContext
) -> FittedData:
    """Take images out of a fitted scorer, and their scores out of the calibration.

    Raises:
        SettingsError: the scorer cannot forget.
        FitError: an image was never fitted, or too few would remain; nothing has changed then.
    """
    able = as_able(scorer, Forget)
    if able is None:
        raise SettingsError(f"{scorer.name} cannot forget images; fit again without them")
    for _ in stream:
        pass
    remaining: list[ImageRecord] = list(data.records)
    learnt: list[int] = []
    weights = np.ones(len(stream))
    for index, record in _matches(stream, remaining):
        remaining.remove(record)
        if record.learnt:
            learnt.append(index)
            weights[index] = record.sample_weight
    if sum(record.learnt for record in remaining) < _FEWEST or not any(
        record.score is not None for record in remaining
    ):
        raise FitError(f"fewer than {_FEWEST} good images would remain; nothing was forgotten")
    if learnt:
        chosen = stream.subset(learnt)
        chosen.sample_weight = weights
        with torch.no_grad(), _unchanged_on_failure(scorer):
            able.forget(chosen, context)
    return replace(data, records=tuple(remaining))


@contextmanager
def _unchanged_on_failure(scorer: Scorer) -> Iterator[None]:
    """Moments are summed in place and parts of a fusion learn in turn: half an update is undone."""
    before = copy.deepcopy(scorer.__dict__)
    try:
        yield
    except BaseException:
        scorer.__dict__.clear()
        scorer.__dict__.update(before)
        raise


def _matches(stream: ImageStream, records: list[ImageRecord]) -> list[tuple[int, ImageRecord]]:
    """Each image of the stream with its own record; raises `FitError` when one has none."""
    by_id: dict[str, list[ImageRecord]] = {}
    for record in records:
        by_id.setdefault(record.id, []).append(record)
    found = []
    matched: set[str] = set()
    for index, digest in sorted(stream.fingerprints.items()):
        candidates = by_id.get(image_id(digest), [])
        if not candidates and digest in matched:
            continue  # a copy counted once when it was learnt
        matched.add(digest)
        if not candidates:
            raise FitError(
                f"image {index + 1} of {stream.source.name} is not among those that were fitted; "
                "nothing was forgotten"
            )
        found.append((index, candidates.pop()))
    return found
