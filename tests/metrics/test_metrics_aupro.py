"""AUPRO against a slow reference, by hand, and at every trap of its look-alikes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_references import (
    FOUR,
    flat,
    random_images,
    slow_aupro,
    slow_pro_linear,
    slow_pro_rank,
)

from anomalib_lite.metrics import (
    MetricError,
    aupro,
    auroc,
    pro_curve,
    pro_linear_thresholds,
    pro_rank_thresholds,
)
from anomalib_lite.metrics import regions as regions_module

# Component A = {9, 4}, component B = {7}; five defect-free pixels, so FPR moves in steps of 0.2.
MAP = np.array([[9, 4, 8, 7], [6, 3, 2, 1]], dtype=np.float32)
MASK = np.array([[1, 1, 0, 1], [0, 0, 0, 0]], dtype=np.uint8)


def with_score(old, new):
    return np.where(old == MAP, np.float32(new), MAP)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([0.01, 0.05, 0.3, 0.77, 1.0]),
    st.sampled_from(["f4", "f8"]),
)
def test_aupro_equals_the_slow_cumulative_reference(seed, levels, limit, dtype):
    maps, masks = random_images(seed, levels=levels, dtype=dtype)
    assert aupro(maps, masks, limit) == pytest.approx(slow_aupro(maps, masks, limit), abs=1e-9)


@pytest.mark.parametrize(
    ("scores", "limit", "expected"),
    [
        # 0-0.2 at 1/4, 0.2-0.3 at 3/4
        (MAP, 0.3, (0.2 * 0.25 + 0.1 * 0.75) / 0.3),
        # 7 ties with a good pixel: one straight line from (0, 1/4) to (0.2, 3/4)
        (with_score(8, 7), 0.3, (0.2 * 0.5 + 0.1 * 0.75) / 0.3),
        # B ties with the good pixel that crosses the limit: (0.2, 1/4) to (0.4, 3/4), cut at 0.3
        (with_score(7, 6), 0.3, (0.2 * 0.25 + 0.1 * (0.25 + 0.5) / 2) / 0.3),
        # everything ties: the diagonal
        (np.zeros_like(MAP), 0.3, 0.15),
        # up to 1: the weighted AUROC
        (MAP, 1.0, 0.2 * 0.25 + 0.2 * 0.75 + 0.6),
    ],
)
def test_aupro_worked_by_hand(scores, limit, expected):
    assert aupro([scores], [MASK], limit) == pytest.approx(expected, abs=1e-15)


def test_perfect_maps_give_exactly_one_and_inverted_maps_exactly_zero():
    _, masks = random_images(0)
    maps = [(m > 0).astype(np.float32) for m in masks]
    assert aupro(maps, masks) == 1.0
    assert aupro([-m for m in maps], masks) == 0.0


def test_diagonal_neighbours_are_one_component():
    mask = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], dtype=np.uint8)
    scores = np.array([[9.0, 9.0, 1.0], [1.0, 9.0, 1.0], [1.0, 1.0, 0.5]])
    # 8-connected: one region of four, three found. 4-connected: one region found, one not.
    assert aupro([scores], [mask], 1.0) == pytest.approx(3 / 4)
    assert slow_aupro([scores], [mask], 1.0, FOUR) == pytest.approx(1 / 2)


def test_every_component_weighs_the_same_whatever_its_size():
    scores, mask = np.zeros((1, 200)), np.zeros((1, 200), np.uint8)
    mask[0, :100] = mask[0, 150] = 1
    scores[0, :100] = 1.0
    scores[0, 150] = -1.0
    assert aupro([scores], [mask]) == 0.5


def test_defect_free_pixels_of_anomalous_images_count_as_false_positives():
    halo = np.array([[3.0, 2.0, 0.0, 0.0]])
    mask = np.array([[0, 1, 0, 0]])
    clean = np.array([[1.0, 1.0, 1.0, 1.0]])
    # FPR is 1/7 when the defect is found, so 0.3 - 1/7 of 0.3 is covered
    assert aupro([halo, clean], [mask, 0 * mask]) == pytest.approx((0.3 - 1 / 7) / 0.3)


def test_aupro_only_depends_on_the_order_of_scores():
    maps, masks = random_images(1, count=10, size=(32, 32), signal=2.0, dtype=np.float64)
    value = aupro(maps, masks)
    assert aupro([np.exp(1.2 * m) for m in maps], masks) == value
    assert aupro([m**3 for m in maps], masks) == value


def test_exponentiated_scores_move_the_linear_threshold_pro_but_not_aupro():
    maps, masks = random_images(1, count=10, size=(48, 48), signal=2.0, dtype=np.float64)
    stretched = [np.exp(2.0 * m) for m in maps]
    assert aupro(stretched, masks) == aupro(maps, masks)
    before, after = (pro_linear_thresholds(m, masks) for m in (maps, stretched))
    assert abs(before - aupro(maps, masks)) < 0.03
    assert before - after > 0.2


def test_eight_bit_maps_change_aupro_so_maps_must_not_be_saved_as_eight_bit():
    maps, masks = random_images(1, count=10, size=(48, 48), signal=2.0, dtype=np.float64)
    maps = [np.exp(3.0 * m) for m in maps]
    top = max(m.max() for m in maps)
    squeezed = [np.round(255 * m / top).astype(np.uint8) for m in maps]
    assert abs(aupro(squeezed, masks) - aupro(maps, masks)) > 0.05


def test_many_pixels_do_not_wear_out_a_float32_sum():
    # 2^24 + more equal weights: a float32 running sum stops growing, a sum of ramps does not.
    size = 2**24 + 2**20
    weights = np.full(size, 1.0, dtype=np.float32)
    assert np.cumsum(weights)[-1] == 2**24
    scores = np.linspace(0, 1, size, dtype=np.float64).reshape(4, -1)
    mask = np.zeros(scores.shape, np.uint8)
    mask[-1, -1] = 1
    assert aupro([scores], [mask]) == 1.0
    scores[-1, -1] = 0.9
    found_at = np.count_nonzero(scores > 0.9) / (size - 1)
    assert aupro([scores], [mask]) == pytest.approx((0.3 - found_at) / 0.3, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([None, 1, 3]), st.sampled_from([0.05, 0.3, 0.6, 1.0]))
def test_the_trapezoid_under_the_pro_curve_is_aupro(seed, levels, limit):
    maps, masks = random_images(seed, levels=levels)
    curve = pro_curve(maps, masks, limit)
    area = np.trapezoid(curve.pro, curve.fpr) / limit
    assert area == pytest.approx(aupro(maps, masks, limit), abs=1e-9)
    assert (np.diff(curve.fpr) >= 0).all()
    assert (np.diff(curve.pro) >= -1e-15).all()
    assert curve.fpr[-1] == limit


def test_the_pro_curve_runs_from_zero_to_one():
    # The lowest pixel is a defect: the last point still has overlap 1.
    curve = pro_curve([np.array([[3.0, 2.0, 1.0]])], [np.array([[0, 0, 1]])])
    assert curve.fpr.tolist() == [0.0, 0.5, 1.0, 1.0]
    assert curve.pro.tolist() == [0.0, 0.0, 0.0, 1.0]
    assert curve.thresholds.tolist() == [np.inf, 3.0, 2.0, 1.0]


def test_with_single_pixel_components_aupro_to_one_is_auroc():
    rng = np.random.default_rng(2)
    mask = np.zeros((20, 20), np.uint8)
    mask[::4, ::4] = 1
    maps = [np.round(rng.normal(size=mask.shape) + mask, 1)]
    assert aupro(maps, [mask], 1.0) == pytest.approx(auroc(*flat(maps, [mask])), abs=1e-12)


def test_blocks_of_pixels_do_not_change_a_value(monkeypatch):
    maps, masks = random_images(7, count=8, levels=2)
    whole = aupro(maps, masks)
    monkeypatch.setattr(regions_module, "_BLOCK", 2)
    assert aupro(maps, masks) == pytest.approx(whole, abs=1e-14)


def test_the_callers_maps_and_masks_are_left_as_they_were():
    maps, masks = random_images(9)
    before = [m.copy() for m in (*maps, *masks)]
    aupro(maps, masks)
    pro_rank_thresholds(maps, masks)
    assert all(np.array_equal(a, b) for a, b in zip((*maps, *masks), before, strict=True))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([20, 200]),
    st.sampled_from(["minmax", "max"]),
    st.sampled_from(["f4", "f8"]),
)
def test_linear_threshold_pro_equals_the_plain_loop(seed, num, rescale, dtype):
    maps, masks = random_images(seed, dtype=dtype)
    value = pro_linear_thresholds(maps, masks, num, rescale)
    assert value == pytest.approx(slow_pro_linear(maps, masks, num, rescale), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([10, 100, 1000]), st.sampled_from([None, 2]))
def test_rank_threshold_pro_equals_the_plain_loop(seed, num, levels):
    maps, masks = random_images(seed, levels=levels)
    value = pro_rank_thresholds(maps, masks, num)
    assert value == pytest.approx(slow_pro_rank(maps, masks, num), abs=1e-9)


def test_the_look_alikes_worked_by_hand():
    # ranks: (0, 1/4), (0.2, 3/4), (0.4, 1), straight lines between them
    expected = (0.2 * 0.5 + 0.1 * (0.75 + 0.875) / 2) / 0.3
    assert pro_rank_thresholds([MAP], [MASK], 5) == pytest.approx(expected, abs=1e-15)
    # thresholds 1, 3, 5, 7 flag 0.8, 0.4, 0.4, 0.2 of the good pixels; below 0.5 three stay
    linear = pro_linear_thresholds([MAP], [MASK], 4, "minmax", 0.5)
    assert linear == pytest.approx((0.25 + 0.75) / 2, abs=1e-15)
    linear = pro_linear_thresholds([MAP], [MASK], 4, "max", 0.5)
    assert linear == pytest.approx((0.25 + 0.75) / 2 * 0.5, abs=1e-15)


def test_a_look_alike_without_points_below_the_limit_refuses():
    with pytest.raises(MetricError, match="fewer than two distinct points"):
        pro_linear_thresholds([MAP], [MASK], 4)
    with pytest.raises(MetricError, match="fewer than two distinct points"):
        pro_linear_thresholds([0 * MAP], [MASK])
