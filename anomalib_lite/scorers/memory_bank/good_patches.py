"""Patches of good images: one pass over a stream into a bounded buffer, and a second look."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.edge.errors import FitError
from anomalib_lite.scorers.base import FeatureStream, FitContext
from anomalib_lite.scorers.batches import FrameBatch
from anomalib_lite.scorers.memory_bank.budget import BankBudget
from anomalib_lite.scorers.memory_bank.coreset_buffer import CoresetBuffer
from anomalib_lite.scorers.memory_bank.nearest import centred_bank
from anomalib_lite.scorers.memory_bank.patch_admission import REFERENCE_ROWS, most_ordinary
from anomalib_lite.scorers.memory_bank.patch_vectors import PatchEmbedding

_SCORED_IMAGES = 4


class GoodPatches:
    """The patches of good images that a bank is selected from.

    Args:
        embedding: maps to patches.
        cells: cells inside the region of interest.
        budget: memory for the buffer.
        images: number of images to expect, earlier ones included.
        seed: of the selection.
        again: whether images will be looked at a second time.

    Attributes:
        buffer: what is held of them.
        offset: added to the number of an image.
        arrived: images of full weight that were read, in order, without the offset.
    """

    def __init__(
        self,
        embedding: PatchEmbedding,
        cells: NDArray[np.int64],
        budget: BankBudget,
        images: int,
        seed: int,
        *,
        again: bool = False,
    ) -> None:
        self.embedding, self.cells = embedding, cells
        self._inside = torch.from_numpy(cells)
        expected = images * len(cells)
        self.buffer = CoresetBuffer(
            embedding.width,
            budget.capacity,
            budget.reduced_to(expected),
            seed,
            expected if again else 0,
        )
        self.offset = 0
        self.arrived: list[int] = []
        self._doubtful: list[int] = []

    def __enter__(self) -> GoodPatches:
        return self

    def __exit__(self, *_: object) -> None:
        self.buffer.close()

    def add_bank(self, rows: Tensor, origin: NDArray[np.int64], images: int) -> None:
        """Take in the bank of an earlier fit of so many images."""
        self.buffer.add(rows, origin, np.zeros(len(origin), np.int64))
        self.buffer.offered += images * len(self.cells) - len(origin)
        self.offset = images

    def read(
        self, stream: FeatureStream, context: FitContext, folds: NDArray[np.int64] | None = None
    ) -> None:
        """One pass over a stream; raises FitError when nothing in it can be read.

        Images of less than full weight are left for a second pass: of each, so many patches are
        taken in as its weight says, the most ordinary ones.

        Args:
            stream: good images.
            context: progress.
            folds: fold of each image; patches of one fold are reduced together.
        """
        for batch in stream:
            weights = batch.sample_weight
            patches = self._patches(batch)[:, self._inside]
            for place, (image, rows) in enumerate(
                zip(batch.indices.tolist(), patches, strict=True)
            ):
                if weights is not None and weights[place] < 1:
                    self._doubtful.append(image)
                    continue
                self._add(image, rows, self.cells, folds)
                self.arrived.append(image)
            context.progress("reading good images", int(batch.indices[-1]) + 1, len(stream))
        if len(self.buffer) == 0:
            what = "image of full weight" if self._doubtful else "readable image"
            raise FitError(f"no {what} to learn from")
        if self._doubtful:
            self._admit(stream, context, folds)

    def _patches(self, batch: FrameBatch) -> Tensor:
        """On the CPU, where they are kept and selected, `(N, h * w, d)`."""
        patches: Tensor = self.embedding(batch.features.maps)
        return patches.cpu()

    def _admit(
        self, stream: FeatureStream, context: FitContext, folds: NDArray[np.int64] | None
    ) -> None:
        """Take in the ordinary share of each doubtful image."""
        reference = centred_bank(self.buffer.select(REFERENCE_ROWS)[0])
        for batch in stream.subset(self._doubtful):
            weights = batch.sample_weight
            assert weights is not None
            patches = self._patches(batch)[:, self._inside]
            for image, rows, weight in zip(
                batch.indices.tolist(), patches, weights.tolist(), strict=True
            ):
                chosen = most_ordinary(rows, weight, reference)
                self._add(image, rows[chosen], self.cells[chosen.numpy()], folds)

    def _add(
        self,
        image: int,
        rows: Tensor,
        cells: NDArray[np.int64],
        folds: NDArray[np.int64] | None,
    ) -> None:
        origin = np.stack([np.full_like(cells, self.offset + image), cells], axis=1)
        fold = 0 if folds is None else int(folds[image])
        self.buffer.add(rows, origin, np.full(len(cells), fold))

    def again(
        self, stream: FeatureStream, images: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Some images a second time: their indices, and patches `(n, h * w, d)`.

        They come from the buffer's file where that holds every row (cells outside the region are
        then 0), else, and if doubtful, from the stream.
        """
        stored = self.arrived if self.buffer.complete else []
        position = {image: place for place, image in enumerate(stored)}
        found = np.array([image for image in images.tolist() if image in position], np.int64)
        known = np.array([*self.arrived, *self._doubtful], np.int64)
        rest = np.setdiff1d(np.intersect1d(images, known), found)
        height, width = self.embedding.grid_hw
        for start in range(0, len(found), _SCORED_IMAGES):
            some = found[start : start + _SCORED_IMAGES]
            patches = torch.zeros(len(some), height * width, self.embedding.width)
            for place, image in enumerate(some.tolist()):
                first = position[image] * len(self.cells)
                patches[place, self._inside] = self.buffer.rows_at(first, len(self.cells))
            yield some, patches
        if len(rest):
            for batch in stream.subset(rest):
                yield batch.indices, self._patches(batch)
