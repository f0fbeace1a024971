"""Verdict and regions of one frame."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from anomalib_lite.edge import Calibration, FrameError, InputSpec
from anomalib_lite.edge.prediction import find_regions, make_prediction

CALIBRATION = Calibration.from_scores(
    [1, 2, 3], [1, 2, 3], max_false_reject=0.25, method="held out"
)


def predict(score, network_map, frame_hw=(32, 32)):
    return make_prediction(
        score,
        np.asarray(network_map, np.float32),
        frame_hw,
        calibration=CALIBRATION,
        spec=InputSpec(16, 16),
    )


def boxes(network_map, threshold, frame_hw):
    found = find_regions(np.asarray(network_map, np.float32), threshold, frame_hw)
    return [(r.x, r.y, r.width, r.height, r.area, r.peak) for r in found]


@pytest.mark.parametrize(
    ("network_map", "frame_hw", "expected"),
    [
        ([[0, 0], [0, 0]], (4, 4), []),
        ([[1, 1], [1, 1]], (4, 4), []),  # at the threshold is not above it
        ([[2, 0], [0, 0]], (4, 4), [(0, 0, 2, 2, 4.0, 2.0)]),
        ([[0, 0], [0, 3]], (4, 8), [(4, 2, 4, 2, 8.0, 3.0)]),
        ([[2, 0], [0, 3]], (2, 2), [(0, 0, 2, 2, 2.0, 3.0)]),  # touching corners are one region
        ([[2, 0, 5]], (1, 3), [(2, 0, 1, 1, 1.0, 5.0), (0, 0, 1, 1, 1.0, 2.0)]),
        ([[2, 2, 2]], (1, 3), [(0, 0, 3, 1, 3.0, 2.0)]),
        ([[0, 2, 0]], (3, 5), [(1, 0, 3, 3, 5.0, 2.0)]),
        ([[9]], (4, 4), []),  # one cell says nothing about the place
    ],
)
def test_regions_are_boxes_in_frame_pixels_largest_peak_first(network_map, frame_hw, expected):
    assert boxes(network_map, 1, frame_hw) == expected


@settings(max_examples=60, deadline=None)
@given(
    network_map=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.sampled_from([0.0, 1.0, 2.0, 3.0]),
    ),
    frame_hw=st.tuples(st.integers(1, 50), st.integers(1, 50)),
)
def test_regions_lie_in_the_frame_and_share_out_the_whole_area(network_map, frame_hw):
    found = find_regions(network_map, 1.5, frame_hw)
    rows, columns = network_map.shape
    for region in found:
        assert 0 <= region.x < region.x + region.width <= frame_hw[1]
        assert 0 <= region.y < region.y + region.height <= frame_hw[0]
        assert region.peak > 1.5
    assert [r.peak for r in found] == sorted((r.peak for r in found), reverse=True)
    if (rows, columns) != (1, 1):
        share = (network_map > 1.5).mean() * frame_hw[0] * frame_hw[1]
        assert sum(region.area for region in found) == pytest.approx(share)


@pytest.mark.parametrize(
    ("score", "p_value", "anomalous"), [(0, 1.0, False), (3, 0.5, False), (3.001, 0.25, True)]
)
def test_the_verdict_is_above_the_threshold_not_at_it(score, p_value, anomalous):
    found = predict(score, [[score]])
    assert (found.p_value, found.is_anomalous) == (p_value, anomalous)


def test_a_prediction_as_plain_json():
    found = predict(4.0, [[4.0, 0.0], [0.0, 0.0]])
    assert found.to_dict() == {
        "score": 4.0,
        "p_value": 0.25,
        "is_anomalous": True,
        "regions": [{"x": 0, "y": 0, "width": 16, "height": 16, "area": 256.0, "peak": 4.0}],
    }
    assert found.anomaly_map.shape == (32, 32)


@pytest.mark.parametrize(
    ("score", "cell"), [(np.nan, 1), (np.inf, 1), (1, np.nan), (1, np.inf), (1, -np.inf)]
)
def test_outputs_that_are_not_finite_are_an_error_of_the_frame(score, cell):
    with pytest.raises(FrameError, match="NaN or infinite"):
        predict(score, [[cell, 0]])
