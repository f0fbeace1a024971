"""From raw scores to decisions, by split-conformal prediction on good images only.

With `n` scores of good images that the model has not seen, the conformal p-value of a new score `s`
is `(1 + #{calibration >= s}) / (n + 1)` (Vovk et al. 2005; Laxhammar 2014 for anomaly detection).
For good frames drawn like the calibration images `P(p <= alpha) <= alpha`, whatever the
distribution of the scores. The finest rate that `n` images can promise is `1 / (n + 1)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.colour_scale import ColourScale
from anomalib_lite.edge.errors import FitError, FrameError, SettingsError
from anomalib_lite.edge.plain import is_number, plain


def images_needed(max_false_reject: float) -> int:
    """Fewest good images that can promise a false-reject rate: `ceil(1 / rate) - 1`."""
    return math.ceil(1.0 / max_false_reject - 1e-9) - 1


@dataclass(frozen=True)
class Operating:
    """A threshold and what it promises.

    Attributes:
        threshold: raw score; above it a frame is anomalous.
        false_reject_rate: promised upper bound on the share of good frames rejected.
        requested: the rate that was asked for.
        samples: number of good images behind the promise.
        doubtful: further images, of which nobody knows whether they are good. The promise counts
            them as good ones above the threshold.
    """

    threshold: float
    false_reject_rate: float
    requested: float
    samples: int
    doubtful: int = 0

    @property
    def honoured(self) -> bool:
        """Whether the requested rate can be promised with these images."""
        return self.false_reject_rate <= self.requested

    def explain(self) -> str:
        """One line for people: the promise, or why less is promised than was asked."""
        if self.honoured:
            return (
                f"at most {_percent(self.requested)} of good frames rejected, "
                f"from {self.samples} good images"
            )
        if self.doubtful:
            return (
                f"at most {_percent(self.false_reject_rate)} of good frames rejected "
                f"({_percent(self.requested)} asked), from {self.samples} good images, were "
                f"{self.doubtful} doubtful ones good, too"
            )
        return (
            f"{_percent(self.requested)} needs at least {images_needed(self.requested)} good "
            f"images; you have {self.samples}: the best that can be promised is "
            f"{_percent(self.false_reject_rate)}"
        )


def operating_point(
    scores: NDArray[np.floating[Any]], max_false_reject: float, doubtful: int = 0
) -> Operating:
    """Threshold for a requested false-reject rate from calibration scores `(n,)`.

    The threshold is the k-th smallest score, `k = ceil((n + 1)(1 - rate))`; when `k > n` the
    largest score is taken and the honest rate `1 / (n + 1)` is reported in place of the request.
    Doubtful images have no part in the threshold; the rate is what it would be were they all good
    and above it.
    """
    if not (is_number(max_false_reject) and 0 < max_false_reject < 1):
        raise SettingsError(
            f"the false-reject rate is {max_false_reject}; choose a value between 0 and 1"
        )
    ordered = np.sort(np.asarray(scores, np.float64))
    n = ordered.size
    if n == 0:
        raise FitError("no good image is left for calibration; give at least 2 good images")
    rank = math.ceil((n + 1) * (1 - max_false_reject) - 1e-9)
    promised = (n + 1 - rank) / (n + 1) if rank <= n else 1 / (n + 1)
    threshold = float(ordered[min(rank, n) - 1])
    above = max(promised, 1 / (n + 1)) * (n + 1)
    return Operating(
        threshold, (above + doubtful) / (n + doubtful + 1), max_false_reject, n, doubtful
    )


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
    """

    scores: tuple[float, ...]
    map_peaks: tuple[float, ...]
    max_false_reject: float
    method: str
    reference: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, tuple[float, ...]] = field(default_factory=dict)
    group_output: str = ""
    doubtful: int = 0

    @classmethod
    def from_scores(
        cls,
        scores: Sequence[float] | NDArray[np.floating[Any]],
        map_peaks: Sequence[float] | NDArray[np.floating[Any]],
        *,
        max_false_reject: float,
        method: str,
        reference: dict[str, Any] | None = None,
    ) -> Calibration:
        """Sort and check calibration scores; raises `FitError` when one is not finite."""
        ordered = np.sort(np.asarray(scores, np.float32))
        peaks = np.sort(np.asarray(map_peaks, np.float32))
        if not (np.isfinite(ordered).all() and np.isfinite(peaks).all()):
            raise FitError(
                "some good images score NaN or infinity: the features are not finite; check the "
                "weights file and the images listed as suspicious"
            )
        calibration = cls(
            tuple(ordered.tolist()),
            tuple(peaks.tolist()),
            max_false_reject,
            method,
            reference or {},
        )
        operating_point(ordered, max_false_reject)
        return calibration

    @cached_property
    def operating(self) -> Operating:
        """The operating point at the requested rate."""
        return operating_point(np.asarray(self.scores), self.max_false_reject, self.doubtful)

    @property
    def threshold(self) -> float:
        """Image threshold, raw score units."""
        return self.operating.threshold

    @cached_property
    def map_threshold(self) -> float:
        """Map value above which a pixel belongs to a region, from the good images' map peaks."""
        return operating_point(np.asarray(self.map_peaks), self.max_false_reject).threshold

    @cached_property
    def colours(self) -> ColourScale:
        """Where the colours of heat maps are anchored."""
        return ColourScale.of_good(self.map_peaks, self.map_threshold)

    def summary(self) -> str:
        """Threshold and promise in a few words."""
        rate = _percent(self.operating.false_reject_rate)
        return f"threshold {self.threshold:.4g}, at most {rate} of good frames rejected"

    def __repr__(self) -> str:
        return f"Calibration({self.summary()}, {len(self.scores)} good images, {self.method})"

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
            known = ", ".join(self.groups) or "none, it was fitted on a single one"
            raise SettingsError(f"product {name!r} is not one that the model knows: {known}")
        scores = self.groups[name]
        # Where the map is the score alone, its threshold follows the score's.
        peaks = scores if self.map_peaks == self.scores else self.map_peaks
        return Calibration(scores, peaks, self.max_false_reject, f"{self.method}; product {name}")

    def p_value(self, score: float) -> float:
        """Conformal p-value of a raw score, in `[1 / (n + 1), 1]`; small = anomalous."""
        if math.isnan(score):
            raise FrameError("the score is NaN: the network's output is not usable for this frame")
        ordered = np.asarray(self.scores)
        at_least = ordered.size - int(np.searchsorted(ordered, score, side="left"))
        return (1 + at_least + self.doubtful) / (ordered.size + self.doubtful + 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; derived figures are written for readers and ignored when read."""
        operating = self.operating
        return {
            "method": self.method,
            "max_false_reject": self.max_false_reject,
            "threshold": operating.threshold,
            "map_threshold": self.map_threshold,
            "false_reject_rate": operating.false_reject_rate,
            "samples": operating.samples,
            "honoured": operating.honoured,
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
        )


def _percent(rate: float) -> str:
    return f"{100 * rate:.2g} %" if rate < 0.1 else f"{100 * rate:.0f} %"
