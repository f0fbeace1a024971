"""Hit/miss curves: against a slow maximisation, at their edges, and where truth is known."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from anomalib_lite.statistics.hit_miss import fit_hit_miss


def drawn(slope=3.0, middle=8.0, trials=100, seed=0):
    rng = np.random.default_rng(seed)
    size = np.exp(rng.uniform(np.log(middle) - 1.2, np.log(middle) + 1.2, trials))
    return size, rng.random(trials) < expit(slope * (np.log(size) - np.log(middle)))


def slow_likelihood(beta, x, y):
    """Firth's penalised likelihood from its definition: log L + log det(information) / 2."""
    chance = expit(beta[0] + beta[1] * x)
    design = np.stack([np.ones_like(x), x], axis=1)
    information = design.T @ np.diag(chance * (1 - chance)) @ design
    return np.log(np.where(y, chance, 1 - chance)).sum() + 0.5 * np.log(np.linalg.det(information))


@pytest.mark.parametrize("seed", range(4))
def test_the_curve_is_the_maximum_of_the_penalised_likelihood(seed):
    size, hit = drawn(seed=seed)
    x = np.log(size)
    curve = fit_hit_miss(size, hit)
    best = minimize(
        lambda beta: -slow_likelihood(beta, x, hit),
        [-1, 1],
        method="Nelder-Mead",
        options={"xatol": 1e-8, "fatol": 1e-10, "maxiter": 4000},
    )
    assert (curve.intercept, curve.slope) == pytest.approx(tuple(best.x), rel=1e-4)
    assert curve.size_at(0.9) == pytest.approx(np.exp((logit(0.9) - best.x[0]) / best.x[1]), 1e-3)


def test_the_bound_is_where_the_likelihood_has_lost_the_critical_value():
    size, hit = drawn(seed=1)
    curve = fit_hit_miss(size, hit)
    place = np.log(curve.upper_size_at(0.9))
    slopes = np.exp(np.linspace(-4, 4, 4001))
    through = max(
        slow_likelihood((logit(0.9) - slope * place, slope), np.log(size), hit) for slope in slopes
    )
    best = slow_likelihood((curve.intercept, curve.slope), np.log(size), hit)
    assert 2 * (best - through) == pytest.approx(curve.critical, abs=1e-3)


def test_the_band_meets_ninety_per_cent_at_the_bound():
    curve = fit_hit_miss(*drawn(seed=2))
    bound = curve.upper_size_at(0.9)
    assert curve.lower_probability(bound) == pytest.approx(0.9, abs=0.01)
    assert curve.size_at(0.5) < curve.size_at(0.9) < bound
    assert (curve.probability(np.array([2.0, 8.0, 30.0])) > [0, 0.3, 0.9]).all()


def test_sizes_in_another_unit_give_the_same_curve_in_that_unit():
    size, hit = drawn(seed=3)
    pixels, millimetres = fit_hit_miss(size, hit), fit_hit_miss(size * 0.05, hit)
    assert millimetres.upper_size_at(0.9) == pytest.approx(0.05 * pixels.upper_size_at(0.9), 1e-3)


def test_trials_that_share_a_photograph_widen_the_bound():
    rng = np.random.default_rng(0)
    photograph = np.arange(120) % 12
    size = np.exp(rng.uniform(1, 3.4, 120))
    hit = rng.random(120) < expit(4 * (np.log(size) - 2.1 + rng.normal(0, 0.4, 12)[photograph]))
    alone, shared = fit_hit_miss(size, hit), fit_hit_miss(size, hit, photograph)
    assert shared.size_at(0.9) == alone.size_at(0.9)
    assert shared.upper_size_at(0.9) > alone.upper_size_at(0.9)


SIZES = np.exp(np.linspace(0.5, 3.5, 40))


@pytest.mark.parametrize(
    ("hit", "standing"),
    [
        (SIZES > 0, "all found"),
        (SIZES < 0, "none found"),
        (SIZES > 6, "separated"),
        (np.arange(40) % 2 == 0, "flat"),
        (SIZES < 6, "flat"),
        ((SIZES > 3) & (np.arange(40) % 4 > 0), "fitted"),
    ],
)
def test_what_cannot_be_fitted_says_so(hit, standing):
    curve = fit_hit_miss(SIZES, hit)
    assert curve.standing == standing
    assert curve.usable == (standing in ("fitted", "separated"))
    if not curve.usable:
        assert curve.size_at(0.9) is None
        assert curve.upper_size_at(0.9) is None


def test_what_levels_off_has_its_size_beyond_those_tried():
    found = fit_hit_miss(SIZES, (SIZES > 3) & (np.arange(40) % 3 > 0)).size_at(0.9)
    assert found > SIZES.max()


def test_separated_trials_still_have_a_bound_between_what_was_missed_and_what_was_found():
    curve = fit_hit_miss(SIZES, SIZES > 6)
    assert 5 < curve.size_at(0.5) < 7
    assert curve.size_at(0.9) < curve.upper_size_at(0.9) < 12


@pytest.fixture(scope="module")
def study():
    path = Path(__file__).parents[2] / "benchmarks" / "pod.py"
    spec = importlib.util.spec_from_file_location("pod_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("photographs", "spread"), [(None, 0.0), (20, 0.3)])
def test_the_bound_covers_the_truth_as_often_as_it_says(study, photographs, spread):
    """A short form of `benchmarks/pod.py`."""
    found = study.coverage(
        3.0, studies=60, trials=80, photographs=photographs, spread=spread, seed=4
    )
    assert found["covered"] >= 0.93
    assert found["unbounded"] <= 0.05
    assert found["median"] < 2
