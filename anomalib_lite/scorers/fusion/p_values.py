"""From raw scores to `-log p`: what a score means among unseen good images, as plain arithmetic.

Scores of different parts become comparable when each is turned into the probability that a good
image scores at least as high. The curve is continuous, increasing and piecewise linear: it goes
through the scores that 1/2, 1/4, 1/8, ... of the good images exceed, where -log p is log 2, log 4,
log 8, ...; beyond the last of them, which at least four good images exceed, it goes on as an
exponential tail does whose mean is their mean excess (peaks over a threshold; Pickands 1975 with
shape 0). A sum of ramps computes it, so a graph can.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

FEWEST_BEYOND = 4
"""Good images that must lie beyond a knot; the tail is learnt from those beyond the last."""
MOST_KNOTS = 8
OTHERS = 0.02
"""Weight of the p-value of a part that does not lead, times its share."""
_NOISE = 1e-4  # of the median: what differs by less is no step, but rounding
_NEVER = 1e9
_SMALLEST = 1e-3  # shortest step between knots, of the whole spread: ties must not make it steep


class Curves(NamedTuple):
    """`-log p` of each part: `level + sum over knots of rise * max(score - knot, 0)`.

    Attributes:
        knots: ascending `(P, K)`; the first is the median.
        rises: how much steeper each knot makes it `(P, K)`.
        below: slope below the median `(P,)`.
    """

    knots: NDArray[np.float64]
    rises: NDArray[np.float64]
    below: NDArray[np.float64]


def curves_of(scores: NDArray[np.float64]) -> Curves:
    """Curves of parts from their scores of unseen good images `(n, P)`, n of 2 or more."""
    count = max(1, min(MOST_KNOTS, int(math.log2(max(2.0, len(scores) / FEWEST_BEYOND)))))
    found = [_curve(column, count) for column in scores.T]
    knots, rises, below = (np.stack(values) for values in zip(*found, strict=True))
    return Curves(knots, rises, below)


def _curve(
    scores: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Knots, rises and first slope of one part."""
    knots = np.quantile(scores, 1 - 0.5 ** np.arange(1, count + 1))
    upper = 2 * np.maximum(scores - knots[0], 0).mean()
    smallest = max(_SMALLEST * upper, _NOISE * abs(knots[0]), 1e-12)
    for place in range(1, count):
        knots[place] = max(knots[place], knots[place - 1] + smallest)
    beyond = scores[scores > knots[-1]] - knots[-1]
    excess = max(float(beyond.mean()) if len(beyond) else 0.0, smallest)
    slopes = np.append(math.log(2) / np.diff(knots), 1 / excess)
    # Half of the images lie between p = 1 and the median.
    lower = max(2 * float(np.maximum(knots[0] - scores, 0).mean()), smallest)
    below = min(math.log(2) / lower, float(slopes[0]))
    return knots, np.diff(slopes, prepend=below), np.array(below)


def minus_log_p(score: Tensor, knots: Tensor, rises: Tensor, below: Tensor) -> Tensor:
    """Scores of one part `(N,)` -> `-log p` `(N,)`; log 2 at the median.

    Args:
        score: raw.
        knots, rises: `(K,)`.
        below: slope below the median `()`.
    """
    ramps = (score[:, None] - knots).clamp(min=0) @ rises
    return (score - knots[0]) * below + ramps + math.log(2)


class SmallestP(nn.Module):
    """`-log` of the smallest weighted p-value of the parts, in units of the leading part's.

    Weighted Bonferroni (Genovese, Roeder and Wasserman 2006): whatever the dependence between the
    parts, a good image falls below p with a probability of at most p times the sum of weights. The
    leading part has weight 1; the others `OTHERS` by their share, so that a blind one costs the
    ranking next to nothing, while where it sees a defect its p-value falls far below what good
    images reach. Parts that nobody told apart lead together: their mean `-log p` counts.
    Thresholds come from held-out values of the result itself.

    Attributes:
        knots_, rises_, below_: see `Curves`.
        leads_: share in the leading value, sums to 1 `(P,)`.
        toll_: `-log` of the weight of each part, 1e9 for one that only leads or is blind `(P,)`.
    """

    knots_: Tensor
    rises_: Tensor
    below_: Tensor
    leads_: Tensor
    toll_: Tensor

    def learn(
        self, weight: NDArray[np.float64], good: NDArray[np.float64], device: torch.device
    ) -> None:
        """From weights `(P,)` and scores of unseen good images `(n, P)`; the largest one leads."""
        curves, share = curves_of(good), weight / weight.max()
        leads = share >= 1 - _SMALLEST
        decides = ~leads & (share > 0)
        toll = np.where(decides, -np.log(OTHERS * np.where(decides, share, 1.0)), _NEVER)
        values = {
            "knots_": curves.knots,
            "rises_": curves.rises,
            "below_": curves.below,
            "leads_": leads / leads.sum(),
            "toll_": toll,
        }
        for name, value in values.items():
            self.register_buffer(name, torch.from_numpy(value).float().to(device))

    def forward(self, scores: Sequence[Tensor]) -> Tensor:
        """Image scores of the parts, each `(N,)`, -> joined `(N,)`."""
        values = [
            minus_log_p(score, self.knots_[place], self.rises_[place], self.below_[place])
            for place, score in enumerate(scores)
        ]
        joined = torch.stack(values, dim=1) @ self.leads_
        for place, value in enumerate(values):
            joined = torch.maximum(joined, value - self.toll_[place])
        return joined
