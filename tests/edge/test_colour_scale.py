"""The colours of heat maps: anchored at good images, whatever the scale of the scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.colour_scale import ColourScale
from anomalib_lite.edge.overlay import paint

GREY = np.full((1, 1, 3), 120, np.uint8)


def colour(value: float, scale: ColourScale) -> list[int]:
    return [int(band) for band in paint(GREY, np.array([[value]], np.float32), scale)[0, 0]]


@pytest.mark.parametrize(
    ("peaks", "threshold", "typical"),
    [
        ([0.8, 0.9, 1.0], 1.0, 0.9),
        ([0.1, 0.2, 0.3, 5.0], 0.3, 0.2),
        ([-9.0, -7.0, -6.0], -6.0, -7.0),
        ([2.0], 2.0, 2.0),
        ([2.0, 3.0], 1.0, 1.0),
    ],
)
def test_a_usual_good_image_is_the_median_of_those_that_pass(
    peaks: list[float], threshold: float, typical: float
) -> None:
    assert ColourScale.of_good(peaks, threshold) == ColourScale(threshold, typical)


@pytest.mark.parametrize(
    ("value", "painted"), [(0.0, False), (0.9, False), (0.95, False), (0.98, True), (1.0, True)]
)
def test_distances_far_from_zero_stay_plain_on_good_parts(value: float, painted: bool) -> None:
    """The maps of good parts under a memory bank lie between 0.7 and 0.95 of the threshold."""
    scale = ColourScale.of_good([0.85, 0.9, 0.95, 1.0], 1.0)
    assert (colour(value, scale) != [120, 120, 120]) == painted


def test_a_negative_threshold_paints_what_is_above_it_and_nothing_else() -> None:
    scale = ColourScale.of_good([-9.0, -8.0, -6.0], -6.0)
    assert colour(-8.0, scale) == [120, 120, 120]
    assert colour(-5.0, scale) == colour(1.5, ColourScale(1.0))


def test_good_images_that_are_all_alike_give_a_steep_scale_and_no_division_by_zero() -> None:
    scale = ColourScale.of_good([2.0, 2.0, 2.0], 2.0)
    assert colour(1.9, scale) == [120, 120, 120]
    assert colour(2.0, scale) == colour(1.0, ColourScale(1.0))
    assert colour(0.0, ColourScale.of_good([0.0, 0.0], 0.0)) == colour(1.0, ColourScale(1.0))


def test_without_a_threshold_nothing_is_painted() -> None:
    assert colour(1e9, ColourScale(np.inf)) == [120, 120, 120]


@given(
    peaks=st.lists(st.floats(-50, 50, width=32), min_size=3, max_size=60),
    scale=st.sampled_from([0.5, 2.0, 64.0]),
    shift=st.sampled_from([0.0, 128.0, -4096.0]),
)
def test_colours_do_not_depend_on_the_unit_and_origin_of_scores(
    peaks: list[float], scale: float, shift: float
) -> None:
    def painted(values: np.ndarray) -> np.ndarray:
        found = Calibration.from_scores(values, values, max_false_reject=0.2, method="holdout")
        span = found.colours.threshold - found.colours.typical
        if span < 0.02 * max(1.0, abs(found.colours.threshold)):  # the floor of the span
            return np.zeros(0)
        shown = np.linspace(found.colours.typical - span, found.colours.threshold + 3 * span, 9)
        return found.colours.levels(shown[None].astype(np.float32))

    plain, moved = painted(np.array(peaks)), painted(np.array(peaks) * scale + shift)
    if plain.size and moved.size:
        assert np.allclose(plain, moved, atol=0.02)
