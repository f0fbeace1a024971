"""RsCIN: image scores smoothed over similar images (Li et al. 2024, section 3.4 of MuSc)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ROWS = 256


def smooth_scores(
    scores: NDArray[np.float64], embeddings: NDArray[np.float32], neighbours: Sequence[int]
) -> NDArray[np.float64]:
    """Each score averaged with those of its most similar images, then over the list.

    The scores are brought to 0..1 over the pool first. For each k the k largest cosines of a row,
    its own 1 among them, are its weights; k = 1 keeps the score.

    Args:
        scores: image scores of a pool `(N,)`.
        embeddings: one vector an image `(N, d)`.
        neighbours: the ks, e.g. 1, 2, 3; none leaves the scores as they are.
    """
    if not neighbours:
        return scores
    low, high = float(scores.min()), float(scores.max())
    scaled = (scores - low) / max(high - low, 1e-12)
    unit = _unit(embeddings)
    smoothed = np.zeros(len(scores))
    for start in range(0, len(scores), _ROWS):
        rows = slice(start, start + _ROWS)
        cosines = unit[rows] @ unit.T
        cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = 1.0
        nearest = np.argsort(-cosines, axis=1, kind="stable")
        for count in neighbours:
            chosen = nearest[:, : min(count, len(scores))]
            weights = np.take_along_axis(cosines, chosen, axis=1).clip(min=0.0)
            smoothed[rows] += (weights * scaled[chosen]).sum(axis=1) / weights.sum(axis=1)
    return smoothed / len(neighbours)


def most_similar(embeddings: NDArray[np.float32], image: int, count: int) -> list[int]:
    """The images most similar to one of a pool by cosine, most similar first."""
    unit = _unit(embeddings)
    cosines = unit @ unit[image]
    cosines[image] = -np.inf
    return [int(index) for index in np.argsort(-cosines, kind="stable")[:count]]


def _unit(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    vectors = embeddings.astype(np.float64)
    unit: NDArray[np.float64] = vectors / np.maximum(
        np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12
    )
    return unit
