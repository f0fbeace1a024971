"""Gaussian statistics: Ledoit-Wolf covariance, component selection, whitening. Pure functions.

Everything is float64; callers keep float32 copies of what scoring needs.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from anomalib_lite.edge.errors import FitError

Components: TypeAlias = Literal["all", "high", "low"]


def ledoit_wolf(rows: Tensor, weights: Tensor | None = None) -> tuple[Tensor, float]:
    """Ledoit-Wolf covariance `(1 - r) S + r tr(S)/d I` with the analytic optimal shrinkage r.

    Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices".
    The data are centred here, `S` divides by n: scikit-learn's. With weights, which it does not
    take, moments are weighted and n is Kish's effective number (`effective_count`).

    Args:
        rows: float64 `(n, d)`, n >= 2.
        weights: how far each row counts `(n,)`; None counts all in full.

    Returns:
        covariance float64 `(d, d)` and the shrinkage r in [0, 1].
    """
    if weights is None:
        from sklearn.covariance import ledoit_wolf as unweighted  # here: imports of a second

        found, shrinkage = unweighted(rows.numpy())
        return torch.from_numpy(found), float(shrinkage)
    n, d = effective_count(weights), rows.shape[1]
    share = weights / weights.sum()
    centred = rows - weighted_mean(rows, weights)
    sample = (centred.T * share) @ centred
    fourth = float(share @ centred.square().sum(dim=1).square())
    mean_variance = float(sample.trace()) / d
    # sum_ij of (1/n sum_k x_ki^2 x_kj^2) is the mean fourth power of the row norms.
    squared_norm = float(sample.square().sum())
    beta = (fourth - squared_norm) / (d * n)
    delta = (squared_norm - d * mean_variance**2) / d
    beta = min(beta, delta)
    shrinkage = 0.0 if beta <= 0 or delta <= 0 else beta / delta
    covariance = (1 - shrinkage) * sample
    covariance.diagonal().add_(shrinkage * mean_variance)
    return covariance, shrinkage


def weighted_mean(rows: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of rows `(n, d)`, each counted by its weight `(n,)`."""
    return rows.mean(dim=0) if weights is None else weights @ rows / weights.sum()


def effective_count(weights: Tensor) -> float:
    """Kish's effective number, `(sum w)^2 / sum w^2`: n rows of equal weight give n."""
    return float(weights.sum().square() / weights.square().sum())


def select_components(
    rows: Tensor,
    components: Components,
    *,
    variance: float | None = None,
    count: int | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Basis of a principal subspace of `rows`, as Rippel et al. (2020) choose it.

    With explained variance accumulated as `c_0 <= c_1 <= ...` and j the first index with
    `c_j > variance`: `high` (their PCA) keeps 0..j, `low` (their NPCA) keeps j-1..end. With `count`
    the subspace has exactly that many directions instead.

    Args:
        rows: float64 `(n, d)`.
        components: `"all"`, `"high"` or `"low"`.
        variance: share of explained variance, in (0, 1).
        count: number of directions; overrides `variance`.
        weights: how far each row counts `(n,)`; None counts all in full.

    Returns:
        orthonormal basis float64 `(d, k)`.
    """
    n, d = rows.shape
    if components == "all":
        return torch.eye(d, dtype=rows.dtype)
    centred = rows - weighted_mean(rows, weights)
    if weights is not None:
        centred = weights.sqrt()[:, None] * centred
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    power = singular.square()
    total = int(min(n, d))
    if count is not None:
        kept = min(count, total)
        chosen = slice(0, kept) if components == "high" else slice(total - kept, total)
    else:
        share = torch.cumsum(power, 0) / power.sum()
        above = torch.nonzero(share > (variance if variance is not None else 0.99))
        first = int(above[0]) if len(above) else total - 1
        chosen = slice(0, first + 1) if components == "high" else slice(max(0, first - 1), total)
    basis: Tensor = directions[chosen].T.contiguous()
    return basis


def whitening(
    rows: Tensor, basis: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor, float]:
    """Mean and whitening matrix of a Ledoit-Wolf Gaussian in a subspace.

    `|| W (x - mean) ||` is the Mahalanobis distance of `basis.T x`.

    Args:
        rows: float64 `(n, d)`.
        basis: float64 `(d, k)`, orthonormal columns.
        weights: how far each row counts `(n,)`; None counts all in full.

    Returns:
        mean `(d,)`, W `(k, d)`, shrinkage.

    Raises:
        FitError: the rows do not vary, or are not finite.
    """
    if not bool(torch.isfinite(rows).all()):
        raise FitError(
            "the network gives NaN or infinity for a good image; check the weights file and the "
            "images"
        )
    covariance, shrinkage = ledoit_wolf(rows @ basis, weights)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if int(failed) or float(covariance.diagonal().max()) <= 0:
        raise FitError(
            "the good images are identical to the network (no variation to learn from); give "
            "different photographs"
        )
    inverse = torch.linalg.solve_triangular(factor, basis.T, upper=False)
    return weighted_mean(rows, weights), inverse, shrinkage
