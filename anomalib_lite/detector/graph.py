"""The one network that predicts and is exported: normalisation, backbone and scorer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from anomalib_lite.backbones import Backbone
from anomalib_lite.scorers import MergesBackbone, Scorer, Scores, as_able
from anomalib_lite.scorers.placing import placed


class DetectorGraph(nn.Module):
    """The whole network: prepared inputs in, raw scores out. Predicts and is exported.

    Args:
        backbone: frozen feature extractor.
        scorer: fitted scorer.
    """

    def __init__(self, backbone: Backbone, scorer: Scorer) -> None:
        super().__init__()
        self.backbone = backbone
        self.scorer = scorer

    def scores(self, prepared: Tensor | Mapping[str, Tensor]) -> Scores:
        """Frames uint8 `(N, H, W, 3)`, or prepared inputs by name -> scores."""
        scores: Scores = self.scorer(self.backbone.read(prepared))
        return replace(scores, map=placed(scores.map, self.scorer.layout))

    def forward(self, frames_nhwc: Tensor, *measured: Tensor) -> tuple[Tensor, ...]:
        """Inputs in the backbone's order -> score `(N,)`, map `(N, h, w)`, extras by name."""
        inputs = dict(zip(self.backbone.inputs, (frames_nhwc, *measured), strict=True))
        scores = self.scores(inputs if measured else frames_nhwc)
        return scores.image, scores.map, *(scores.extra[name] for name in sorted(scores.extra))

    def merged(self) -> nn.Module:
        """The graph to export: the same, with work shared where the scorer knows how to."""
        able = as_able(self.scorer, MergesBackbone)
        if able is None:
            return self
        return _MergedGraph(self.backbone, able.merged(self.backbone)).eval()


class _MergedGraph(nn.Module):
    """As `DetectorGraph`, backbone and scorer being one network."""

    def __init__(self, backbone: Backbone, network: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.network = network

    def forward(self, frames_nhwc: Tensor) -> tuple[Tensor, Tensor]:
        image, anomaly_map = self.network(self.backbone.normalise(frames_nhwc))
        return image, anomaly_map
