"""Which layers to read, judged on good images only (`fit --layers auto`).

Two figures that need no defect, per layer:

* effective rank (RankMe; Garrido et al. 2023): `exp` of the entropy of the singular values of the
  patch vectors, scaled to sum to one. How many directions a layer really uses.
* likelihood gain: log-likelihood per channel of good images that were held out, under a Gaussian
  with full covariance minus that of one with a diagonal; in nats. How much of a layer's structure
  a Gaussian learns from these images and finds again in others.

A set starts with the layer of largest gain and takes, one at a time, the layer that raises the
effective rank of the concatenation most, as long as it does so by a tenth. Whether that helps is
measured in docs/methods/layers.md.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.backbones import create_backbone
from anomalib_lite.backbones.base import register_backbone
from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.edge.errors import FitError, telling_reasons
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.sources import SourceLike, open_good_images
from anomalib_lite.scorers import FeatureStream, Progress
from anomalib_lite.scorers.base import no_progress
from anomalib_lite.statistics.covariance import ledoit_wolf
from anomalib_lite.statistics.spread import spread

STRIDES = (4, 16)
"""Coarsest-to-finest range of layers that are considered, input pixels per cell."""

_IMAGES = 256
_CELLS = 16
_GRID = 8
_HELD_OUT = 5
_FEWEST = 5
_RAISE = 1.1
_MOST = 4


@dataclass(frozen=True)
class LayerEvidence:
    """What good images say about a layer.

    Attributes:
        name: of the layer.
        channels: number of channels.
        stride: input pixels per cell.
        effective_rank: directions in use, 1 to `channels`.
        gain: held-out log-likelihood gain, nats per channel.
    """

    name: str
    channels: int
    stride: int
    effective_rank: float
    gain: float


@dataclass(frozen=True)
class LayerChoice:
    """Chosen layers and why.

    Attributes:
        layers: names, shallow to deep.
        evidence: every candidate.
        steps: `(layer, effective rank of the set with it)` in the order of choosing.
        images: how many good images were looked at.
    """

    layers: tuple[str, ...]
    evidence: tuple[LayerEvidence, ...]
    steps: tuple[tuple[str, float], ...]
    images: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, as stored in the detector's file."""
        found = asdict(self)
        found["layers"], found["steps"] = list(self.layers), [list(step) for step in self.steps]
        found["evidence"] = list(found["evidence"])
        return found

    def explain(self) -> list[str]:
        """The reasons in words, a line each."""
        lines = [
            f"{item.name}: effective rank {item.effective_rank:.1f} of {item.channels}, "
            f"held-out likelihood gain {item.gain:.3f} nats per channel"
            for item in self.evidence
        ]
        (first, rank), *rest = self.steps
        lines.append(f"{first} first: the largest gain (effective rank {rank:.1f})")
        for name, raised in rest:
            lines.append(f"with {name}: effective rank {rank:.1f} -> {raised:.1f}")
            rank = raised
        lines.append(f"layers chosen from {self.images} good images: {', '.join(self.layers)}")
        return lines


def choose_layers(
    source: SourceLike,
    *,
    backbone: str,
    spec: InputSpec,
    weights: str | Path | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> LayerChoice:
    """Choose layers of a backbone on good images; one pass over at most 256 of them.

    Args:
        source: good images.
        backbone: name; its layers of stride 4 to 16 are considered, all blocks of a transformer.
        spec: the preparation.
        weights: as `create_backbone` takes them.
        seed: which cells of which images are looked at.
        progress: called with stage, images done, images in total.

    Raises:
        FitError: fewer than 5 usable images.
    """
    network = create_backbone(
        backbone,
        layers=candidates(backbone, spec.size_hw),
        weights=weights,
        input_hw=spec.size_hw,
    )
    stream = ImageStream(open_good_images(source, exif=spec.exif), network, spec)
    if len(stream) > _IMAGES:
        picked = stream.subset(spread(len(stream), _IMAGES))
        with telling_reasons(stream.skipped):
            return rank_layers(picked, seed=seed, progress=progress)
    return rank_layers(stream, seed=seed, progress=progress)


def candidates(backbone: str, input_hw: tuple[int, int]) -> list[str] | None:
    """Layers of a backbone with strides 4 to 16, None for all that it reads by default."""
    if backbone in register_backbone.known:
        return None
    from anomalib_lite.backbones.timm_models import layer_strides

    strides = layer_strides(backbone, input_hw)
    found = [name for name, stride in strides.items() if STRIDES[0] <= stride <= STRIDES[1]]
    return found or None


def rank_layers(
    stream: FeatureStream, *, seed: int = 0, progress: Progress = no_progress
) -> LayerChoice:
    """Evidence for every layer of a stream, and the chosen set; holds 16 vectors per image."""
    rows, images = _sample(stream, seed, progress)
    if images < _FEWEST:
        raise FitError(
            f"{images} usable good images; layers are chosen from at least {_FEWEST}: name them"
        )
    evidence = []
    for layer in stream.layout.layers:
        own = rows[layer.name]
        rank, gain = effective_rank(own.flatten(0, 1)), likelihood_gain(own)
        evidence.append(LayerEvidence(layer.name, layer.channels, layer.stride, rank, gain))
    steps = _grow(rows, evidence)
    chosen = {name for name, _ in steps}
    layers = tuple(item.name for item in evidence if item.name in chosen)
    return LayerChoice(layers, tuple(evidence), tuple(steps), images)


def effective_rank(rows: Tensor) -> float:
    """RankMe of rows `(n, d)`, centred and scaled per channel: 1 to d."""
    singular = torch.linalg.svdvals(_standardised(rows.double()))
    share = singular / singular.sum().clamp(min=1e-12)
    return math.exp(float(-(share * share.clamp(min=1e-12).log()).sum()))


def likelihood_gain(rows: Tensor) -> float:
    """Held-out log-likelihood per channel, full covariance minus diagonal, nats.

    Args:
        rows: vectors `(images, cells, d)`; every fifth image is held out.
    """
    precise = rows.double()
    kept = torch.arange(len(rows)) % _HELD_OUT != 0
    learn, test = precise[kept].flatten(0, 1), precise[~kept].flatten(0, 1)
    scale = learn.std(dim=0).clamp(min=1e-6)
    mean = learn.mean(dim=0)
    covariance, _ = ledoit_wolf(learn / scale)
    factor = torch.linalg.cholesky(covariance + 1e-6 * torch.eye(len(scale), dtype=torch.float64))
    centred = (test - mean) / scale
    white = torch.linalg.solve_triangular(factor, centred.T, upper=False)
    full = -0.5 * white.square().sum(dim=0) - factor.diagonal().log().sum()
    diagonal = -0.5 * centred.square().sum(dim=1)
    return float((full - diagonal).mean()) / rows.shape[2]


def _sample(stream: FeatureStream, seed: int, progress: Progress) -> tuple[dict[str, Tensor], int]:
    """Vectors `(images, 16, C)` of the same cells of every layer, averaged to an 8x8 grid."""
    share = stream.layout.cell_share((_GRID, _GRID)).flatten().numpy()
    inside = np.flatnonzero(share > 0)
    generator = np.random.default_rng(seed)
    rows: dict[str, list[Tensor]] = {layer.name: [] for layer in stream.layout.layers}
    images = 0
    for batch in stream:
        cells = torch.from_numpy(
            np.stack([_draw(generator, inside) for _ in range(len(batch.indices))])
        )
        for name, found in rows.items():
            maps = F.adaptive_avg_pool2d(batch.features.maps[name], (_GRID, _GRID)).flatten(2)
            index = cells[:, None].expand(-1, maps.shape[1], -1)
            found.append(maps.gather(2, index).transpose(1, 2))
        images += len(batch.indices)
        progress("judging layers", images, len(stream))
    return {name: torch.cat(found) for name, found in rows.items() if found}, images


def _draw(generator: np.random.Generator, inside: NDArray[np.int64]) -> NDArray[np.int64]:
    return generator.choice(inside, _CELLS, replace=len(inside) < _CELLS)


def _grow(rows: dict[str, Tensor], evidence: list[LayerEvidence]) -> list[tuple[str, float]]:
    """Greedy set: the largest gain first, then what raises the effective rank by a tenth."""
    first = max(evidence, key=lambda item: item.gain)
    steps = [(first.name, first.effective_rank)]
    while len(steps) < min(_MOST, len(evidence)):
        have = [name for name, _ in steps]
        found = []
        for item in evidence:
            if item.name not in have:
                joined = torch.cat([rows[name] for name in [*have, item.name]], dim=2)
                found.append((item.name, effective_rank(joined.flatten(0, 1))))
        best = max(found, key=lambda pair: pair[1])
        if best[1] < _RAISE * steps[-1][1]:
            break
        steps.append(best)
    return steps


def _standardised(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(dim=0)
    return centred / centred.square().mean(dim=0).sqrt().clamp(min=1e-6)
