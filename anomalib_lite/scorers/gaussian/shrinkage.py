"""How far the covariance of each place is drawn towards the one that all places share.

`Sigma_place(a) = (1 - a) S_place + a S_shared`, regularised discriminant analysis (Friedman 1989,
JASA 84) with its second parameter left out: PaDiM's own regularisation stands on the diagonal.
With few photographs a covariance per place is mostly noise; the shared one is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers.gaussian.chain_rule import Factors, log_density
from anomalib_lite.scorers.gaussian.moments import NestedMoments, SharedTarget
from anomalib_lite.scorers.gaussian.nested_grids import NestedGrids
from anomalib_lite.scorers.gaussian.pooled import PooledMoments, finest_cells

Shrinkage = float | Literal["auto"] | None
CANDIDATES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_LARGEST_SAMPLE = 32  # coarsest cells: thousands of places tell one number well enough


def shrinkage_setting(value: Shrinkage, compact: int | None) -> Shrinkage:
    """The setting as it is kept; raises `SettingsError` when it cannot be used."""
    if value is None:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value != "auto" and not (is_number and 0 <= float(value) <= 1):
        raise SettingsError(f"shrinkage is {value!r}; choose a number from 0 to 1, or auto")
    if compact is not None:
        raise SettingsError(
            f"shrinkage is {value!r} and compact is {compact}: both share covariances; choose one"
        )
    return "auto" if value == "auto" else float(value)


def shrunk_factors(
    moments: NestedMoments | PooledMoments, active: Tensor, regularisation: float, amount: float
) -> list[tuple[Tensor, Tensor]]:
    """Means and whitening factors (`chain_rule.Factors`) of places drawn together by `amount`.

    Args:
        moments: of places, or pooled ones (which are `amount` 1 already).
        active: which finest cells count, bool `(h, w)`.
        regularisation: added to the diagonal.
        amount: 0 leaves each place its covariance, 1 gives all the shared one.

    Raises:
        FitError: fewer than 2 images, or features that are not finite.
    """
    if isinstance(moments, PooledMoments):
        return moments.factors(regularisation)
    if amount == 0:
        return moments.factors(regularisation)
    pooled = PooledMoments.of(moments, active)
    if amount == 1:
        return pooled.factors(regularisation)
    return moments.factors(regularisation, SharedTarget(amount, pooled.covariance()))


class ShrinkageSearch:
    """Mean log-likelihood of held-out good images under each candidate; the largest one wins.

    Args:
        grids: the tree.
        active: which finest cells count, bool `(h, w)`.
        regularisation: added to the diagonal.
    """

    def __init__(self, grids: NestedGrids, active: Tensor, regularisation: float) -> None:
        self.grids, self.active, self.regularisation = grids, active, regularisation
        cells = finest_cells(grids, active, torch.device("cpu"))
        roots = torch.nonzero(cells[0])[:, 0]
        steps = torch.linspace(0, max(len(roots) - 1, 0), min(_LARGEST_SAMPLE, len(roots)))
        self._roots = roots[steps.round().long()]
        self._sample = _tree_of(grids, len(self._roots))
        self._cells = self._under_roots(cells[-1], grids.levels - 1)
        self._factors: list[Factors] = []
        self._totals = torch.zeros(len(CANDIDATES), dtype=torch.float64)
        self._images = 0.0

    def begin_fold(self, others: NestedMoments) -> None:
        """Take the moments of all images but those of a fold; fewer than 2 judge nothing."""
        self._factors = []
        if float(others.count_) < 2 or not len(self._roots):
            return
        pooled = PooledMoments.of(others, self.active)
        shared = pooled.covariance()
        sample = self._sampled(others)
        for amount in CANDIDATES:
            if amount == 1:
                means = [self._under_roots(mean, i) for i, mean in enumerate(pooled.means())]
                factors = pooled.factors(self.regularisation)
                found = [(m.float(), w) for m, (_, w) in zip(means, factors, strict=True)]
            else:
                found = sample.factors(self.regularisation, SharedTarget(amount, shared))
            self._factors.append(found)

    def add(self, nodes: Sequence[Tensor], weights: Tensor | None) -> None:
        """Judge images of the fold, `(P, N, c)` per level.

        Args:
            nodes: features.
            weights: how far each image counts, float64 `(N,)`; None counts all in full.
        """
        if not self._factors:
            return
        device = self._factors[0][0][0].device
        below = [self._under_roots(part.to(device), level) for level, part in enumerate(nodes)]
        widths = [part.shape[2] for part in nodes]
        counts = torch.ones(nodes[0].shape[1]).double() if weights is None else weights.cpu()
        for position, factors in enumerate(self._factors):
            density = log_density(self._sample, widths, below, factors).double().cpu()
            by_image = self._cells @ density / self._cells.sum()
            self._totals[position] += counts @ by_image
        self._images += float(counts.sum())

    @property
    def means(self) -> dict[float, float]:
        """Log-likelihood of an image at a place, nats, by candidate; empty when none was judged."""
        if not self._images:
            return {}
        values = (self._totals / self._images).tolist()
        return dict(zip(CANDIDATES, values, strict=True))

    def best(self) -> float:
        """The candidate under which held-out images are likeliest; 1 when none could be judged."""
        means = self.means
        return max(means, key=means.__getitem__) if means else 1.0

    def _sampled(self, moments: NestedMoments) -> NestedMoments:
        sample = NestedMoments(self._sample)
        sample.count_ = moments.count_
        for level in range(self.grids.levels):
            for kind, values in (
                ("sums", moments.sums(level)),
                ("products", moments.products(level)),
            ):
                sample.register_buffer(f"{kind}{level}_", self._under_roots(values, level))
        return sample

    def _under_roots(self, values: Tensor, level: int) -> Tensor:
        """Rows `(P, ...)` of a level that lie below the sampled roots."""
        split = values.reshape(self.grids.nodes(0), -1, *values.shape[1:])
        return split[self._roots.to(values.device)].flatten(0, 1)


def _tree_of(grids: NestedGrids, roots: int) -> NestedGrids:
    """A tree of the same ratios with so many roots, side by side."""
    sizes = [(max(roots, 1), 1)]
    for ratio in grids.ratios:
        sizes.append((sizes[-1][0] * ratio, sizes[-1][1] * ratio))
    return NestedGrids(tuple(sizes), grids.ratios)
