"""MuSc: unlabelled images judge each other (Li, Huang, Xue, Zhou 2024). Nothing is trained.

`score_pool` is the paper's method: the pool is the test set, and every image is compared with all
others.
`fit` keeps some images of a pool so that single frames can be judged by them; that is a variant of
this project, not the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.backbones.features import FeatureLayout, Features
from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.scorers.base import FeatureStream, FitContext, HeldOutScores, Scorer, Scores
from anomalib_lite.scorers.mutual.cost import compare_seconds, pool_bytes
from anomalib_lite.scorers.mutual.frozen_pool import FROZEN, Candidates, FrozenPool
from anomalib_lite.scorers.mutual.maps import MapCombiner, patch_layers
from anomalib_lite.scorers.mutual.matmul import Products, int8_is_exact
from anomalib_lite.scorers.mutual.plan import BLOCK, JudgePlan, plan_judges
from anomalib_lite.scorers.mutual.pool_files import PoolFiles
from anomalib_lite.scorers.mutual.pool_scores import (
    PROTOCOL,
    PassSettings,
    PoolLayer,
    PoolScores,
    judge_pool,
)
from anomalib_lite.scorers.mutual.rscin import smooth_scores
from anomalib_lite.scorers.mutual.tokens import normalise_maps, unit_tokens
from anomalib_lite.scorers.registry import register_scorer
from anomalib_lite.system.spill import SpillStore

_EMBEDDING = "embedding"
_FEWEST = 2
_LARGEST_DEGREE = 15
# An image may be judged by the same kept images as in the end: its own score must then not be the
# threshold to the last digit, or rounding would decide.
_ABOVE = np.float32(1.0001)


@register_scorer
class MuSc(Scorer):
    """Each patch is as odd as its nearest patches in the other images are far.

    Args:
        patch_layers: layer names; None takes those of stride 8 and 16, else all. Of a vision
            transformer these are its blocks.
        degrees: r of LNAMD: neighbourhoods r x r to average over; [1] switches it off.
        interval: share of MSM: so many of the other images count, those with the nearest patches;
            1 switches it off (the mean over all).
        rscin: numbers of neighbours of RsCIN, [1, 2, 3] in the paper: image scores of a pool are
            averaged over look-alikes; [] leaves each image its own.
        judges: images that judge each image, for large pools; None takes all.
        products: `float32`; `int16`: quicker, to a distance of about 3e-5; `int8`: three times
            quicker, rounded so far that near-ties change places.
        references: images that `fit` keeps for judging single frames.

    Attributes:
        frozen: the images that `fit` has kept.
    """

    name = "musc"
    protocol = FROZEN

    def __init__(
        self,
        patch_layers: Sequence[str] | None = None,
        degrees: Sequence[int] = (1, 3, 5),
        interval: float = 0.3,
        rscin: Sequence[int] = (),
        judges: int | None = None,
        products: Products = "float32",
        references: int = 24,
    ) -> None:
        super().__init__()
        _check_counts("degrees", degrees)
        _check_counts("rscin", rscin)
        if not degrees or any(r % 2 == 0 or r > _LARGEST_DEGREE for r in degrees):
            raise SettingsError(f"degrees is {list(degrees)}; choose odd numbers such as [1, 3, 5]")
        if not 0 < interval <= 1:
            raise SettingsError(f"interval is {interval}; choose a share up to 1, e.g. 0.3")
        for name, count in (("judges", judges), ("references", references)):
            if count is not None and not (type(count) is int and count >= 1):
                raise SettingsError(f"{name} is {count}; choose 1 or more")
        if products not in get_args(Products):
            raise SettingsError(f"products is {products!r}; choose float32, int16 or int8")
        if products != "float32" and not int8_is_exact():
            raise SettingsError("this machine does not multiply int8 exactly; choose float32")
        self.patch_layers = None if patch_layers is None else list(patch_layers)
        self.degrees = list(degrees)
        self.interval = interval
        self.rscin = list(rscin)
        self.judges = judges
        self.products: Products = products
        self.references = references

    def build(self, layout: FeatureLayout) -> None:
        super().build(layout)
        self._layers = patch_layers(layout, self.patch_layers)
        self._global = next((info for info in layout.layers if info.grid_hw == (1, 1)), None)
        self.combine = MapCombiner(layout, self._layers)
        self.frozen = FrozenPool(len(self.degrees), self.interval)

    def pool_bytes(self, images: int) -> tuple[int, int]:
        """Estimated peak memory and disk space of `score_pool` on so many images, bytes."""
        return pool_bytes(plan_judges(images, self.judges), self._pool_layers)

    def pool_seconds(self, images: int) -> float:
        """Estimated time of the comparisons of `score_pool` on this machine as it is now."""
        plan = plan_judges(images, self.judges)
        return compare_seconds(plan, self._pool_layers, self._passes)

    def memory_bytes(self) -> int:
        """The kept images' tokens, those that folds need more, and the products of a batch."""
        cells = [len(self.combine.cells(number)) for number in range(len(self._layers))]
        numbers = sum(p * info.channels for p, info in zip(cells, self._layers, strict=True))
        bank = self.references * numbers * len(self.degrees)
        return 4 * (4 * bank + BLOCK * self.references * max(cells) ** 2)

    def score_pool(self, stream: FeatureStream, context: FitContext) -> PoolScores:
        """Scores for every usable image of the pool by the others (the paper's method).

        With a checkpoint folder in the context an interrupted pool can be continued; who gives it
        removes it.

        Raises:
            FitError: fewer than 2 usable images, or the disk is full.
            SettingsError: the checkpoint belongs to other settings or images.
        """
        with torch.no_grad(), self._files(stream, context) as files:
            if files.indices is None:
                self._read(stream, files, context)
            indices = np.array(files.indices, np.int64)
            if len(indices) < _FEWEST:
                raise FitError(f"{len(indices)} usable image(s): a pool needs at least {_FEWEST}")
            plan = plan_judges(len(indices), self.judges, context.seed)
            totals = judge_pool(files, self._pool_layers, plan, self._passes, context.progress)
            files.finish(layer.name for layer in self._layers)
            maps = self._joined(totals)
            embeddings = self._embeddings(files).read(np.arange(len(indices)))
            return self._scores(indices, maps, embeddings, plan)

    def _scores(
        self,
        indices: NDArray[np.int64],
        maps: NDArray[np.float32],
        embeddings: NDArray[np.float32],
        plan: JudgePlan,
    ) -> PoolScores:
        raw = maps.max(axis=(1, 2)).astype(np.float64)
        image = smooth_scores(raw, embeddings, self.rscin)
        return PoolScores(
            indices=indices,
            image=image.astype(np.float32),
            map_peak=raw.astype(np.float32),
            parts={"raw": raw.astype(np.float32)},
            maps=maps,
            enlarge=self._enlarged,
            embeddings=embeddings,
            judges=plan.fewest_judges,
            products=plan.products,
        )

    def _joined(self, totals: Sequence[Tensor]) -> NDArray[np.float32]:
        """Sums of all passes, float64 on the CPU, as maps on the finest grid."""
        maps: Tensor = self.combine([total.float().to(self.device) for total in totals])
        joined: NDArray[np.float32] = maps.cpu().numpy()
        return joined

    def _enlarged(self, maps: Tensor) -> Tensor:
        """Maps on the CPU -> maps of the input on the CPU."""
        return self.combine.enlarge(maps.to(self.device)).cpu()

    def _files(self, stream: FeatureStream, context: FitContext) -> PoolFiles:
        backbone = getattr(stream, "backbone", None)
        identity = {
            "protocol": PROTOCOL,
            "scorer": self.settings(),
            "seed": context.seed,
            "images": len(stream),
            "input_hw": list(self.layout.input_hw),
            "layers": [info.name for info in self.layout.layers],
            "weights": getattr(backbone, "weights_sha256", ""),
        }
        return PoolFiles(context.checkpoint, identity, resume=context.resume)

    def _read(self, stream: FeatureStream, files: PoolFiles, context: FitContext) -> None:
        """Bring the features of all usable images to the disk."""
        files.discard([*(layer.name for layer in self._layers), _EMBEDDING])
        files.require_room(len(stream), self.pool_bytes(max(_FEWEST, len(stream)))[1])
        stores = {layer.name: files.store(layer.name, layer.shape) for layer in self._pool_layers}
        embeddings = self._embeddings(files)
        indices: list[int] = []
        for batch in stream:
            slots = np.arange(len(indices), len(indices) + len(batch.indices))
            for name, store in stores.items():
                store.write(slots, batch.features.maps[name].cpu().numpy())
            embeddings.write(slots, self._embed(batch.features).cpu().numpy())
            indices += batch.indices.tolist()
            context.progress("reading the pool", int(batch.indices[-1]) + 1, len(stream))
        files.finish_reading(indices)

    @property
    def _pool_layers(self) -> list[PoolLayer]:
        return [
            PoolLayer(info.name, (info.channels, *info.grid_hw), self.combine.cells(number))
            for number, info in enumerate(self._layers)
        ]

    @property
    def _passes(self) -> PassSettings:
        return PassSettings(self.degrees, self.interval, self.products)

    def _embeddings(self, files: PoolFiles) -> SpillStore:
        return files.store(_EMBEDDING, ((self._global or self._layers[-1]).channels,))

    def _embed(self, features: Features) -> Tensor:
        """The class embedding, or where there is none the mean of the deepest layer, `(N, d)`."""
        return features.maps[(self._global or self._layers[-1]).name].mean(dim=(2, 3))

    def fit(self, stream: FeatureStream, context: FitContext) -> None:
        """Keep some images of an unlabelled pool to judge single frames by (a variant)."""
        self.frozen.keep(self._collect(stream, [], context))

    def cross_fit(
        self, stream: FeatureStream, folds: NDArray[np.int64], context: FitContext
    ) -> HeldOutScores:
        """Keep images, and score each image by what is kept when its fold is not there."""
        names = [int(fold) for fold in np.unique(folds[folds >= 0])]
        members = [np.flatnonzero(folds == fold).tolist() for fold in names]
        candidates = self._collect(stream, members, context)
        indices, image, peaks = [], [], []
        for position, fold in enumerate(members):
            self.frozen.keep(candidates, frozenset(fold))
            for batch in stream.subset(fold):
                scores = self(batch.features)
                indices.append(batch.indices)
                image.append(scores.image.cpu().numpy() * _ABOVE)
                peaks.append(scores.map.amax(dim=(1, 2)).cpu().numpy() * _ABOVE)
            context.progress("scoring held-out images", position + 1, len(members))
        self.frozen.keep(candidates)
        return HeldOutScores(np.concatenate(indices), np.concatenate(image), np.concatenate(peaks))

    def forward(self, features: Features) -> Scores:
        """Scores by the kept images.

        Raises:
            FitError: nothing was kept yet.
        """
        if not self.frozen.filled:
            raise FitError(
                "musc judges whole pools (score-pool); to judge single frames, fit it on a pool"
            )
        grid = self.combine(
            self.frozen([self._tokens(features, number) for number in range(len(self._layers))])
        )
        return Scores(grid.amax(dim=(1, 2)), self.combine.enlarge(grid))

    def _tokens(self, features: Features, number: int) -> list[Tensor]:
        """Tokens of one layer at each degree, each `(N, P, C)`."""
        normalised = normalise_maps(features.maps[self._layers[number].name])
        cells = self.combine.cells(number) if self.layout.roi is not None else None
        return [unit_tokens(normalised, degree, cells) for degree in self.degrees]

    def _collect(
        self, stream: FeatureStream, folds: Sequence[Sequence[int]], context: FitContext
    ) -> Candidates:
        """Tokens of the images that are kept, and of those that are kept without a fold."""
        candidates = Candidates(self.references, folds, context.seed)
        for batch in stream:
            tokens = [
                part
                for number in range(len(self._layers))
                for part in self._tokens(batch.features, number)
            ]
            for row, index in enumerate(batch.indices.tolist()):
                candidates.offer(index, (part[row] for part in tokens))
            context.progress("reading the pool", int(batch.indices[-1]) + 1, len(stream))
        if not candidates.tokens:
            raise FitError("no readable image to learn from")
        return candidates


def _check_counts(name: str, counts: Sequence[int]) -> None:
    if not all(type(count) is int and count >= 1 for count in counts):
        raise SettingsError(f"{name} is {list(counts)}; choose whole numbers from 1")
