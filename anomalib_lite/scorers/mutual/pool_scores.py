"""A pool of images judges itself: features to disk, one pass a layer and degree, maps back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.scorers.base import HeldOutScores, Progress
from anomalib_lite.scorers.mutual.matmul import (
    Products,
    both_maxima,
    interval_mean,
    kept_judges,
    make_factors,
)
from anomalib_lite.scorers.mutual.plan import JudgePlan
from anomalib_lite.scorers.mutual.pool_files import PoolFiles
from anomalib_lite.scorers.mutual.tokens import normalise_maps, unit_tokens
from anomalib_lite.system.devices import CPU

PROTOCOL = "batch-transductive"
_READ_IMAGES = 64


@dataclass(frozen=True, eq=False, kw_only=True)
class PoolScores(HeldOutScores):
    """Scores of a pool by itself; raw image scores are in `parts["raw"]`.

    Attributes:
        maps: mean distance per cell of the finest grid, float32 `(N, h, w)`.
        enlarge: maps `(n, h, w)` -> maps of the network's input `(n, H, W)`.
        embeddings: one vector an image, for "most similar" `(N, d)`.
        judges: other images that judged each image, at least.
        products: pairs of images that were multiplied, each once for both.
    """

    maps: NDArray[np.float32]
    enlarge: Callable[[Tensor], Tensor]
    embeddings: NDArray[np.float32]
    judges: int
    products: int

    @property
    def distances(self) -> NDArray[np.float64]:
        """Image scores in units of distance, in the same order `(N,)`.

        RsCIN averages scores that were brought to 0..1 over the pool; this takes them back, so that
        their logarithm has a meaning.
        """
        if np.array_equal(self.image, self.parts["raw"]):
            return self.image.astype(np.float64)
        low, high = float(self.parts["raw"].min()), float(self.parts["raw"].max())
        distances: NDArray[np.float64] = low + (high - low) * self.image.astype(np.float64)
        return distances

    def network_map(self, row: int) -> NDArray[np.float32]:
        """Map of one image at the size of the network's input `(H, W)`."""
        enlarged: NDArray[np.float32] = self.enlarge(torch.from_numpy(self.maps[row][None]))[
            0
        ].numpy()
        return enlarged


@dataclass(frozen=True, eq=False)
class PoolLayer:
    """One layer of a pool.

    Attributes:
        name: its file in the store.
        shape: channels, rows and columns of its map.
        cells: cells inside the region of interest, int64 `(P,)`.
    """

    name: str
    shape: tuple[int, int, int]
    cells: Tensor


@dataclass(frozen=True)
class PassSettings:
    """What all passes share: degrees r of LNAMD, share of judges of MSM, kind of product."""

    degrees: Sequence[int]
    interval: float
    products: Products


def judge_pool(
    files: PoolFiles,
    layers: Sequence[PoolLayer],
    plan: JudgePlan,
    settings: PassSettings,
    progress: Progress,
) -> list[Tensor]:
    """Mean over degrees of the mutual score of each token, float64 `(N, P)` for each layer.

    Memory: the tokens of one layer at one degree, and what a block of images needs.
    """
    images = len(plan.order)
    totals = files.totals([(images, len(layer.cells)) for layer in layers])
    rounds = [(number, degree) for number in range(len(layers)) for degree in settings.degrees]
    work = plan.products * len(rounds)
    for turn, (number, degree) in enumerate(rounds):
        if turn < files.passes:
            continue
        layer = layers[number]
        done = turn * plan.products

        def tell(pairs: int, done: int = done) -> None:
            progress("comparing images", done + pairs, work)

        files.open_maxima(plan, len(layer.cells))
        _compare(files, turn, _tokens(files, layer, degree, plan, settings), plan, settings, tell)
        scores = _lowest(files, plan, len(layer.cells), settings.interval)
        totals[number] += scores / len(settings.degrees)
        files.finish_pass(turn, totals)
    return totals


def compare_device(layer: PoolLayer, products: Products) -> torch.device:
    """Where tokens are compared: where the scorer is; torch multiplies int8 freely on the CPU."""
    return layer.cells.device if products == "float32" else CPU


def _tokens(
    files: PoolFiles, layer: PoolLayer, degree: int, plan: JudgePlan, settings: PassSettings
) -> Tensor:
    """Tokens of all images in the order of the plan, `(N, P, C)`."""
    store = files.store(layer.name, layer.shape)
    device = compare_device(layer, settings.products)
    cells = layer.cells.to(device)
    tokens = torch.empty(len(plan.order), len(cells), layer.shape[0], device=device)
    for start in range(0, len(tokens), _READ_IMAGES):
        chosen = plan.order[start : start + _READ_IMAGES]
        maps = torch.from_numpy(store.read(chosen)).to(device)
        tokens[start : start + len(chosen)] = unit_tokens(normalise_maps(maps), degree, cells)
    return tokens


def _compare(
    files: PoolFiles,
    turn: int,
    tokens: Tensor,
    plan: JudgePlan,
    settings: PassSettings,
    tell: Callable[[int], None],
) -> None:
    """All products of one pass, from the block where the last run was interrupted."""
    factors = make_factors(tokens, settings.products)
    del tokens
    pairs = 0
    for block in range(len(plan.judges)):
        own = plan.members(block)
        tiles = plan.tiles(block)
        if block < files.next_block(turn):
            pairs += sum(plan.pairs(block, judge) for judge in tiles)
            continue
        left = factors._replace(rows=factors.rows[_slice(own)])
        for judge in tiles:
            others = plan.members(judge)
            right = left
            if judge != block:
                right = factors._replace(rows=factors.rows[_slice(others)])
            mine, theirs = both_maxima(left, right)
            files.put(block, judge, mine)
            if judge != block:
                files.put(judge, block, theirs)
            pairs += plan.pairs(block, judge)
            tell(pairs)
        files.finish_block(turn, block)


def _lowest(files: PoolFiles, plan: JudgePlan, cells: int, interval: float) -> Tensor:
    """Interval mean of every token, float64 `(N, cells)` in the order of the pool."""
    scores = torch.empty(len(plan.order), cells, dtype=torch.float64)
    for block in range(len(plan.judges)):
        maxima = files.take(block).transpose(1, 2).contiguous()
        kept = kept_judges(maxima.shape[2] - 1, interval)
        chosen = torch.from_numpy(plan.order[_slice(plan.members(block))])
        scores[chosen] = interval_mean(maxima, kept).double()
    return scores


def _slice(members: range) -> slice:
    return slice(members.start, members.stop)
