"""Checks at the door of every metric: what passes here cannot make a silent wrong number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomalib_lite.metrics.errors import MetricError

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

_T = TypeVar("_T")

Images = NDArray[Any] | Iterable[NDArray[Any]] | Callable[[], Iterable[NDArray[Any]]]
"""One 2-D array per image: an array `(N, H, W)`, a list (sizes may differ), a generator, or a
function that returns any of these, so that a category never has to be in memory at once."""

_LARGEST_EXACT_INTEGER = 2**53


@dataclass(frozen=True, slots=True)
class ImagePair:
    """One image: its place in the input, its map `(H, W)`, its defect pixels `(H, W)`."""

    index: int
    scores: Floats
    defects: Bools


def as_floats(values: ArrayLike, name: str) -> Floats:
    """Return `values` as float32 or float64 without losing a bit.

    Raises:
        MetricError: a value is NaN or infinite, or the type cannot be held exactly.
    """
    array = np.asarray(values)
    kind, bits = array.dtype.kind, array.dtype.itemsize * 8
    if kind == "f" and bits <= 64:
        floats: Floats = array if bits >= 32 else array.astype(np.float32)
    elif kind == "b" or (kind in "iu" and bits <= 16):
        floats = array.astype(np.float32)
    elif kind in "iu" and (bits <= 32 or _fits_float64(array)):
        floats = array.astype(np.float64)
    else:
        raise MetricError(f"{name} has type {array.dtype}; expected float32 or float64")
    if floats.size and not (np.isfinite(floats.min()) and np.isfinite(floats.max())):
        raise MetricError(f"{name} holds NaN or infinite scores; expected finite numbers")
    return floats


def _fits_float64(array: NDArray[Any]) -> bool:
    if not array.size:
        return True
    return max(-int(array.min()), int(array.max())) <= _LARGEST_EXACT_INTEGER


def as_scores(scores: ArrayLike) -> Floats:
    """Return image scores `(N,)` as floats; raise `MetricError` when empty or not 1-D."""
    values = as_floats(scores, "scores")
    if values.ndim != 1 or not values.size:
        raise MetricError(f"scores has shape {values.shape}; expected (N,) with N > 0")
    return values


def as_labels(labels: ArrayLike, count: int) -> Bools:
    """Return labels `(N,)` as booleans, True = anomalous; raise `MetricError` unless all 0 or 1."""
    array = np.asarray(labels)
    if array.shape != (count,):
        raise MetricError(f"labels has shape {array.shape}; expected ({count},), one a score")
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise MetricError("labels holds values other than 0 (good) and 1 (anomalous)")
    return array.astype(np.bool_)


def split_scores(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """Return `(anomalous, good)` scores, each sorted ascending.

    Raises:
        MetricError: shapes differ, a score is not finite, or only one class is present.
    """
    values = as_scores(scores)
    anomalous = as_labels(labels, values.size)
    if anomalous.all() or not anomalous.any():
        found = "anomalous" if anomalous[0] else "good"
        raise MetricError(f"labels holds only {found} images; this metric needs both classes")
    return np.sort(values[anomalous]), np.sort(values[~anomalous])


def image_pairs(
    maps: Images, masks: Images, labels: ArrayLike | None = None
) -> Iterator[ImagePair]:
    """Walk maps and masks side by side, one image in memory at a time.

    Without `labels`, an empty mask says that every pixel of the image is good. With `labels`
    `(N,)` (1 = anomalous), an anomalous image whose mask is empty is left out: nobody marked where
    its defect is, so none of its pixels has a known truth.

    Raises:
        MetricError: the counts or shapes differ, a map is not finite, a mask is not 0/non-zero
            integers, or an image labelled good has a defect in its mask.
    """
    known = None if labels is None else np.asarray(labels)
    count = 0
    for index, (scores, mask) in enumerate(paired(open_images(maps), open_images(masks), "masks")):
        floats, defects = as_map(scores, index), as_mask(mask, f"mask {index}")
        if floats.shape != defects.shape:
            raise MetricError(
                f"map {index} has shape {floats.shape} and its mask {defects.shape}; "
                "bring the map to the mask's size"
            )
        count += 1
        if known is None or _has_known_truth(known, index, defects):
            yield ImagePair(index, floats, defects)
    if not count:
        raise MetricError("maps is empty; expected at least one image")
    if known is not None:
        as_labels(known, count)


def _has_known_truth(labels: NDArray[Any], index: int, defects: Bools) -> bool:
    if labels.ndim != 1 or index >= labels.size:
        raise MetricError(f"labels has shape {labels.shape}; expected (N,), one an image")
    marked = bool(defects.any())
    if marked and not labels[index]:
        raise MetricError(f"image {index} is labelled good but its mask marks a defect")
    return marked or not labels[index]


def open_images(images: Images) -> Iterable[NDArray[Any]]:
    """Return something to walk over once, calling `images` when it is a function."""
    source = images() if callable(images) else images
    if isinstance(source, np.ndarray) and source.ndim != 3:
        raise MetricError(f"found one array of shape {source.shape}; expected (N, H, W)")
    return source


def paired(first: Iterable[Any], second: Iterable[_T], name: str) -> Iterator[tuple[Any, _T]]:
    """Walk maps and their companions; raise `MetricError` when one ends before the other."""
    end: Any = object()
    for index, (one, other) in enumerate(zip_longest(first, second, fillvalue=end)):
        if one is end or other is end:
            short = "maps" if one is end else name
            raise MetricError(f"{short} ends after {index} images; maps and {name} must pair up")
        yield one, other


def as_map(scores: ArrayLike, index: int) -> Floats:
    """Return one anomaly map `(H, W)` as floats; raise `MetricError` when it is not 2-D."""
    floats = as_floats(scores, f"map {index}")
    if floats.ndim != 2 or not floats.size:
        raise MetricError(f"map {index} has shape {floats.shape}; expected (H, W)")
    return floats


def as_mask(mask: ArrayLike, name: str) -> Bools:
    """Return a mask `(H, W)` binarised at > 0; raise `MetricError` for float masks."""
    array = np.asarray(mask)
    if array.ndim != 2:
        raise MetricError(f"{name} has shape {array.shape}; expected (H, W)")
    if array.dtype.kind == "b":
        return array
    if array.dtype.kind not in "iu":
        raise MetricError(f"{name} has type {array.dtype}; expected bool or uint8 (0 = good)")
    binary: Bools = array > 0
    return binary


def as_fraction(value: float, name: str) -> float:
    """Return `value` when it lies in (0, 1]; raise `MetricError` otherwise."""
    if not 0.0 < value <= 1.0:
        raise MetricError(f"{name} is {value}; expected a number above 0 and up to 1")
    return float(value)
