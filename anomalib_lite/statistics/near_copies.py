"""Which pictures are nearly the same photograph: re-encoded copies, bursts, frames of one part.

Two photographs of different parts share the design, two of the same part also the fine detail:
noise, texture, dirt. The phase correlation of two pictures (Kuglin and Hines 1975) weighs all
detail alike and does not mind a shift; its peak is the share of detail that is common, 1 for a
copy. What different parts of this set share is the median over pairs, so a printed design or a
fixture raises no alarm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 128
"""Side of the pictures that are compared, pixels."""

MOST_IMAGES = 5_000
"""Larger sets are not searched: 160 MB of pictures."""

SHARED, SHARED_NEAR = 2 / 3, 1 / 3
"""Of the detail that different parts do not share, near copies share at least this much, seen as a
whole and near; compression takes most of the noise that is seen near."""

_COARSE = 16
_NEAREST = 2
_REFERENCE_PAIRS = 300
_FEWEST = 8
_FEWEST_KIN, _KIN = 8, 8


def small_pictures(frame: NDArray[Any], bit_depth: int = 8) -> NDArray[np.uint8]:
    """The pictures that are compared: the whole made small, and its middle as it is.

    What looks the same from afar may only lie in the same place; noise and texture are seen near.

    Args:
        frame: as the camera delivers it, `(H, W)` or `(H, W, 1|3|4)`.
        bit_depth: significant bits.

    Returns:
        uint8 `(2, 128, 128)`.
    """
    flat = frame if frame.ndim == 2 else frame[:, :, 1 if frame.shape[2] > 2 else 0]
    flat = flat if flat.dtype == np.uint8 else (flat >> (bit_depth - 8)).astype(np.uint8)
    rows, columns = flat.shape
    top, left = max(0, rows - SIDE) // 2, max(0, columns - SIDE) // 2
    middle = flat[top : top + SIDE, left : left + SIDE]
    sized = [
        cv2.resize(item, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for item in (flat, middle)
    ]
    return np.stack(sized).astype(np.uint8)


def shared_detail(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Peak of the phase correlation of two pictures `(s, s)`, 1 for the same, shifted or not."""
    return _peak(_phases(first), _phases(second))


def near_copies(pictures: Sequence[NDArray[np.uint8]], seed: int = 0) -> list[tuple[int, int]]:
    """Pairs of near copies among images, each given by its pictures `(2, s, s)`.

    Each image is compared with the two that look most like it and with the next in order, from
    afar; what is alike there, near as well.

    Args:
        pictures: see `small_pictures`.
        seed: draws the pairs that say what different parts share.
    """
    count = len(pictures)
    if not _FEWEST <= count <= MOST_IMAGES:
        return []
    far, near = [item[0] for item in pictures], [item[1] for item in pictures]
    drawn = np.random.default_rng(seed).integers(0, count, (_REFERENCE_PAIRS, 2))
    drawn = drawn[drawn[:, 0] != drawn[:, 1]]
    least, least_near = _least(far, drawn, SHARED), _least(near, drawn, SHARED_NEAR)
    coarse = _coarse(far)
    found = []
    for first, others in enumerate(_alike(coarse)):
        phases = _phases(far[first])
        found += [
            (min(first, second), max(first, second))
            for second in others
            if _peak(phases, _phases(far[second])) >= least
            and shared_detail(near[first], near[second]) >= least_near
        ]
    groups = joined(count, found)
    return [pair for pair in found if _stands_out(pair, groups, coarse, far, near)]


def _stands_out(
    pair: tuple[int, int],
    groups: NDArray[np.int64],
    coarse: NDArray[np.float32],
    far: Sequence[NDArray[np.uint8]],
    near: Sequence[NDArray[np.uint8]],
) -> bool:
    """Whether two pictures share more than each does with others of its kind.

    A set may hold several kinds of part, of which all share much within and little across.
    """
    for one, other in (pair, pair[::-1]):
        ranked = np.argsort(_distances(coarse, one), kind="stable")
        kin = ranked[: max(_FEWEST_KIN, len(ranked) // 4)]
        kin = kin[groups[kin] != groups[one]]
        drawn = np.array([(one, third) for third in kin[:: max(1, len(kin) // _KIN)]])
        if len(drawn) and not (
            shared_detail(far[one], far[other]) >= _least(far, drawn, SHARED)
            and shared_detail(near[one], near[other]) >= _least(near, drawn, SHARED_NEAR)
        ):
            return False
    return True


def _least(pictures: Sequence[NDArray[np.uint8]], drawn: NDArray[np.int64], share: float) -> float:
    """Shared detail from which two pictures are near copies, given pairs drawn at random."""
    usual = [shared_detail(pictures[first], pictures[second]) for first, second in drawn]
    return 1 - (1 - share) * (1 - float(np.median(usual)))


def joined(count: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Number of the group of each of `count` items, pairs in one; the lowest member's number."""
    parent = np.arange(count)

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = int(parent[item])
        return item

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return np.array([root(item) for item in range(count)], np.int64)


def _coarse(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """What tells pictures apart at a glance `(n, 256)`, around its mean."""
    size = (_COARSE, _COARSE)
    rows = [cv2.resize(item, size, interpolation=cv2.INTER_AREA).ravel() for item in pictures]
    coarse: NDArray[np.float32] = np.stack(rows).astype(np.float32)
    coarse -= coarse.mean(axis=0)
    return coarse


def _distances(coarse: NDArray[np.float32], one: int) -> NDArray[np.float32]:
    """Squared distances of all pictures to one of them, infinite to itself `(n,)`."""
    distances: NDArray[np.float32] = np.square(coarse - coarse[one]).sum(axis=1)
    distances[one] = np.inf
    return distances


def _alike(coarse: NDArray[np.float32]) -> Iterator[list[int]]:
    """For each picture those to compare it with, each pair once."""
    count = len(coarse)
    seen: set[tuple[int, int]] = set()
    for first in range(count):
        nearest = np.argsort(_distances(coarse, first), kind="stable")[:_NEAREST].tolist()
        following = [first + 1] if first + 1 < count else []
        others = []
        for second in dict.fromkeys(nearest + following):
            pair = (min(first, second), max(first, second))
            if pair not in seen:
                seen.add(pair)
                others.append(second)
        yield others


def _phases(picture: NDArray[np.uint8]) -> NDArray[np.complex64]:
    from scipy.fft import rfft2  # here: the edge side loads this room without scipy

    values = picture.astype(np.float32)
    window = np.hanning(len(values)).astype(np.float32)
    spectrum = rfft2((values - values.mean()) * window[:, None] * window)
    size = np.abs(spectrum)
    # A picture without detail shares none.
    return np.asarray(spectrum / np.maximum(size, 1e-3), np.complex64)


def _peak(first: NDArray[np.complex64], second: NDArray[np.complex64]) -> float:
    from scipy.fft import irfft2

    side = first.shape[0]
    return float(irfft2(first * second.conj(), s=(side, side)).max())
