"""From raw scores to decisions, by split-conformal prediction on good images only.

With `n` scores of good images that the model has not seen, the conformal p-value of a new score `s`
is `(1 + #{calibration >= s}) / (n + 1)` (Vovk et al. 2005; Laxhammar 2014 for anomaly detection).
For good frames drawn like the calibration images `P(p <= alpha) <= alpha`, whatever the
distribution of the scores. The finest rate that `n` images can promise is `1 / (n + 1)`. Where
several images show one part, each counts `1 / (images of that part)` and n is the number of parts
(`edge.promise`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.colour_scale import ColourScale
from anomalib_lite.edge.errors import FitError, FrameError, SettingsError
from anomalib_lite.edge.plain import plain
from anomalib_lite.edge.promise import (
    MOVED,
    OUT_OF_FOLD,
    RATES,
    Operating,
    images_needed,
    operating_point,
)

__all__ = ["Calibration", "Operating", "images_needed", "operating_point"]


@dataclass(frozen=True, repr=False)
class Calibration:
    """Scores of good images and the decisions that follow from them.

    Attributes:
        scores: image scores of calibration images, ascending `(n,)`.
        map_peaks: largest map value of each calibration image, ascending `(n,)`.
        max_false_reject: requested false-reject rate.
        method: how the calibration images were kept from the fit, in words.
        reference: thresholds of the method's own theory with the rate they realise on the
            calibration images (the chi quantile of MVG), or empty.
        groups: scores of each group's own images as that group, ascending, where a model tells
            several apart (products); a threshold for each is Mondrian conformal prediction (Vovk et
            al. 2005, section 4.5).
        group_output: name of the extra output whose columns are the scores as each group.
        doubtful: images left out because nobody knows whether they are good; thresholds and
            promises count them as good ones that score above everything.
        views: for each of `scores`, how many of them show the same part (or are copies, or
            neighbours in a video); empty: one each.
        map_views: the same for each of `map_peaks`.
        group_views: the same for each score in `groups`.
    """

    scores: tuple[float, ...]
    map_peaks: tuple[float, ...]
    max_false_reject: float
    method: str
    reference: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, tuple[float, ...]] = field(default_factory=dict)
    group_output: str = ""
    doubtful: int = 0
    views: tuple[int, ...] = ()
    map_views: tuple[int, ...] = ()
    group_views: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def from_scores(
        cls,
        scores: Sequence[float] | NDArray[np.floating[Any]],
        map_peaks: Sequence[float] | NDArray[np.floating[Any]],
        *,
        max_false_reject: float,
        method: str,
        reference: dict[str, Any] | None = None,
        origins: Sequence[Hashable] | NDArray[Any] | None = None,
    ) -> Calibration:
        """Sort and check calibration scores; raises `FitError` when one is not finite.

        Args:
            scores: image scores `(n,)`.
            map_peaks: largest map values `(n,)`.
            max_false_reject: requested false-reject rate.
            method: how the images were kept from the fit.
            reference: see the class.
            origins: what each image shows, equal for images of one part `(n,)`; None: all differ.
        """
        given = np.asarray(scores, np.float32), np.asarray(map_peaks, np.float32)
        if not all(np.isfinite(values).all() for values in given):
            raise FitError(
                "some good images score NaN or infinity: the features are not finite; check the "
                "weights file and the images listed as suspicious"
            )
        sizes = views_of(origins)
        (ordered, views), (peaks, map_views) = (in_order(values, sizes) for values in given)
        operating_point(given[0], max_false_reject)
        return cls(
            ordered,
            peaks,
            max_false_reject,
            method,
            reference or {},
            views=views,
            map_views=map_views,
        )

    @cached_property
    def operating(self) -> Operating:
        """The operating point at the requested rate."""
        return operating_point(
            np.asarray(self.scores),
            self.max_false_reject,
            self.doubtful,
            self.views,
            empirical=self.method.startswith((OUT_OF_FOLD, MOVED)),
        )

    @property
    def threshold(self) -> float:
        """Image threshold, raw score units."""
        return self.operating.threshold

    @cached_property
    def map_threshold(self) -> float:
        """Map value above which a pixel belongs to a region, from the good images' map peaks."""
        peaks = np.asarray(self.map_peaks)
        return operating_point(peaks, self.max_false_reject, views=self.map_views).threshold

    def at_rates(self) -> list[Operating]:
        """The operating points at 0.5, 1, 2 and 5 %, to choose with open eyes."""
        return [self.with_rate(rate).operating for rate in RATES]

    @cached_property
    def colours(self) -> ColourScale:
        """Where the colours of heat maps are anchored."""
        return ColourScale.of_good(self.map_peaks, self.map_threshold)

    def summary(self) -> str:
        """Threshold and promise in a few words."""
        return f"threshold {self.threshold:.4g}, {self.operating.rates()}"

    def __repr__(self) -> str:
        return f"Calibration({self.summary()}, {self.operating.images()}, {self.method})"

    def with_rate(self, max_false_reject: float) -> Calibration:
        """The same images, another requested false-reject rate."""
        max_false_reject = plain(max_false_reject)
        operating_point(np.asarray(self.scores), max_false_reject)
        return replace(self, max_false_reject=max_false_reject)

    def for_group(self, name: str) -> Calibration:
        """That of one group alone, from its own good images.

        Raises:
            SettingsError: unknown group, or none of its images was held out.
        """
        if not self.groups.get(name):
            known = (
                ", ".join(self.groups)
                or "none, it was fitted on a single one; leave the product out"
            )
            raise SettingsError(f"product {name!r} is not one that the model knows: {known}")
        scores, views = self.groups[name], self.group_views.get(name, ())
        peaks, map_views = self.map_peaks, self.map_views
        if self.map_peaks == self.scores:
            # Where the map is the score alone, its threshold follows the score's.
            peaks, map_views = scores, views
        return Calibration(
            scores,
            peaks,
            self.max_false_reject,
            f"{self.method}; product {name}",
            views=views,
            map_views=map_views,
        )

    def p_value(self, score: float) -> float:
        """Conformal p-value of a raw score, in `[1 / (n + 1), 1]`; small = anomalous."""
        if math.isnan(score):
            raise FrameError("the score is NaN: the network's output is not usable for this frame")
        below = int(np.searchsorted(np.asarray(self.scores), score, side="left"))
        at_least = float(self._weights[below:].sum())
        return (1 + at_least + self.doubtful) / (self.operating.parts + self.doubtful + 1)

    @cached_property
    def _weights(self) -> NDArray[np.float64]:
        return 1.0 / np.array(self.views or [1] * len(self.scores), np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; derived figures are written for readers and ignored when read."""
        operating = self.operating
        return {
            "method": self.method,
            "max_false_reject": self.max_false_reject,
            **operating.to_dict(),
            "map_threshold": self.map_threshold,
            "reference": self.reference,
            "scores": list(self.scores),
            "map_peaks": list(self.map_peaks),
            **self._seldom(),
        }

    def _seldom(self) -> dict[str, Any]:
        """What most calibrations do not have."""
        found: dict[str, Any] = {}
        if self.groups:
            scores = {name: list(scores) for name, scores in self.groups.items()}
            found["groups"] = {"output": self.group_output, "scores": scores}
        if self.doubtful:
            found["doubtful"] = self.doubtful
        if self.views or self.group_views:
            groups_views = {name: list(views) for name, views in self.group_views.items()}
            found["views"] = {
                "scores": list(self.views),
                "map_peaks": list(self.map_views),
                "groups": groups_views,
            }
        return found

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Calibration:
        """Rebuild from `to_dict`; raises KeyError or TypeError on foreign content."""
        calibration = cls.from_scores(
            fields["scores"],
            fields["map_peaks"],
            max_false_reject=float(fields["max_false_reject"]),
            method=str(fields["method"]),
            reference=dict(fields.get("reference", {})),
        )
        views = dict(fields.get("views", {}))
        groups = fields.get("groups")
        if groups is None:
            # Until version 0.1.0 this output was the only one of its kind.
            groups = {"output": "product_scores", "scores": fields.get("products", {})}
        return replace(
            calibration,
            groups={
                str(name): tuple(float(score) for score in scores)
                for name, scores in dict(groups["scores"]).items()
            },
            group_output=str(groups["output"]) if groups["scores"] else "",
            doubtful=int(fields.get("doubtful", 0)),
            views=_read_views(views.get("scores", ()), calibration.scores),
            map_views=_read_views(views.get("map_peaks", ()), calibration.map_peaks),
            group_views={
                str(name): _read_views(counts, groups["scores"][name])
                for name, counts in dict(views.get("groups", {})).items()
            },
        )


def views_of(origins: Sequence[Hashable] | NDArray[Any] | None) -> NDArray[np.int64] | None:
    """For each image, how many show what it shows `(n,)`; None where all show different things."""
    if origins is None:
        return None
    named = list(origins)
    counts = Counter(named)
    found = np.array([counts[name] for name in named], np.int64)
    return None if (found == 1).all() else found


def in_order(
    values: NDArray[np.floating[Any]], views: NDArray[np.int64] | None
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Values ascending, and the views of each in the same order; equal values by their views."""
    if views is None:
        return tuple(np.sort(values).tolist()), ()
    order = np.lexsort((views, values))
    return tuple(values[order].tolist()), tuple(views[order].tolist())


def _read_views(counts: Sequence[Any], scores: Sequence[float]) -> tuple[int, ...]:
    """Views from a file; raises ValueError where they do not fit the scores."""
    found = tuple(int(count) for count in counts)
    if found and (len(found) != len(scores) or min(found) < 1):
        raise ValueError("the views of the calibration images do not fit their scores")
    return found
