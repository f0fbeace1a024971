"""AUPIMO: shared FPR of normal images only, recall an image, log axis."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_references import random_images, slow_aupimo

from anomalib_lite.metrics import MetricError, MetricWarning, aupimo

NORMAL = np.array([[8.0, 6.0, 4.0, 2.0]])
ANOMALOUS = np.array([[9.0, 5.0, 1.0, 1.0]])
NONE = np.zeros((1, 4), np.uint8)
TWO = np.array([[1, 1, 0, 0]], np.uint8)

few_points = pytest.mark.filterwarnings("ignore::anomalib_lite.metrics.MetricWarning")


@few_points
@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from([None, 8]), st.sampled_from([(0.05, 0.3), (0.2, 1.0)])
)
def test_aupimo_equals_the_slow_reference_for_images_of_different_size(seed, levels, bounds):
    maps, masks = random_images(seed, count=6, levels=levels, signal=0.5)
    try:
        result = aupimo(maps, masks, bounds)
    except MetricError:
        assert levels  # only ties can leave the bounds without a point here
        return
    np.testing.assert_allclose(result.values, slow_aupimo(maps, masks, bounds), atol=1e-9)
    assert result.image_indices.tolist() == [0, 2, 4]
    assert result.mean == pytest.approx(result.values.mean())


@few_points
def test_aupimo_worked_by_hand():
    # recall 1/2 from FPR 1/4 to 1/2, recall 1 from 1/2 to 1: equal lengths on the log axis
    result = aupimo([NORMAL, ANOMALOUS], [NONE, TWO], (0.25, 1.0))
    assert result.values.tolist() == pytest.approx([0.75], abs=1e-15)
    assert (result.image_indices.tolist(), result.num_points) == ([1], 4)


@few_points
def test_the_normal_part_of_an_anomalous_image_does_not_count():
    halo = np.array([[9.0, 5.0, 99.0, 99.0]])
    result = aupimo([NORMAL, halo], [NONE, TWO], (0.25, 1.0))
    assert result.values.tolist() == pytest.approx([0.75], abs=1e-15)


@few_points
def test_recall_is_taken_over_the_whole_image_and_not_a_component():
    scores = np.array([[9.0, 9.0, 1.0, 5.0]])
    mask = np.array([[1, 1, 0, 1]], np.uint8)
    # recall 2/3 until FPR 1/2, then 1
    result = aupimo([NORMAL, scores], [NONE, mask], (0.25, 1.0))
    assert result.mean == pytest.approx((2 / 3 + 1) / 2, abs=1e-15)


@few_points
def test_every_normal_image_weighs_the_same_whatever_its_size():
    large = np.full((1, 400), 0.0)
    # only the small image holds a score above 5: FPR is (1/2 of 8, 6) = mean(0.5, 0) = 0.25
    result = aupimo([NORMAL, large, ANOMALOUS], [NONE, 0 * large.astype("u1"), TWO], (0.125, 0.5))
    # recall 1/2 from 1/8 to 1/4, then 1 to 1/2
    assert result.mean == pytest.approx(0.75, abs=1e-15)


@few_points
def test_a_tie_of_normal_and_defect_pixels_is_a_line_in_log_fpr():
    scores = np.array([[6.0, 0.0, 0.0, 0.0]])
    mask = np.array([[1, 0, 0, 0]], np.uint8)
    # recall rises from 0 at FPR 1/4 to 1 at 1/2, then stays 1 to 1
    result = aupimo([NORMAL, scores], [NONE, mask], (0.25, 1.0))
    assert result.mean == pytest.approx((0.5 + 1.0) / 2, abs=1e-15)


def test_the_default_bounds_work_on_enough_normal_pixels_and_are_strict():
    rng = np.random.default_rng(0)
    maps = list(rng.normal(size=(9, 256, 256)).astype(np.float32))
    masks = [np.zeros((256, 256), np.uint8) for _ in maps]
    masks[8][:40, :40] = 1
    maps[8][:40, :40] += 2.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = aupimo(maps, masks)
    # An easy defect by pixel AUROC (0.96) is hardly found at one false pixel in ten thousand.
    assert 0.0 < result.mean < 0.2
    assert result.num_points > 30


def test_too_few_normal_pixels_are_refused_instead_of_interpolated():
    with pytest.raises(MetricError, match=r"alone gives FPR 0\.25, above the lower bound 1e-05"):
        aupimo([NORMAL, ANOMALOUS], [NONE, TWO])


def test_normal_scores_that_all_tie_are_refused():
    with pytest.raises(MetricError, match="alone gives FPR 1,"):
        aupimo([0 * NORMAL, ANOMALOUS], [NONE, TWO], (0.1, 0.5))


def test_a_gap_that_swallows_both_bounds_is_refused():
    with pytest.raises(MetricError, match="no normal score has an FPR between"):
        aupimo([NORMAL, ANOMALOUS], [NONE, TWO], (0.3, 0.4))


def test_few_points_inside_the_bounds_are_a_warning():
    with pytest.warns(MetricWarning, match="rests on 4 distinct normal scores"):
        aupimo([NORMAL, ANOMALOUS], [NONE, TWO], (0.25, 1.0))


def test_without_a_normal_image_the_axis_does_not_exist():
    with pytest.raises(MetricError, match="no image is normal"):
        aupimo([ANOMALOUS], [TWO])


@few_points
def test_with_labels_an_unmarked_anomalous_image_is_not_taken_for_a_normal_one():
    wild = np.array([[99.0, 99.0, 99.0, 99.0]])
    maps, masks = [wild, NORMAL, ANOMALOUS], [NONE, NONE, TWO]
    result = aupimo(maps, masks, (0.25, 1.0), labels=[1, 0, 1])
    assert result.mean == pytest.approx(0.75, abs=1e-15)
    assert result.image_indices.tolist() == [2]


@pytest.mark.parametrize("bounds", [(0.0, 0.1), (0.2, 0.1), (0.1, 1.5), (0.1, 0.1)])
def test_senseless_bounds_are_refused(bounds):
    with pytest.raises(MetricError, match="expected 0 < lower < upper <= 1"):
        aupimo([NORMAL, ANOMALOUS], [NONE, TWO], bounds)
