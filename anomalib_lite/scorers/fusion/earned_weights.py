"""How far to trust each part of a fusion: judged on defects simulated on unseen good images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_lite.backbones.features import Features
from anomalib_lite.data.simulate import DEFECT_KINDS, simulate_among
from anomalib_lite.edge.errors import FitError
from anomalib_lite.metrics.image import auroc_between
from anomalib_lite.scorers.base import FeatureStream, FitContext, Scorer
from anomalib_lite.scorers.batches import FrameBatch
from anomalib_lite.scorers.splits import cut, shuffled

LEARNT_IMAGES = 128
"""Good images, at most, from which the parts learn before they are judged."""
JUDGED_IMAGES = 32
"""Good images, at most, that the parts have not seen and defects are put on."""
JUDGED_SHARE = 0.25
_SPREAD_FLOOR = 1e-3
_DOUBT = 4  # images that saw no difference between the parts, added to those that judged


class Standard(NamedTuple):
    """Where the scores of unseen good images lie, and how widely, each `(P,)`."""

    centre: NDArray[np.float64]
    spread: NDArray[np.float64]


class Judgement(NamedTuple):
    """Raw scores of parts that have not seen the images.

    Attributes:
        good: image scores of good images `(n, P)`.
        peaks: largest map values of the same `(n, P)`.
        defects: image scores of simulated defects on them `(m, P)`; none where none were asked
            for.
    """

    good: NDArray[np.float64]
    peaks: NDArray[np.float64]
    defects: NDArray[np.float64]


def standard_of(scores: NDArray[np.float64]) -> Standard:
    """Median of each column of `(n, P)`, and the mean excess over it in the upper half.

    The upper half, because false rejects happen there: a part whose good scores run far up must
    speak more softly.
    """
    centre = np.median(scores, axis=0)
    spread = 2 * np.maximum(scores - centre, 0).mean(axis=0)
    return Standard(centre, np.maximum(spread, np.maximum(_SPREAD_FLOOR * np.abs(centre), 1e-12)))


def equal_weights(parts: int) -> NDArray[np.float64]:
    """The same share for each part."""
    return np.full(parts, 1 / parts)


def earn_weights(judgement: Judgement) -> NDArray[np.float64]:
    """Share of each part, `(P,)`: its informedness on simulated defects, squared.

    Informedness is `2 AUROC - 1`. A part that cannot tell the defects from good images gets almost
    nothing, and parts that tell them equally well get the same. The fewer images judge, the closer
    the shares are to each other.
    """
    images, parts = judgement.good.shape
    if len(judgement.defects) == 0:
        return equal_weights(parts)
    columns = zip(judgement.good.T, judgement.defects.T, strict=True)
    informed = np.array([max(0.0, 2 * auroc_between(*column) - 1) for column in columns])
    trust = ((images * informed + _DOUBT * informed.mean()) / (images + _DOUBT)) ** 2
    shares: NDArray[np.float64] = trust / trust.sum() if trust.sum() > 0 else equal_weights(parts)
    return shares


def split_images(
    images: NDArray[np.int64], seed: int, origins: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Images to learn from and images to judge on, drawn by the seed, each ascending.

    Images of one origin are on one side; see `FitContext`.
    """
    order = shuffled(images, origins, np.random.default_rng(seed))
    drawn = order[: LEARNT_IMAGES + JUDGED_IMAGES]
    judged = cut(drawn, origins, min(JUDGED_IMAGES, max(1, round(JUDGED_SHARE * len(drawn)))))
    return np.sort(drawn[judged:]), np.sort(drawn[:judged])


def judge(
    parts: Sequence[Scorer], stream: FeatureStream, context: FitContext, *, simulate: bool
) -> Judgement:
    """Score good images, and defects of every kind on each of them, by fitted parts."""
    good: list[NDArray[np.float64]] = []
    peaks: list[NDArray[np.float64]] = []
    defects: list[NDArray[np.float64]] = []
    done = 0
    for batch in stream:
        image, peak = _score(parts, batch.features)
        good.append(image)
        peaks.append(peak)
        if simulate:
            changed = with_defects(batch, stream.layout.roi, context.seed)
            defects.extend(_score(parts, bad.features)[0] for bad in changed)
        done += len(batch.indices)
        context.progress("judging the parts", done, len(stream))
    if not good:
        raise FitError("no readable image was left to judge the parts on; see the skipped list")
    return Judgement(
        np.concatenate(good),
        np.concatenate(peaks),
        np.concatenate(defects) if defects else np.zeros((0, len(parts))),
    )


def _score(
    parts: Sequence[Scorer], features: Features
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Image scores and map peaks of one batch, each `(N, P)`."""
    outputs = [part(features) for part in parts]
    image = torch.stack([output.image for output in outputs], dim=1)
    peaks = torch.stack([output.map.amax(dim=(1, 2)) for output in outputs], dim=1)
    return image.cpu().double().numpy(), peaks.cpu().double().numpy()


def with_defects(
    batch: FrameBatch, roi: NDArray[np.bool_] | None, seed: int
) -> Iterator[FrameBatch]:
    """The batch with a defect on each image (label 1), once for each kind."""
    frames = batch.frames.cpu().numpy()
    for turn in range(len(DEFECT_KINDS)):
        pictures = []
        for place, index in enumerate(batch.indices.tolist()):
            rng = np.random.default_rng([seed, index, turn])
            pictures.append(simulate_among(frames, place, turn, rng, roi).frame)
        yield batch.changed(torch.from_numpy(np.stack(pictures)), np.ones(len(batch), np.int64))
