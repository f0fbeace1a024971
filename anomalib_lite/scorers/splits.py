"""Splits that keep images of one origin together: copies, views of one part, video neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def shuffled(
    images: NDArray[np.int64], origins: NDArray[np.int64] | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Images in random order, those of one origin next to each other.

    Args:
        images: indices `(n,)`.
        origins: origin of each image by its index; None: all differ.
        rng: draws; without origins, or with one image each, as `rng.permutation(images)` does.
    """
    if origins is None:
        return rng.permutation(images)
    order: dict[int, list[int]] = {}
    for image in images.tolist():
        order.setdefault(int(origins[image]), []).append(image)
    members = list(order.values())
    drawn = [image for place in rng.permutation(len(members)) for image in members[place]]
    return np.array(drawn, np.int64)


def cut(ordered: NDArray[np.int64], origins: NDArray[np.int64] | None, count: int) -> int:
    """Where to cut shuffled images for `count` in front, without parting an origin.

    The first place at or behind `count`, or the last before the end where there is none; `count`
    itself where all are of one origin.
    """
    if origins is None or not 0 < count < len(ordered):
        return count
    of = origins[ordered]
    places = np.flatnonzero(of[1:] != of[:-1]) + 1
    if not len(places):
        return count
    behind = places[places >= count]
    return int(behind[0] if len(behind) else places[-1])


def folds_of(
    images: NDArray[np.int64], origins: NDArray[np.int64] | None, folds: int, seed: int
) -> NDArray[np.int64]:
    """Fold of each of some images `(n,)`: sizes as equal as origins allow, shuffled by the seed."""
    of = np.arange(len(images)) if origins is None else origins[images]
    names, numbers = np.unique(of, return_inverse=True)
    first = np.full(len(names), len(images))
    np.minimum.at(first, numbers, np.arange(len(images)))
    # Origins in order of their first image: with one image each, as if there were none.
    ranked = np.argsort(first, kind="stable")
    sizes = np.bincount(numbers, minlength=len(names))
    fold_of = np.empty(len(names), np.int64)
    filled = np.zeros(folds, np.int64)
    for place in np.random.default_rng(seed).permutation(len(names)):
        origin = ranked[place]
        fold_of[origin] = int(np.argmin(filled))
        filled[fold_of[origin]] += sizes[origin]
    return fold_of[numbers]
