"""Changes of lamp, optics and pose: exact on small frames, and their effect on good scores."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evaluation_helpers import FAST, Cli

from anomalib_lite.edge.errors import FrameError
from anomalib_lite.evaluation.shift import (
    CHANGES,
    apply_change,
    defocus,
    dim_lamp,
    jpeg_50,
    rotate_1_degree,
    shift_colour,
    shift_one_pixel,
)


def test_a_dimmed_lamp_takes_a_fifth_of_every_value():
    frame = np.array([[0, 10, 255]], np.uint8)
    assert dim_lamp(frame).tolist() == [[0, 8, 204]]


def test_a_warmer_lamp_lifts_red_and_lowers_blue_and_leaves_grey_frames():
    assert shift_colour(np.full((1, 1, 3), 100, np.uint8)).tolist() == [[[110, 100, 90]]]
    assert shift_colour(np.full((1, 1, 3), 250, np.uint8))[0, 0, 0] == 255
    grey = np.full((2, 2), 100, np.uint8)
    assert shift_colour(grey) is grey


def test_a_shift_by_one_pixel_repeats_the_left_column():
    assert shift_one_pixel(np.array([[1, 2, 3]], np.uint8)).tolist() == [[1, 1, 2]]


def test_defocus_spreads_a_point_evenly_and_keeps_a_flat_frame():
    frame = np.zeros((9, 9), np.uint8)
    frame[4, 4] = 255
    blurred = defocus(frame)
    assert blurred[4, 5] == blurred[3, 4] == blurred[4, 3] == blurred[5, 4] > 0
    assert blurred[4, 4] == blurred.max()
    assert int(blurred.sum()) == pytest.approx(255, abs=8)
    flat = np.full((9, 9, 3), 77, np.uint8)
    np.testing.assert_array_equal(defocus(flat), flat)


def test_a_turn_by_one_degree_keeps_the_centre_and_moves_the_edge():
    frame = np.zeros((201, 201), np.uint8)
    frame[100, :] = 255
    turned = rotate_1_degree(frame)
    assert turned[100, 100] == 255
    assert turned[98, 200] > turned[100, 200]  # counter-clockwise: the right end goes up


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("shape", [(12, 17), (12, 17, 3)], ids=["grey", "colour"])
def test_every_change_keeps_size_and_type_and_leaves_its_input(name, shape):
    frame = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    copy = frame.copy()
    changed = apply_change(frame, CHANGES[name][1])
    assert changed.shape == shape
    assert changed.dtype == np.uint8
    np.testing.assert_array_equal(frame, copy)


def test_jpeg_keeps_the_order_of_the_colours():
    frame = np.full((16, 16, 3), (200, 60, 20), np.uint8)
    assert np.abs(jpeg_50(frame).astype(int) - frame).max() < 12


def test_an_alpha_channel_is_dropped_and_16_bit_frames_are_refused():
    assert apply_change(np.zeros((4, 4, 4), np.uint8), dim_lamp).shape == (4, 4, 3)
    with pytest.raises(FrameError, match="8-bit"):
        apply_change(np.zeros((4, 4), np.uint16), dim_lamp)


def test_the_shift_report_has_a_row_a_change_and_a_table(parts, tmp_path, cli: Cli):
    out = tmp_path / "out"
    asked = ("--data", f"mvtec:{parts}", *FAST, "--unlabelled-shift", "--detector", "mvg")
    assert cli("evaluate", *asked, "--no-pixel", "--out", out) == 0
    run = json.loads((out / "metrics.json").read_text())["runs"][0]
    shift = run["shift"]
    assert shift["images"] == "good test images"
    assert list(shift["changes"]) == list(CHANGES)
    assert shift["unchanged"]["false_reject"] == run["operating"]["false_reject"]
    for change in shift["changes"].values():
        assert change["false_reject"]["num_samples"] == 12
        assert change["median_change_in_spreads"] == pytest.approx(
            change["median_score_change"] / shift["spread"]
        )
    dim, nudge = shift["changes"]["dim"], shift["changes"]["pixel"]
    assert abs(dim["median_score_change"]) > abs(nudge["median_score_change"])
    page = (out / "metrics.md").read_text()
    assert "Good images under a shift" in page
    assert "JPEG quality 50" in page
