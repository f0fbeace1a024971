"""A frozen pool: some images of a pool, kept so that single frames can be judged by them.

A variant of this project: MuSc itself judges whole pools only. Which images are kept is decided by
a lot that each image draws from the seed and its index, so the choice without a fold is the choice
of a fit that never saw it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from anomalib_lite.scorers.mutual.matmul import interval_mean, kept_judges

FROZEN = "frozen-pool (variant of musc: kept images judge single frames)"
"""Protocol of a fitted musc. The published one is `mutual_pool.PROTOCOL`."""

Tokens = list[Tensor]
"""Tokens of one image at every layer and degree, each `(P, C)`."""


class Candidates:
    """Images that are kept, or would be kept were one of the folds not there.

    Args:
        most: images to keep.
        folds: for each fold its images.
        seed: decides the lots.
    """

    def __init__(self, most: int, folds: Sequence[Collection[int]], seed: int) -> None:
        self._most, self._seed = most, seed
        self._folds = [frozenset(fold) for fold in folds]
        self._lots: dict[int, float] = {}
        self.tokens: dict[int, Tokens] = {}

    def offer(self, index: int, tokens: Iterable[Tensor]) -> None:
        """Keep an image if its lot is among the lowest; drops another one for it."""
        self._lots[index] = float(np.random.default_rng([self._seed, index]).random())
        self.tokens[index] = []
        wanted = set(self.chosen())
        for fold in self._folds:
            wanted.update(self.chosen(fold))
        for other in self.tokens.keys() - wanted:
            del self.tokens[other], self._lots[other]
        if index in wanted:
            self.tokens[index] = [part.clone() for part in tokens]

    def chosen(self, without: Collection[int] = ()) -> list[int]:
        """Indices of the images to keep, ascending."""
        left = [index for index in self.tokens if index not in without]
        return sorted(sorted(left, key=self._lots.__getitem__)[: self._most])


class FrozenPool(nn.Module):
    """Judges tokens by those of the kept images, with the interval average of MSM.

    Args:
        degrees: tokens a layer.
        interval: share of the kept images that count.

    Attributes:
        origin_: index of each kept image, int64 `(M,)`.
        bank0_, bank1_, ...: their tokens, a layer and degree each, float32 `(M * P, C)`.
    """

    origin_: Tensor

    def __init__(self, degrees: int, interval: float) -> None:
        super().__init__()
        self._degrees, self._interval = degrees, interval

    @property
    def filled(self) -> bool:
        """Whether images were kept."""
        return "origin_" in self._buffers

    def keep(self, candidates: Candidates, without: Collection[int] = ()) -> None:
        """Take over what the candidates have chosen."""
        chosen = candidates.chosen(without)
        device = candidates.tokens[chosen[0]][0].device
        self.register_buffer("origin_", torch.tensor(chosen, dtype=torch.int64).to(device))
        for place in range(len(candidates.tokens[chosen[0]])):
            bank = torch.cat([candidates.tokens[index][place] for index in chosen])
            self.register_buffer(f"bank{place}_", bank)

    def forward(self, layers: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Tokens `(N, P, C)` of each layer and degree -> scores `(N, P)` of each layer."""
        count = len(self.origin_)
        kept = kept_judges(count, self._interval)
        scores, place = [], 0
        for tokens in layers:
            total = tokens[0].new_zeros(())
            for part in tokens:
                products = part @ self.get_buffer(f"bank{place}_").T
                by_image = products.view(-1, part.shape[1], count, part.shape[1])
                total = total + interval_mean(by_image.amax(dim=3), kept)
                place += 1
            scores.append(total / self._degrees)
        return scores
