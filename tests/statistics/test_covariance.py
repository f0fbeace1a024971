"""Gaussian statistics against scikit-learn and plain linear algebra."""

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf
from sklearn.decomposition import PCA

from anomalib_lite.edge import FitError
from anomalib_lite.statistics.covariance import ledoit_wolf, select_components, whitening

SHAPES = [(2, 1), (2, 5), (10, 3), (30, 30), (12, 80), (200, 7)]


def rows(n, d, seed=0):
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((d, d)) * np.geomspace(1, 0.01, d)
    return rng.standard_normal((n, d)) @ mixing + rng.standard_normal(d) * 5


@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_with_equal_weights_ledoit_wolf_is_scikit_learns(n, d, weight):
    data = rows(n, d)
    expected, shrinkage = sklearn_ledoit_wolf(data)
    weights = torch.full((n,), weight, dtype=torch.float64)
    found, measured = ledoit_wolf(torch.from_numpy(data), weights)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12 * expected.max())
    assert measured == pytest.approx(shrinkage, rel=1e-10, abs=1e-12)


def test_ledoit_wolf_of_white_noise_shrinks_fully_when_all_directions_are_alike():
    data = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float64)
    covariance, shrinkage = ledoit_wolf(data)
    np.testing.assert_allclose(covariance.numpy(), np.eye(2) / 2)
    assert shrinkage == 0  # the sample covariance is already the target


@pytest.mark.parametrize(("n", "d"), [(40, 6), (8, 20), (200, 30)])
@pytest.mark.parametrize("variance", [0.5, 0.9, 0.99, 0.9999])
def test_high_and_low_components_are_the_papers_and_overlap_by_two(n, d, variance):
    data = rows(n, d)
    pca = PCA().fit(data)
    first = int(np.argmax(np.cumsum(pca.explained_variance_ratio_) > variance))
    high = select_components(torch.from_numpy(data), "high", variance=variance).numpy()
    low = select_components(torch.from_numpy(data), "low", variance=variance).numpy()
    total = min(n, d)
    assert high.shape == (d, first + 1)
    assert low.shape == (d, total - max(0, first - 1))
    np.testing.assert_allclose(np.abs(np.sum(high.T * pca.components_[: first + 1], axis=1)), 1)
    if 0 < first < total - 1:
        overlap = np.linalg.svd(high.T @ low)[1]
        assert (overlap > 0.999).sum() == 2


@pytest.mark.parametrize("components", ["high", "low"])
@pytest.mark.parametrize(("n", "d", "count", "kept"), [(40, 6, 4, 4), (40, 6, 99, 6), (5, 9, 7, 5)])
def test_a_count_keeps_exactly_so_many_orthonormal_directions(components, n, d, count, kept):
    data = rows(n, d)
    basis = select_components(torch.from_numpy(data), components, count=count).numpy()
    assert basis.shape == (d, kept)
    np.testing.assert_allclose(basis.T @ basis, np.eye(kept), atol=1e-12)
    spread = ((data - data.mean(0)) @ basis).var(axis=0)
    ordered = np.sort(np.linalg.svd(data - data.mean(0), compute_uv=False) ** 2 / n)[::-1]
    expected = ordered[:kept] if components == "high" else ordered[len(ordered) - kept :]
    np.testing.assert_allclose(spread, expected, rtol=1e-6, atol=1e-12)


def test_all_components_are_the_plain_space():
    np.testing.assert_array_equal(select_components(torch.zeros(4, 3), "all").numpy(), np.eye(3))


@pytest.mark.parametrize("components", ["all", "high", "low"])
def test_whitened_rows_give_mahalanobis_distances(components):
    data = rows(50, 8)
    tensor = torch.from_numpy(data)
    basis = select_components(tensor, components, variance=0.9)
    mean, matrix, _ = whitening(tensor, basis)
    projected = data @ basis.numpy()
    precision = np.linalg.inv(sklearn_ledoit_wolf(projected)[0])
    centred = projected - projected.mean(0)
    expected = np.einsum("ni,ij,nj->n", centred, precision, centred)
    found = ((tensor - mean) @ matrix.T).square().sum(dim=1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(2.0, "no variation to learn from"), (np.nan, "NaN or infinity"), (np.inf, "NaN or infinity")],
)
def test_rows_that_do_not_vary_or_are_not_finite_are_refused(value, reason):
    tensor = torch.full((5, 3), value, dtype=torch.float64)
    with pytest.raises(FitError, match=reason):
        whitening(tensor, torch.eye(3, dtype=torch.float64))
