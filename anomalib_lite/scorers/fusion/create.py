"""Fusions as their parts allow: what all parts can do, and how `a+b` is taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_lite.backbones.features import Features
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.abilities import CrossFit, Explain, Forget, PartialFit, TakesSampleWeight
from anomalib_lite.scorers.base import (
    FeatureStream,
    FitContext,
    HeldOutScores,
    Scorer,
)
from anomalib_lite.scorers.fusion.earned_weights import earn_weights, equal_weights
from anomalib_lite.scorers.fusion.fusion import FEWEST_JUDGED, Fusion, told_by

SEPARATOR = "+"


class _CrossFits(Fusion):
    """All parts cross-fit."""

    def cross_fit(
        self, stream: FeatureStream, folds: NDArray[np.int64], context: FitContext
    ) -> HeldOutScores:
        """Cross-fit every part; standards from all out-of-fold scores, weights as in `fit`."""
        images = np.flatnonzero(folds >= 0)
        weight = equal_weights(len(self.members))
        earned = self.trust == "earned" and len(images) >= FEWEST_JUDGED
        if earned:
            weight = earn_weights(self.judged(stream, images, context))
        found = []
        for scorer in self.scorers:
            assert isinstance(scorer, CrossFit)
            found.append(_in_order(scorer.cross_fit(stream, folds, told_by(scorer, context))))
        good = [torch.from_numpy(held_out.image) for held_out in found]
        peaks = [torch.from_numpy(held_out.map_peak) for held_out in found]
        self.take(
            weight,
            torch.stack(good, dim=1).double().numpy(),
            torch.stack(peaks, dim=1).double().numpy(),
        )
        image = self.join_images(good)
        peak = self.largest([peaks[place] for place in self.maps]) if self.localises else image
        return HeldOutScores(found[0].indices, image.numpy(), peak.numpy())


class _LearnsOn(Fusion):
    """All parts learn on."""

    def partial_fit(self, stream: FeatureStream, context: FitContext) -> None:
        """Every part learns the new images; standards and weights stay as they are."""
        for scorer in self.scorers:
            assert isinstance(scorer, PartialFit)
            scorer.partial_fit(stream, told_by(scorer, context))


class _Forgets(Fusion):
    """All parts forget."""

    def forget(self, stream: FeatureStream, context: FitContext) -> None:
        """Every part forgets the images; standards and weights stay as they are."""
        for scorer in self.scorers:
            assert isinstance(scorer, Forget)
            scorer.forget(stream, told_by(scorer, context))


class _Weighs(Fusion):
    """All parts weigh images."""

    def effective_images(self, sample_weight: NDArray[np.float64]) -> float:
        """As few as for the part that gets least out of them."""
        parts = [scorer for scorer in self.scorers if isinstance(scorer, TakesSampleWeight)]
        return min(part.effective_images(sample_weight) for part in parts)


class _Explains(Fusion):
    """A part explains."""

    def explain(self, features: Features, cell: tuple[int, int]) -> dict[str, Any]:
        """Evidence of the first part that has some, for one map cell `(row, column)`."""
        explaining = next(scorer for scorer in self.scorers if isinstance(scorer, Explain))
        return explaining.explain(features, cell)


def settings_by_member(
    name: str, settings: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Split the settings of `"a+b"` into those of the fusion and those of each member.

    Args:
        name: member names joined by `+`, e.g. `"patchcore+mvg"`.
        settings: `trust`, and settings of the members as `member.setting`, e.g. `mvg.components`.

    Raises:
        SettingsError: a member without a name, one given twice, a setting that belongs to none.
    """
    names = [part.strip() for part in name.split(SEPARATOR)]
    if not all(names) or len(set(names)) < len(names):
        raise SettingsError(f"detector {name!r}: join two or more different names by {SEPARATOR}")
    of_member: dict[str, dict[str, Any]] = {part: {} for part in names}
    own: dict[str, Any] = {}
    for key, value in settings.items():
        part, dot, setting = key.partition(".")
        if key == "trust":
            own[key] = value
        elif dot and part in of_member:
            of_member[part][setting] = value
        else:
            raise SettingsError(
                f"{name} has no setting {key!r}; choose trust, or a setting of a part such as "
                f"{names[0]}.{setting or part}"
            )
    return own, of_member


def create_fusion(members: Sequence[Scorer], **own: Any) -> Fusion:
    """A fusion of members, with the abilities that they have.

    Args:
        members: two or more scorers.
        own: settings of the fusion itself (`trust`).
    """
    name = SEPARATOR.join(member.name for member in members)
    return _kind(name, _abilities(members))(members, **own)


def _abilities(members: Sequence[Scorer]) -> tuple[type[Fusion], ...]:
    """What a fusion of these can do: a protocol check must not promise what a part lacks."""
    abilities: list[type[Fusion]] = []
    if all(isinstance(member, CrossFit) for member in members):
        abilities.append(_CrossFits)
    if all(isinstance(member, PartialFit) for member in members):
        abilities.append(_LearnsOn)
    if all(isinstance(member, Forget) for member in members):
        abilities.append(_Forgets)
    if all(isinstance(member, TakesSampleWeight) for member in members):
        abilities.append(_Weighs)
    if any(isinstance(member, Explain) for member in members):
        abilities.append(_Explains)
    return tuple(abilities)


@cache
def _kind(name: str, abilities: tuple[type[Fusion], ...]) -> type[Fusion]:
    return type("Fusion", abilities or (Fusion,), {"name": name})


def _in_order(held_out: HeldOutScores) -> HeldOutScores:
    order = np.argsort(held_out.indices, kind="stable")
    return HeldOutScores(held_out.indices[order], held_out.image[order], held_out.map_peak[order])
