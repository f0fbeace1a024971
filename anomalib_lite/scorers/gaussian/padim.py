"""PaDiM: one Gaussian per patch position (Defard et al. 2021), in its exact nested form.

PaDiM copies each coarse vector over its finer positions. Copies share their statistics, so by the
chain rule `d2(fine, coarse) = d2(coarse) + d2(fine | coarse)`, the first term once per coarse cell:
nothing is approximated, a fraction of the numbers is stored and read (docs/methods/padim.md).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.backbones.features import FeatureLayout, Features, LayerInfo
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.base import FeatureStream, FitContext, HeldOutScores, Scorer, Scores
from anomalib_lite.scorers.batches import NotedWeights
from anomalib_lite.scorers.gaussian.chain_rule import squared_distances
from anomalib_lite.scorers.gaussian.compact_grids import SharedMoments, shared_distances
from anomalib_lite.scorers.gaussian.folded_nodes import FoldedNodes, groups
from anomalib_lite.scorers.gaussian.moments import NestedMoments
from anomalib_lite.scorers.gaussian.nested_grids import NestedGrids, SharedGrids
from anomalib_lite.scorers.gaussian.pooled import PooledMoments
from anomalib_lite.scorers.gaussian.shrinkage import (
    Shrinkage,
    ShrinkageSearch,
    shrinkage_setting,
    shrunk_factors,
)
from anomalib_lite.scorers.image_score import (
    TOP_SHARE,
    ImageScore,
    ImageScoreKind,
    image_score_settings,
)
from anomalib_lite.scorers.registry import register_scorer
from anomalib_lite.scorers.smoothing import EnlargeAndBlur

_PAPER_CHANNELS = 100
_LARGEST_SIGMA = 1000
_LARGEST_BLOCK = 10  # as a power of two
Moments = NestedMoments | SharedMoments | PooledMoments


@register_scorer
class PaDiM(Scorer):
    """Mahalanobis distance to the Gaussian of each position; the map's maximum is the score.

    Args:
        num_features: channels drawn from all layers; None takes the paper's 100, or all if fewer.
        regularisation: added to each covariance's diagonal (the paper's 0.01).
        sigma: blur of the enlarged map, input pixels (the paper's 4).
        compact: None fits a covariance per position (the paper's); 1, 2, 4, ... lets squares of so
            many coarsest cells per side share one, in half precision (docs/methods/padim.md).
        shrinkage: draws the covariance of each place towards one that all share: 0 or None not at
            all (the paper's), 1 leaves one for all places (a small, quick file), auto takes the
            amount under which held-out good images are likeliest; for few photographs.
        image_score: `"max"` of the map (the paper's), or `"top"`: the mean of its largest values.
        top_share: share of the map that `"top"` counts.

    Attributes:
        channels_: chosen channels in the concatenation of all layers, int64 `(d,)`.
        moments: float64 moments of all good images, additive.
        shrinkage_: the amount that auto has chosen, float32 scalar.
        mean0_, whitening0_, ...: float32 factors, coarse level first (or `SharedMoments.factors`).
    """

    name = "padim"
    memory_settings = ("num_features",)
    channels_: Tensor
    shrinkage_: Tensor

    def __init__(
        self,
        num_features: int | None = None,
        regularisation: float = 0.01,
        sigma: float = 4.0,
        compact: int | None = None,
        image_score: ImageScoreKind = "max",
        top_share: float = TOP_SHARE,
        shrinkage: Shrinkage = None,
    ) -> None:
        super().__init__()
        if num_features is not None and not (type(num_features) is int and num_features >= 1):
            raise SettingsError(f"num_features is {num_features}; choose 1 or more")
        if not 0 < regularisation < math.inf:
            raise SettingsError(f"regularisation is {regularisation}; choose a value above 0")
        if not 0 <= sigma <= _LARGEST_SIGMA:
            raise SettingsError(f"sigma is {sigma}; choose 0 to {_LARGEST_SIGMA} pixels")
        powers = (1 << exponent for exponent in range(_LARGEST_BLOCK + 1))
        if compact is not None and not (type(compact) is int and compact in powers):
            raise SettingsError(
                f"compact is {compact}; choose 1, 2, 4, 8, ... {1 << _LARGEST_BLOCK}"
            )
        self.num_features = num_features
        self.regularisation = regularisation
        self.sigma = sigma
        self.compact = compact
        self.shrinkage = shrinkage_setting(shrinkage, compact)
        self.image_score, self.top_share = image_score_settings(image_score, top_share)
        self.tolerates_half = compact is not None

    def build(self, layout: FeatureLayout) -> None:
        super().build(layout)
        by_stride: dict[int, list[LayerInfo]] = {}
        for layer in layout.layers:
            by_stride.setdefault(layer.stride, []).append(layer)
        strides = sorted(by_stride, reverse=True)
        self._levels = [by_stride[stride] for stride in strides]
        grids = [layers[0].grid_hw for layers in self._levels]
        share = layout.cell_share(grids[-1])
        self.enlarge = EnlargeAndBlur.of_grid(layout, grids[-1], self.sigma)
        self.summary = ImageScore(self.image_score, self.top_share, layout.pixels_inside)
        self.moments: Moments
        self._active = share > 0
        if self.compact is None:
            self.grids = NestedGrids.from_strides(strides, grids)
            self._tree_levels = list(range(self.grids.levels))
            pooled = self.shrinkage == 1
            self.moments = (
                PooledMoments(self.grids, self._active) if pooled else NestedMoments(self.grids)
            )
        else:
            self._shared = SharedGrids(strides, grids, self.compact)
            self.grids, self._tree_levels = self._shared.tree, self._shared.layers
            self.moments = SharedMoments(self._shared, self._active)

        if self.shrinkage == "auto":
            self.register_buffer("shrinkage_", torch.zeros(()))

    def memory_bytes(self) -> int:
        total = sum(layer.channels for layer in self.layout.layers)
        drawn = min(self.num_features or _PAPER_CHANNELS, total)
        widths = [
            round(drawn * sum(layer.channels for layer in level) / total) for level in self._levels
        ]
        # total, one fold and their difference in float64, one float32 factor
        return self.moments.numbers(widths) * (3 * 8 + 4)

    def fit(self, stream: FeatureStream, context: FitContext) -> None:
        self._draw_channels(context.seed)
        if self.shrinkage == "auto":
            with self._folded(stream, None) as held:
                self._learn(held, context)
        else:
            self._accumulate(stream, context, +1)
        self._take_factors(self.moments)

    def partial_fit(self, stream: FeatureStream, context: FitContext) -> None:
        """Add good images: moments add."""
        self._accumulate(stream, context, +1)
        self._take_factors(self.moments)

    def forget(self, stream: FeatureStream, context: FitContext) -> None:
        """Take images out: moments subtract."""
        self._accumulate(stream, context, -1)
        self._take_factors(self.moments)

    def cross_fit(
        self, stream: FeatureStream, folds: NDArray[np.int64], context: FitContext
    ) -> HeldOutScores:
        """Fit on all images and score each fold by `total - fold`, from cached features."""
        self._draw_channels(context.seed)
        with self._folded(stream, folds) as held:
            self._learn(held, context)
            held_out = self._score_folds(held, context)
        self._take_factors(self.moments)
        return held_out

    def effective_images(self, sample_weight: NDArray[np.float64]) -> float:
        """Sum of the weights: an image of weight 1/2 counts as half a one in every moment."""
        return float(sample_weight.sum())

    def forward(self, features: Features) -> Scores:
        anomaly_map = self.enlarge(self.distances(self._nodes(features)))
        return Scores(self.summary(anomaly_map), anomaly_map)

    def distances(self, nodes: list[Tensor]) -> Tensor:
        """Mahalanobis distance per finest cell, `(N, h, w)`, from node tensors coarse to fine."""
        widths = self.moments.widths
        if isinstance(self.moments, SharedMoments):
            return shared_distances(self._shared, widths, nodes, self.get_buffer)
        factors = [
            (self.get_buffer(f"mean{level}_"), self.get_buffer(f"whitening{level}_"))
            for level in range(self.grids.levels)
        ]
        squared = squared_distances(self.grids, widths, nodes, factors)
        return self.grids.from_nodes(squared.sqrt(), self.grids.levels - 1)

    def _nodes(self, features: Features) -> list[Tensor]:
        """Chosen channels of each level as nodes `(P, N, c)`, coarse first."""
        nodes = []
        for level, layers in enumerate(self._levels):
            index = getattr(self, f"index{level}_")
            maps = [features.maps[layer.name] for layer in layers]
            joined = maps[0] if len(maps) == 1 else torch.cat(maps, dim=1)
            drawn = joined.index_select(1, index)
            width = self.moments.widths[level]
            nodes.append(self.grids.to_nodes(drawn, self._tree_levels[level], width))
        return nodes

    def _draw_channels(self, seed: int) -> None:
        total = sum(layer.channels for layer in self.layout.layers)
        drawn = min(self.num_features or _PAPER_CHANNELS, total)
        generator = torch.Generator().manual_seed(seed)
        channels = torch.randperm(total, generator=generator)[:drawn].sort().values
        offsets, position = {}, 0
        for layer in self.layout.layers:
            offsets[layer.name] = position
            position += layer.channels
        widths = []
        for level, layers in enumerate(self._levels):
            picked, start = [], 0
            for layer in layers:
                first = offsets[layer.name]
                inside = channels[(channels >= first) & (channels < first + layer.channels)]
                picked.append(inside - first + start)
                start += layer.channels
            index = torch.cat(picked).to(self.device)
            self.register_buffer(f"index{level}_", index)
            widths.append(len(index))
        self.register_buffer("channels_", channels.to(self.device))
        self.moments.reset(widths)

    def _node_shapes(self) -> list[tuple[int, int]]:
        """Nodes and channels of each layer."""
        widths = self.moments.widths
        return [(self.grids.nodes(i), w) for i, w in zip(self._tree_levels, widths, strict=True)]

    def _folded(self, stream: FeatureStream, folds: NDArray[np.int64] | None) -> FoldedNodes:
        return FoldedNodes(stream, folds, self._node_shapes(), self._nodes, self.device)

    def _accumulate(self, stream: FeatureStream, context: FitContext, sign: int) -> None:
        weights = NotedWeights()
        for indices, nodes in groups(stream, context, weights, self._nodes):
            self.moments.add(nodes, sign, weights.of(indices))

    def _learn(self, held: FoldedNodes, context: FitContext) -> None:
        """One pass over the images; then, where it is to be chosen, the shrinkage."""
        for indices, nodes in held.first_pass(context):
            self.moments.add(nodes, +1, held.weights.of(indices))
        if self.shrinkage != "auto":
            return
        search = ShrinkageSearch(self.grids, self._active, self.regularisation)
        for position in range(held.count):
            others = self._without(held, position)
            assert isinstance(others, NestedMoments)  # neither pooled nor compact with auto
            search.begin_fold(others)
            for indices, nodes in held.fold(position):
                search.add(nodes, held.weights.of(indices))
            context.progress("choosing the shrinkage", position + 1, held.count)
        self.shrinkage_ = torch.tensor(search.best(), device=self.device)

    def _without(self, held: FoldedNodes, position: int) -> Moments:
        """Moments of all images but those of a fold."""
        others = self.moments.copy()
        for indices, nodes in held.fold(position):
            others.add(nodes, -1, held.weights.of(indices))
        return others

    def _score_folds(self, held: FoldedNodes, context: FitContext) -> HeldOutScores:
        """Score every fold by the moments of all others."""
        indices, image, peaks = [], [], []
        for position in range(held.count):
            self._take_factors(self._without(held, position))
            for chunk, nodes in held.fold(position):
                indices.append(chunk)
                anomaly_map = self.enlarge(self.distances(nodes))
                image.append(self.summary(anomaly_map).cpu().numpy())
                peaks.append(anomaly_map.amax(dim=(1, 2)).cpu().numpy())
            context.progress("scoring held-out images", position + 1, held.count)
        return HeldOutScores(np.concatenate(indices), np.concatenate(image), np.concatenate(peaks))

    def _take_factors(self, moments: Moments) -> None:
        if isinstance(moments, SharedMoments):
            for name, factor in moments.factors(self.regularisation).items():
                self.register_buffer(name, factor.to(self.device))
            return
        amount = float(self.shrinkage_ if self.shrinkage == "auto" else self.shrinkage or 0)
        found = shrunk_factors(moments, self._active, self.regularisation, amount)
        for level, (mean, factor) in enumerate(found):
            self.register_buffer(f"mean{level}_", mean.to(self.device))
            self.register_buffer(f"whitening{level}_", factor.to(self.device))
