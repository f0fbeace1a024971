"""AU-sPRO of MVTec LOCO: saturation, overlapping channels, the config file."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_references import random_images, slow_au_spro

from anomalib_lite.metrics import (
    MetricError,
    SaturationRule,
    au_spro,
    aupro,
    load_defects_config,
    saturation_areas,
    spro_curve,
)

MAP = np.array([[9, 4, 8, 7], [6, 3, 2, 1]], dtype=np.float32)
PAIR = np.array([[1, 1, 0, 0], [0, 0, 0, 0]], dtype=np.uint8)
SINGLE = np.array([[0, 0, 0, 1], [0, 0, 0, 0]], dtype=np.uint8)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([None, 1]), st.sampled_from([0.05, 0.3, 1.0]))
def test_au_spro_equals_the_slow_reference_with_overlapping_channels(seed, levels, limit):
    maps, masks = random_images(seed, levels=levels)
    rng = np.random.default_rng(seed)
    channels = [[m, np.roll(m, 1, axis=0)] if m.any() else [] for m in masks]
    areas = [[int(rng.integers(1, np.count_nonzero(c) + 1)) for c in group] for group in channels]
    expected = slow_au_spro(maps, channels, areas, limit)
    assert au_spro(maps, channels, areas, limit) == pytest.approx(expected, abs=1e-9)
    curve = spro_curve(maps, channels, areas, limit)
    assert np.trapezoid(curve.pro, curve.fpr) / limit == pytest.approx(expected, abs=1e-9)


def test_one_found_pixel_is_enough_when_the_saturation_area_is_one():
    # 0-0.2 at 1/2 (9 saturates the pair), 0.2-0.3 at 1
    value = au_spro([MAP], [[PAIR, SINGLE]], [[1, 1]], 0.3)
    assert value == pytest.approx((0.2 * 0.5 + 0.1 * 1.0) / 0.3, abs=1e-15)


def test_with_saturation_at_the_full_area_and_one_component_a_channel_it_is_aupro():
    value = au_spro([MAP], [[PAIR, SINGLE]], [[2, 1]], 0.3)
    assert value == pytest.approx(aupro([MAP], [PAIR | SINGLE], 0.3), abs=1e-15)


def test_a_channel_is_not_split_into_components():
    both = PAIR | SINGLE
    # one region {9, 7, 4}: 1/3 until 0.2, 2/3 after
    value = au_spro([MAP], [[both]], [[3]], 0.3)
    assert value == pytest.approx((0.2 / 3 + 0.1 * 2 / 3) / 0.3, abs=1e-15)


def test_pixels_of_two_channels_count_for_both_and_never_as_false_positives():
    value = au_spro([MAP], [[PAIR, PAIR]], [[2, 2]], 0.3)
    assert value == pytest.approx(au_spro([MAP], [[PAIR]], [[2]], 0.3), abs=1e-15)


def test_ties_across_the_saturation_enter_at_once():
    scores = np.array([[5.0, 5.0, 5.0, 0.0]])
    channel = np.array([[1, 1, 0, 0]])
    # both channel pixels tie with one of two good pixels: a line from (0, 0) to (1/2, 1)
    assert au_spro([scores], [[channel]], [[1]], 0.5) == pytest.approx(0.5)


def test_pooling_logical_and_structural_images_is_another_number_than_their_mean():
    good = np.array([[5.0, 3.0, 1.0, 0.0]])
    logical = np.array([[6.0, 4.0, 0.0, 0.0]])
    structural = np.array([[9.0, 7.0, 2.0, 2.0]])
    channel = np.array([[1, 0, 0, 0]])
    apart = [au_spro([good, one], [[], [channel]], [[], [1]], 0.3) for one in (logical, structural)]
    pooled = au_spro([good, logical, structural], [[], [channel], [channel]], [[], [1], [1]], 0.3)
    assert pooled != pytest.approx(np.mean(apart))


@pytest.mark.parametrize(
    ("threshold", "relative", "defect_px", "expected"),
    [(0.5, True, 7, 3), (1.0, True, 7, 7), (100, False, 40, 40), (100, False, 400, 100)],
)
def test_saturation_area_follows_the_rule(threshold, relative, defect_px, expected):
    assert SaturationRule("x", threshold, relative).area(defect_px) == expected


def test_the_config_file_names_the_rule_of_each_pixel_value(tmp_path):
    path = tmp_path / "defects_config.json"
    entries = [
        {
            "defect_name": "missing_pin",
            "pixel_value": 255,
            "saturation_threshold": 3,
            "relative_saturation": False,
        },
        {
            "defect_name": "swapped",
            "pixel_value": 254,
            "saturation_threshold": 0.5,
            "relative_saturation": True,
        },
    ]
    path.write_text(json.dumps(entries))
    config = load_defects_config(path)
    assert config[255] == SaturationRule("missing_pin", 3.0, False)
    square = np.ones((2, 2), np.uint8)
    assert saturation_areas([255 * square, 254 * square, 254 * square], config) == [3, 2, 2]
    with pytest.raises(MetricError, match="value 7, which the config does not name"):
        saturation_areas([7 * square], config)
    with pytest.raises(MetricError, match="expected 0 and one"):
        saturation_areas([0 * square], config)


@pytest.mark.parametrize("text", ["[{}]", "not json", '{"255": 1}', "5"])
def test_a_broken_config_file_is_named(tmp_path, text):
    path = tmp_path / "defects_config.json"
    path.write_text(text)
    with pytest.raises(MetricError, match=r"not a LOCO defects_config\.json"):
        load_defects_config(path)


@pytest.mark.parametrize(
    ("channels", "areas", "message"),
    [
        ([[0 * PAIR]], [[1]], "channel 0 of image 0 is empty"),
        ([[PAIR]], [[3]], "saturation area 3; expected whole pixels from 1 to 2"),
        ([[PAIR]], [[0]], "saturation area 0"),
        ([[PAIR]], [[1.5]], r"saturation area 1\.5"),
        ([[PAIR[:1]]], [[1]], "shape"),
        ([[PAIR, SINGLE]], [[1]], "2 channels, 1 saturations"),
        ([[]], [[]], "no mask marks a defect pixel"),
        ([], [], "channels ends after 0 images"),
        ([[PAIR]], [], "saturations ends after 0 images"),
    ],
)
def test_unusable_channels_are_refused(channels, areas, message):
    with pytest.raises(MetricError, match=message):
        au_spro([MAP], channels, areas)
