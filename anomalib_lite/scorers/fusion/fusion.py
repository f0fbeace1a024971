"""Several scorers over one backbone pass, as one scorer (docs/methods/fusion.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anomalib_lite.backbones.features import FeatureLayout, Features
from anomalib_lite.backbones.weights import tensors_below
from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.scorers.abilities import (
    Ability,
    CrossFit,
    Explain,
    Forget,
    PartialFit,
    TakesSampleWeight,
    as_able,
)
from anomalib_lite.scorers.base import FeatureStream, FitContext, HeldOutScores, Scorer, Scores
from anomalib_lite.scorers.fusion.earned_weights import (
    Judgement,
    earn_weights,
    equal_weights,
    judge,
    split_images,
    standard_of,
)
from anomalib_lite.scorers.fusion.p_values import SmallestP
from anomalib_lite.scorers.fusion.parts import in_order, told_by
from anomalib_lite.scorers.placing import resized

Trust = Literal["earned", "equal"]
Rule = Literal["p_value", "sum"]
SEPARATOR = "+"
"""Between the names of parts, as a person writes a fusion."""
FEWEST_JUDGED = 8  # of fewer good images a quarter says nothing about the parts


_BY_ALL = (CrossFit, PartialFit, Forget, TakesSampleWeight)
_BY_ONE = (Explain,)


class Fusion(Scorer):
    """The scores of its parts joined, each measured by its own scores of unseen good images.

    Made by `create_scorer("patchcore+mvg")`. Image score: `SmallestP`, or the weighted sum. Map:
    the largest of the localising parts' maps, standardised by the map peaks of good images and
    scaled by their weights; the other parts add to the image score only. `partial_fit` and `forget`
    keep the spreads and weights of the last fit. It can what all its parts can; one part that
    explains is enough (`can`).

    Args:
        members: the parts.
        trust: `"earned"` on defects simulated on good images that the parts have not seen;
            `"equal"` spares what this takes: a smaller fit of each part, and scoring the defects.
        layers: by name of a part, the layers it sees; others see those read for everybody.
        rule: `"sum"`: all count by their weight, also where one is blind; `"p_value"`: the best
            part leads, another decides where its score is far rarer among good images.

    Attributes:
        smallest: joins the image scores, but for `rule="sum"`.
        weight_: share of each part, sums to 1, `(P,)`.
        spread_: of its scores of unseen good images, `(P,)`.
        peak_centre_, peak_spread_: of the largest map values of unseen good images, `(P,)`.
    """

    settings_before: ClassVar[Mapping[str, Any]] = {"rule": "sum"}
    localising: Tensor
    weight_: Tensor
    spread_: Tensor
    peak_centre_: Tensor
    peak_spread_: Tensor

    def __init__(
        self,
        members: Sequence[Scorer],
        trust: Trust = "earned",
        layers: Mapping[str, Sequence[str]] | None = None,
        rule: Rule = "sum",
    ) -> None:
        super().__init__()
        if trust not in get_args(Trust):
            raise SettingsError(f"trust is {trust!r}; choose earned or equal")
        if rule not in get_args(Rule):
            raise SettingsError(f"rule is {rule!r}; choose p_value or sum")
        self.trust: Trust = trust
        self.rule: Rule = rule
        self.smallest = SmallestP()
        self.layers = {part: list(names) for part, names in (layers or {}).items()}
        self.members = nn.ModuleDict({member.name: member for member in members})
        self.maps = [place for place, member in enumerate(members) if member.localises]
        self.register_buffer("localising", torch.tensor(self.maps).long(), persistent=False)
        self.name = SEPARATOR.join(member.name for member in members)
        self.localises = bool(self.maps)
        self.protocol = "; ".join(filter(None, (part.protocol for part in members)))

    @property
    def scorers(self) -> list[Scorer]:
        """The parts, in the order of the name."""
        return [cast(Scorer, member) for member in self.members.values()]

    def can(self, ability: type) -> bool:
        """What all parts can, and explain if one does: never more than its methods can keep."""
        able = [scorer.can(ability) for scorer in self.scorers]
        if ability in _BY_ALL:
            return all(able)
        return ability in _BY_ONE and any(able)

    def settings(self) -> dict[str, Any]:
        """`trust`, `rule`, and the settings of each part as `part.setting`."""
        own: dict[str, Any] = {"trust": self.trust, "rule": self.rule}
        for scorer in self.scorers:
            own.update({f"{scorer.name}.{key}": value for key, value in scorer.settings().items()})
        return own | {f"{part}.layers": list(names) for part, names in self.layers.items()}

    def read_layers(self, shared: Sequence[str]) -> Sequence[str]:
        """Those of all parts; with `layers`, parts that name none keep the shared ones."""
        if not self.layers:
            return shared
        # Kept by name: what a file says must not depend on what is read for everybody later.
        self.layers = {part.name: self.layers.get(part.name, list(shared)) for part in self.scorers}
        return list(dict.fromkeys(name for names in self.layers.values() for name in names))

    def default_backbone(self) -> tuple[str, tuple[str, ...] | None]:
        """That of the parts where they agree; one pass serves all."""
        wanted = {scorer.default_backbone() for scorer in self.scorers}
        return wanted.pop() if len(wanted) == 1 else super().default_backbone()

    def build(self, layout: FeatureLayout) -> None:
        super().build(layout)
        for scorer in self.scorers:
            names = self.layers.get(scorer.name)
            seen = [info for info in layout.layers if names is None or info.name in names]
            scorer.build(replace(layout, layers=tuple(seen)))

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Each part takes its own as it does alone."""
        for scorer in self.scorers:
            scorer.load_tensors(tensors_below(tensors, f"members.{scorer.name}."))
        super().load_tensors(tensors)

    def memory_bytes(self) -> int:
        """Sum over the parts: one learns after the other, but what is learnt stays."""
        return sum(scorer.memory_bytes() for scorer in self.scorers)

    def fit(self, stream: FeatureStream, context: FitContext) -> None:
        """Standards and weights from a part that is held out, then every part from all images.

        Raises:
            FitError: fewer than 8 usable images.
        """
        found = [batch.indices for batch in stream]
        images = np.concatenate(found) if found else np.zeros(0, np.int64)
        if len(images) < FEWEST_JUDGED:
            raise FitError(
                f"{self.name} with a held-out share needs at least {FEWEST_JUDGED} good images "
                f"to learn from, got {len(images)}; give more, or fit one of its parts alone"
            )
        judgement = self.judged(stream, images, context)
        self.take(earn_weights(judgement), judgement.good, judgement.peaks)
        for scorer in self.scorers:
            scorer.fit(stream, told_by(scorer, context))

    def cross_fit(
        self, stream: FeatureStream, folds: NDArray[np.int64], context: FitContext
    ) -> HeldOutScores:
        """Cross-fit every part; standards from all out-of-fold scores, weights as in `fit`."""
        images = np.flatnonzero(folds >= 0)
        weight = equal_weights(len(self.members))
        if self.trust == "earned" and len(images) >= FEWEST_JUDGED:
            weight = earn_weights(self.judged(stream, images, context))
        found = [
            in_order(part.cross_fit(stream, folds, told_by(scorer, context)))
            for scorer, part in self._able(CrossFit)
        ]
        good = [torch.from_numpy(held_out.image) for held_out in found]
        peaks = [torch.from_numpy(held_out.map_peak) for held_out in found]
        self.take(
            weight,
            torch.stack(good, dim=1).double().numpy(),
            torch.stack(peaks, dim=1).double().numpy(),
        )
        image = peak = self.join_images([part.to(self.device) for part in good])
        if self.localises:
            peak = self.largest([peaks[place].to(self.device) for place in self.maps])
        return HeldOutScores(found[0].indices, image.cpu().numpy(), peak.cpu().numpy())

    def partial_fit(self, stream: FeatureStream, context: FitContext) -> None:
        """Every part learns the new images; standards and weights stay as they are."""
        for scorer, part in self._able(PartialFit):
            part.partial_fit(stream, told_by(scorer, context))

    def forget(self, stream: FeatureStream, context: FitContext) -> None:
        """Every part forgets the images; standards and weights stay as they are."""
        for scorer, part in self._able(Forget):
            part.forget(stream, told_by(scorer, context))

    def effective_images(self, sample_weight: NDArray[np.float64]) -> float:
        """As few as for the part that gets least out of them."""
        return min(
            part.effective_images(sample_weight) for _, part in self._able(TakesSampleWeight)
        )

    def explain(self, features: Features, cell: tuple[int, int]) -> dict[str, Any]:
        """Evidence of the first part that has some, for one map cell `(row, column)`."""
        for scorer in self.scorers:
            part = as_able(scorer, Explain)
            if part is not None:
                return part.explain(features, cell)
        raise SettingsError(f"{self.name} cannot explain: none of its parts can")

    def _able(self, ability: type[Ability]) -> Iterator[tuple[Scorer, Ability]]:
        """Each part as one that has an ability; raises `SettingsError` when one has not."""
        for scorer in self.scorers:
            part = as_able(scorer, ability)
            if part is None:
                raise SettingsError(f"{self.name}: {scorer.name} lacks {ability.__name__}")
            yield scorer, part

    def forward(self, features: Features) -> Scores:
        outputs = [scorer(features) for scorer in self.scorers]
        image = self.join_images([output.image for output in outputs])
        extra = {
            f"{scorer.name}.{name}": values
            for scorer, output in zip(self.scorers, outputs, strict=True)
            for name, values in output.extra.items()
        }
        if not self.localises:
            return Scores(image, image[:, None, None], extra)
        return Scores(image, self._join_maps([output.map for output in outputs]), extra)

    def judged(
        self, stream: FeatureStream, images: NDArray[np.int64], context: FitContext
    ) -> Judgement:
        """Fit the parts on some images and score others, with and without defects."""
        learnt, judged = split_images(images, context.seed, context.origins)
        apart = replace(context, checkpoint=None, resume=False)
        for scorer in self.scorers:
            scorer.fit(stream.subset(learnt), told_by(scorer, apart))
        simulate = self.trust == "earned"
        return judge(self.scorers, stream.subset(judged), context, simulate=simulate)

    def take(
        self, weight: NDArray[np.float64], good: NDArray[np.float64], peaks: NDArray[np.float64]
    ) -> None:
        """Weights, and standards from scores and map peaks of unseen good images `(n, P)`."""
        if self.rule == "p_value":
            self.smallest.learn(weight, good, self.device)
        image, peak = standard_of(good), standard_of(peaks)
        for name, values in (
            ("weight_", weight),
            ("spread_", image.spread),
            ("peak_centre_", peak.centre),
            ("peak_spread_", peak.spread),
        ):
            self.register_buffer(name, torch.from_numpy(values).float().to(self.device))

    def join_images(self, scores: Sequence[Tensor]) -> Tensor:
        """Image score `(N,)` from those of the parts."""
        if self.rule == "p_value":
            joined: Tensor = self.smallest(scores)
            return joined
        scale = self.weight_ / self.spread_
        return sum(
            (score * scale[place] for place, score in enumerate(scores)), scale.new_zeros(())
        )

    def _join_maps(self, maps: Sequence[Tensor]) -> Tensor:
        """Largest standardised map: its peak is the largest of the standardised peaks."""
        chosen = [maps[place] for place in self.maps]
        size = max((item.shape[1:] for item in chosen), key=lambda hw: int(hw[0]) * int(hw[1]))
        size_hw = (int(size[0]), int(size[1]))
        joined = self.largest(
            [
                item if item.shape[1:] == size else resized(item, self.layout, size_hw)
                for item in chosen
            ]
        )
        if self.layout.roi is None:
            return joined
        return joined * (self.layout.cell_share(size_hw).to(joined.device) > 0)

    def largest(self, values: Sequence[Tensor]) -> Tensor:
        """Elementwise largest of the localising parts' standardised values."""
        places = self.localising
        scale = self.weight_[places] / self.weight_[places].amax() / self.peak_spread_[places]
        # The same offset for all keeps good maps away from 0, where an engine's rounding shows.
        offset = (scale * self.peak_centre_[places]).amax() - scale * self.peak_centre_[places]
        joined = values[0] * scale[0] + offset[0]
        for place, value in enumerate(values[1:], start=1):
            joined = torch.maximum(joined, value * scale[place] + offset[place])
        return joined
