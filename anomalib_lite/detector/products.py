"""Several products in one model: images with the product they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.errors import SettingsError, SourceError
from anomalib_lite.edge.frames import Exif
from anomalib_lite.edge.sources import Job, Source, SourceLike, open_good_images
from anomalib_lite.scorers import Groups, Scorer, create_scorer, list_scorers


class ProductSource:
    """The images of several products, one product after the other.

    Args:
        parts: good images of each product, by its name.
        exif: passed to the image decoder.

    Attributes:
        products: names, in order.
    """

    def __init__(self, parts: Mapping[str, SourceLike], *, exif: Exif = "apply") -> None:
        if not parts:
            raise SourceError("no product is given")
        self._parts: dict[str, Source] = {
            name: open_good_images(source, exif=exif) for name, source in parts.items()
        }
        self.products = list(self._parts)

    @property
    def name(self) -> str:
        return "+".join(part.name.rstrip("/\\") for part in self._parts.values())

    @property
    def rereadable(self) -> bool:
        return all(part.rereadable for part in self._parts.values())

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts.values())

    def jobs(self) -> Iterator[Job]:
        for part in self._parts.values():
            yield from part.jobs()

    def product_indices(self) -> NDArray[np.int64]:
        """Product of each image `(n,)`, as a place in `products`."""
        # A container may misstate its number of frames: count what is delivered.
        counts = [sum(1 for _ in part.jobs()) for part in self._parts.values()]
        return np.repeat(np.arange(len(counts)), counts)


def product_indices(scorer: Scorer, source: Source) -> NDArray[np.int64] | None:
    """Product of each image of a source, for a fit; None where the source does not tell.

    Raises:
        SettingsError: the scorer takes no products, or was made for others.
    """
    if not isinstance(source, ProductSource):
        return None
    names = require_groups(scorer).names
    if list(names) != source.products:
        raise SettingsError(
            f"the images show {', '.join(source.products)}, the detector was made for "
            f"{', '.join(names)}; give products={source.products!r}"
        )
    return source.product_indices()


def check_labels(
    fingerprints: Mapping[int, str],
    names: Mapping[int, str],
    labels: NDArray[np.int64] | None,
    products: Sequence[str],
) -> None:
    """Raise `SettingsError` where the same picture is given for two products.

    Args:
        fingerprints: image index -> digest of its prepared pixels.
        names: image index -> its name.
        labels: product of each image `(n,)`; None for one product.
        products: their names.
    """
    if labels is None:
        return
    first: dict[str, int] = {}
    both = []
    for index, digest in sorted(fingerprints.items()):
        known = first.setdefault(digest, index)
        if labels[known] != labels[index]:
            both.append((known, index))
    if both:
        one, other = both[0]
        raise SettingsError(
            f"{len(both)} image(s) are given for two products: {names[one]} of "
            f"{products[labels[one]]} is {names[other]} of {products[labels[other]]}; a picture "
            "shows one product, so take it out of the other's folder"
        )


def require_groups(scorer: Scorer) -> Groups:
    """The groups that a scorer tells apart; raises `SettingsError` that names scorers that do."""
    groups = scorer.groups()
    if groups is not None:
        return groups
    able = []
    for name in list_scorers():
        with suppress(SettingsError):
            able += [name] if create_scorer(name).groups() is not None else []
    raise SettingsError(
        f"{scorer.name} knows one product only; these know several: {', '.join(able)}"
    )
