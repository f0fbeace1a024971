"""Fit a scorer and calibrate it on good images that the scoring model has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.calibration import Calibration, in_order, views_of
from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.edge.promise import OUT_OF_FOLD
from anomalib_lite.scorers import (
    CrossFit,
    FeatureStream,
    FitContext,
    Groups,
    HeldOutScores,
    ReferenceQuantile,
    Scorer,
    TakesSampleWeight,
    as_able,
    scorers_with,
)
from anomalib_lite.scorers.splits import cut, folds_of, shuffled

FOLDS = 5
HOLDOUT_SHARE = 0.2
_FEWEST = 3
_SCANNED = 30


def calibrate(
    scorer: Scorer,
    stream: FeatureStream,
    context: FitContext,
    *,
    method: str,
    max_false_reject: float,
    labels: NDArray[np.int64] | None = None,
) -> tuple[Calibration, HeldOutScores]:
    """Fit `scorer`; return its calibration and the held-out scores behind it.

    Args:
        scorer: built, not necessarily fitted.
        stream: good images.
        context: seed, progress, and which images are independent.
        method: `"folds"` fits on everything and scores every image by a model that never saw its
            fold; `"holdout"` fits on four fifths and scores the rest (rigorous split-conformal);
            `"auto"` takes folds where the scorer implements `CrossFit`.
        max_false_reject: requested false-reject rate.
        labels: product of each image by its index, where the source tells.

    Raises:
        FitError: too few usable images.
    """
    origins = context.origins
    images = _usable(stream) if origins is None else np.flatnonzero(origins >= 0)
    if len(images) < _FEWEST:
        raise FitError(
            f"{len(images)} usable good image(s) given; at least {_FEWEST} are needed to learn "
            "and to choose a threshold, and 99 to promise a false-reject rate of 1 %"
        )
    if method == "folds" or (method == "auto" and scorer.can(CrossFit)):
        parts = len(images) if origins is None else len(np.unique(origins[images]))
        count = min(FOLDS, parts)
        folds = np.full(len(stream), -1, np.int64)
        folds[images] = folds_of(images, origins, count, context.seed)
        held_out = out_of_fold_scores(scorer, stream, folds, context)
        words = f"{OUT_OF_FOLD}, {count} folds"
    else:
        held_out = _hold_out(scorer, stream, images, context)
        words = f"held out, {HOLDOUT_SHARE:.0%} of the good images"
    if len(held_out.image) == 0:
        raise FitError("no usable good image was left to choose a threshold; see the skipped list")
    calibration = Calibration.from_scores(
        held_out.image,
        held_out.map_peak,
        max_false_reject=max_false_reject,
        method=words,
        reference=_reference(scorer, held_out, max_false_reject),
        origins=None if origins is None else origins[held_out.indices],
    )
    groups = scorer.groups()
    if groups is not None and labels is not None:
        calibration = replace(
            calibration,
            group_output=groups.output,
            **_by_group(groups, held_out, labels, origins),
        )
    return calibration, held_out


def out_of_fold_scores(
    scorer: Scorer, stream: FeatureStream, folds: NDArray[np.int64], context: FitContext
) -> HeldOutScores:
    """Fit `scorer` on a stream and score each image by a model that never saw its fold.

    Args:
        scorer: built, not necessarily fitted.
        stream: images; may be a subset.
        folds: fold of each image by its index, -1 for one that the stream does not give.
        context: seed and progress.
    """
    able = as_able(scorer, CrossFit)
    if able is not None:
        return able.cross_fit(stream, folds, context)
    return _refit_per_fold(scorer, stream, folds, context)


def checked_sample_weight(
    scorer: Scorer, sample_weight: Sequence[float] | NDArray[np.float64] | None, images: int
) -> NDArray[np.float64] | None:
    """Weights of the images of a fit as float64 `(images,)`; None stays None.

    Raises:
        SettingsError: the scorer takes none, or they are not one number in [0, 1] per image.
        FitError: together they are worth too few images.
    """
    if sample_weight is None:
        return None
    able = require_sample_weight(scorer)
    values = np.asarray(sample_weight, np.float64)
    if values.shape != (images,) or not ((values >= 0) & (values <= 1)).all():
        raise SettingsError(
            f"{values.size} sample weights for {images} images; give one in [0, 1] for each"
        )
    if not values.any() or able.effective_images(values) < _FEWEST:
        raise FitError(f"the sample weights leave less than {_FEWEST} images to learn from")
    return values


def require_sample_weight(scorer: Scorer) -> TakesSampleWeight:
    """The scorer, if it can weigh images; raises `SettingsError` that names those that can."""
    able = as_able(scorer, TakesSampleWeight)
    if able is not None:
        return able
    others = ", ".join(scorers_with(TakesSampleWeight))
    raise SettingsError(f"{scorer.name} cannot weigh images; these can: {others}")


def assign_folds(images: int, folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of each of so many independent images `(images,)`, shuffled by the seed."""
    return folds_of(np.arange(images), None, folds, seed)


def score_stream(scorer: Scorer, stream: FeatureStream) -> HeldOutScores:
    """Scores of a fitted scorer on every usable image of a stream."""
    indices, image, peaks = [], [], []
    parts: dict[str, list[NDArray[np.float32]]] = {}
    extra: dict[str, list[NDArray[np.float32]]] = {}
    groups, theory = scorer.groups(), as_able(scorer, ReferenceQuantile)
    for batch in stream:
        scores = scorer(batch.features)
        indices.append(batch.indices)
        image.append(scores.image.cpu().numpy())
        peaks.append(scores.map.amax(dim=(1, 2)).cpu().numpy())
        if theory is not None:
            for name, values in theory.parts(batch.features).items():
                parts.setdefault(name, []).append(values.cpu().numpy())
        if groups is not None:
            extra.setdefault(groups.output, []).append(scores.extra[groups.output].cpu().numpy())
    if not indices:
        empty = np.zeros(0, np.float32)
        return HeldOutScores(np.zeros(0, np.int64), empty, empty)
    return HeldOutScores(
        np.concatenate(indices),
        np.concatenate(image),
        np.concatenate(peaks),
        {name: np.concatenate(values) for name, values in parts.items()},
        {name: np.concatenate(values) for name, values in extra.items()},
    )


def _usable(stream: FeatureStream) -> NDArray[np.int64]:
    """Indices to divide. Folds of a few images must not be emptied by unreadable ones."""
    if len(stream) >= _SCANNED:
        return np.arange(len(stream))
    found = [batch.indices for batch in stream]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _hold_out(
    scorer: Scorer, stream: FeatureStream, images: NDArray[np.int64], context: FitContext
) -> HeldOutScores:
    count = max(1, round(HOLDOUT_SHARE * len(images)))
    order = shuffled(images, context.origins, np.random.default_rng(context.seed))
    kept = np.sort(order[: cut(order, context.origins, count)])
    scorer.fit(stream.subset(np.setdiff1d(images, kept)), context)
    return score_stream(scorer, stream.subset(kept))


def _refit_per_fold(
    scorer: Scorer, stream: FeatureStream, folds: NDArray[np.int64], context: FitContext
) -> HeldOutScores:
    """The plain form of cross-fitting, for scorers without a faster one."""
    scored = []
    for fold in range(int(folds.max()) + 1):
        others = np.flatnonzero((folds >= 0) & (folds != fold))
        scorer.fit(stream.subset(others), context)
        scored.append(score_stream(scorer, stream.subset(np.flatnonzero(folds == fold))))
    scorer.fit(stream, context)
    parts = {
        name: np.concatenate([part.parts[name] for part in scored]) for name in scored[0].parts
    }
    extra = {
        name: np.concatenate([part.extra[name] for part in scored]) for name in scored[0].extra
    }
    return HeldOutScores(
        np.concatenate([part.indices for part in scored]),
        np.concatenate([part.image for part in scored]),
        np.concatenate([part.map_peak for part in scored]),
        parts,
        extra,
    )


def _by_group(
    groups: Groups,
    held_out: HeldOutScores,
    group_of: NDArray[np.int64],
    origins: NDArray[np.int64] | None,
) -> dict[str, Any]:
    """`groups` and `group_views` of a calibration: held-out images of each group as that group."""
    own = group_of[held_out.indices]
    scores = held_out.extra[groups.output]
    found: dict[str, tuple[float, ...]] = {}
    views: dict[str, tuple[int, ...]] = {}
    for place, name in enumerate(groups.names):
        inside = own == place
        alone = None if origins is None else origins[held_out.indices[inside]]
        found[name], shared = in_order(scores[inside, place], views_of(alone))
        if shared:
            views[name] = shared
    return {"groups": found, "group_views": views}


def _reference(scorer: Scorer, held_out: HeldOutScores, max_false_reject: float) -> dict[str, Any]:
    """The method's own thresholds with the rate they realise on held-out good images."""
    theory = as_able(scorer, ReferenceQuantile)
    if theory is None:
        return {}
    quantiles = theory.reference_quantile(max_false_reject)
    parts: dict[str, Any] = {}
    for name, quantile in quantiles.items():
        realised = float(np.mean(held_out.parts[name] > quantile["threshold"]))
        parts[name] = {**quantile, "realised_false_reject": realised}
    summed = sum(quantile["threshold"] for quantile in quantiles.values())
    return {
        "kind": "chi quantile per layer (Rippel et al. 2020); not the threshold in use",
        "requested_false_reject": max_false_reject,
        "layers": parts,
        "sum": {
            "threshold": summed,
            "realised_false_reject": float(np.mean(held_out.image > summed)),
        },
    }
