"""Gaussian statistics: Ledoit-Wolf covariance, component selection, whitening. Pure functions.

Everything is float64; callers keep float32 copies of what scoring needs.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from anomalib_lite.edge.errors import FitError

Components: TypeAlias = Literal["all", "high", "low"]


def ledoit_wolf(rows: Tensor) -> tuple[Tensor, float]:
    """Ledoit-Wolf covariance `(1 - r) S + r tr(S)/d I` with the analytic optimal shrinkage r.

    Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices".
    The data are centred here, `S` divides by n.

    Args:
        rows: float64 `(n, d)`, n >= 2.

    Returns:
        covariance float64 `(d, d)` and the shrinkage r in [0, 1].
    """
    n, d = rows.shape
    centred = rows - rows.mean(dim=0)
    gram = centred.T @ centred
    sample = gram / n
    mean_variance = float(sample.trace()) / d
    # sum_ij of (1/n sum_k x_ki^2 x_kj^2) is the mean fourth power of the row norms.
    fourth = float((centred.square().sum(dim=1)).square().sum())
    squared_norm = float(sample.square().sum())
    beta = (fourth / n - squared_norm) / (d * n)
    delta = (squared_norm - d * mean_variance**2) / d
    beta = min(beta, delta)
    shrinkage = 0.0 if beta <= 0 or delta <= 0 else beta / delta
    covariance = (1 - shrinkage) * sample
    covariance.diagonal().add_(shrinkage * mean_variance)
    return covariance, shrinkage


def select_components(
    rows: Tensor,
    components: Components,
    *,
    variance: float | None = None,
    count: int | None = None,
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

    Returns:
        orthonormal basis float64 `(d, k)`.
    """
    n, d = rows.shape
    if components == "all":
        return torch.eye(d, dtype=rows.dtype)
    centred = rows - rows.mean(dim=0)
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


def whitening(rows: Tensor, basis: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean and whitening matrix of a Ledoit-Wolf Gaussian in a subspace.

    `|| W (x - mean) ||` is the Mahalanobis distance of `basis.T x`.

    Args:
        rows: float64 `(n, d)`.
        basis: float64 `(d, k)`, orthonormal columns.

    Returns:
        mean `(d,)`, W `(k, d)`, shrinkage.

    Raises:
        FitError: the rows do not vary.
    """
    covariance, shrinkage = ledoit_wolf(rows @ basis)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if int(failed) or float(covariance.diagonal().max()) <= 0:
        raise FitError(
            "the good images are identical to the network (no variation to learn from); give "
            "different photographs"
        )
    inverse = torch.linalg.solve_triangular(factor, basis.T, upper=False)
    return rows.mean(dim=0), inverse, shrinkage
