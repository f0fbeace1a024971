"""Pixel metrics: the image formulas on every pixel, streamed and exact."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_references import flat, random_images
from sklearn import metrics as sk

from anomalib_lite.metrics import (
    aupro,
    f1_max_point,
    pixel_auroc,
    pixel_average_precision,
    pixel_f1_max,
    pixel_metrics,
)
from anomalib_lite.metrics import ranking as ranking_module


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([None, 1, 4]), st.sampled_from(["f4", "f8"]))
def test_pixel_metrics_equal_scikit_learn_on_all_pixels_of_images_of_different_size(
    seed, levels, dtype
):
    maps, masks = random_images(seed, levels=levels, dtype=dtype)
    scores, labels = flat(maps, masks)
    assert pixel_auroc(maps, masks) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    assert pixel_average_precision(maps, masks) == pytest.approx(
        sk.average_precision_score(labels, scores), abs=1e-12
    )
    assert pixel_f1_max(maps, masks) == f1_max_point(scores, labels).f1


def test_all_three_together_equal_each_alone():
    maps, masks = random_images(3, levels=3)
    together = pixel_metrics(maps, masks)
    assert together.auroc == pixel_auroc(maps, masks)
    assert together.average_precision == pixel_average_precision(maps, masks)
    assert together.f1.f1 == pixel_f1_max(maps, masks)


def test_blocks_of_thresholds_do_not_change_a_value(monkeypatch):
    maps, masks = random_images(5, count=8, levels=2)
    whole = pixel_metrics(maps, masks)
    monkeypatch.setattr(ranking_module, "_BLOCK", 3)
    blocked = pixel_metrics(maps, masks)
    assert blocked.auroc == whole.auroc
    assert blocked.f1 == whole.f1
    assert blocked.average_precision == pytest.approx(whole.average_precision, abs=1e-15)


def test_lists_arrays_generators_and_functions_give_the_same_value():
    rng = np.random.default_rng(0)
    masks = rng.random((3, 8, 8)) < 0.1
    maps = rng.normal(size=masks.shape).astype(np.float32)
    expected = pixel_auroc(maps, masks)
    assert pixel_auroc(list(maps), list(masks.astype(np.uint8) * 255)) == expected
    assert pixel_auroc(iter(maps), (m for m in masks)) == expected
    assert pixel_auroc(lambda: iter(maps), lambda: masks) == expected


def test_float32_and_float64_maps_may_be_mixed_without_rounding():
    fine = np.array([[1.0, 1.0 + 2**-40]])
    coarse = np.array([[0.0, 3.0]], dtype=np.float32)
    assert pixel_auroc([coarse, fine], [[[0, 1]], [[0, 1]]]) == 1.0
    assert aupro([coarse, fine], [[[0, 1]], [[0, 1]]], 0.5) == 1.0


def test_memory_stays_near_five_bytes_a_pixel_when_maps_are_streamed():
    side, count = 512, 16

    def maps():
        for seed in range(count):
            yield np.random.default_rng(seed).random((side, side), dtype=np.float32)

    def masks():
        for seed in range(count):
            mask = np.zeros((side, side), np.uint8)
            mask[: 20 * (seed % 2), :20] = 1
            yield mask

    for metric in (pixel_auroc, aupro):
        tracemalloc.start()
        metric(maps, masks)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        per_pixel = peak / (side * side * count)
        # One image and its copies weigh 16 / count bytes a pixel here.
        assert per_pixel < 7.0, (metric.__name__, per_pixel)


def test_an_empty_mask_makes_every_pixel_of_its_image_good():
    maps = [np.array([[1.0, 4.0]]), np.array([[2.0, 3.0]])]
    masks = [np.array([[0, 1]]), np.array([[0, 0]])]
    assert pixel_auroc(maps, masks) == 1.0
    assert pixel_auroc([maps[0], maps[1] + 9], masks) == pytest.approx(1 / 3)


def test_with_labels_an_anomalous_image_without_a_marked_pixel_is_left_out():
    maps = [np.array([[1.0, 4.0]]), np.array([[12.0, 13.0]]), np.array([[5.0, 0.0]])]
    masks = [np.array([[0, 1]]), np.array([[0, 0]]), np.array([[0, 0]])]
    kept = pixel_auroc([maps[0], maps[2]], [masks[0], masks[2]])
    assert pixel_auroc(maps, masks, labels=[1, 1, 0]) == kept == pytest.approx(2 / 3)
    assert pixel_auroc(maps, masks) == pytest.approx(2 / 5)
