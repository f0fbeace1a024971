"""Pictures: anchored colours, bounded sizes, only the highest are kept."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_builders import SPEC

from anomalib_lite.edge.colour_scale import ColourScale
from anomalib_lite.edge.overlay import COLOURS_RGB, LEVELS, OPACITIES, paint
from anomalib_lite.report.pictures import (
    SIDE_PX,
    Highest,
    encode_jpeg,
    make_picture,
    share_budget,
)


def decode(jpeg: bytes) -> np.ndarray:
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def test_a_good_map_leaves_the_frame_as_it_is() -> None:
    frame = np.full((4, 4, 3), 90, np.uint8)
    faint = np.linspace(0, 0.49, 16, dtype=np.float32).reshape(4, 4)
    assert np.array_equal(paint(frame, faint, ColourScale(1.0)), frame)


def test_the_same_map_value_has_the_same_colour_on_every_picture() -> None:
    frame = np.full((1, 2, 3), 100, np.uint8)
    calm = paint(frame, np.array([[0.0, 0.8]], np.float32), ColourScale(1.0))
    wild = paint(frame, np.array([[50.0, 0.8]], np.float32), ColourScale(1.0))
    assert np.array_equal(calm[0, 1], wild[0, 1])


def test_at_the_threshold_the_colour_is_the_one_of_the_scale() -> None:
    frame = np.zeros((1, 1, 3), np.uint8)
    painted = paint(frame, np.array([[7.5]], np.float32), ColourScale(7.5))[0, 0]
    at = LEVELS.index(1.0)
    expected = [round(channel * OPACITIES[at]) for channel in COLOURS_RGB[at]]
    assert painted.tolist() == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(
    ("shape", "size_wh"),
    [
        ((64, 48, 3), (48, 64)),
        ((2000, 1000, 3), (160, 320)),
        ((20, 4000), (320, 2)),
        ((1, 1), (1, 1)),
    ],
)
def test_pictures_are_shrunk_and_never_enlarged(
    shape: tuple[int, ...], size_wh: tuple[int, int]
) -> None:
    made = make_picture(np.zeros(shape, np.uint8), None, spec=SPEC, colours=ColourScale(1.0))
    assert (made.width, made.height) == size_wh
    assert decode(made.plain).shape == (*size_wh[::-1], 3)
    assert made.heat is None


def test_a_model_that_does_not_localise_gets_no_heat_map() -> None:
    frame = np.zeros((32, 32, 3), np.uint8)
    single = np.ones((1, 1), np.float32)
    assert make_picture(frame, single, spec=SPEC, colours=ColourScale(1.0)).heat is None


def test_the_labelled_defect_is_outlined_and_not_covered() -> None:
    frame = np.full((200, 200, 3), 128, np.uint8)
    mask = np.zeros((200, 200), np.uint8)
    mask[90:110, 90:110] = 255
    empty = np.zeros((8, 8), np.float32)
    made = make_picture(frame, empty, spec=SPEC, colours=ColourScale(1.0), mask=mask)
    assert made.heat is not None
    changed = np.abs(decode(made.heat).astype(int) - 128).max(axis=2) > 60
    assert changed.any()
    assert not changed[92:108, 92:108].any()


def test_even_noise_stays_small() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3), np.uint8)
    assert len(encode_jpeg(noise)) <= 40_000


@given(st.lists(st.integers(0, 20), max_size=40), st.integers(1, 6))
def test_the_highest_are_kept_and_of_equals_the_first(ranks: list[int], most: int) -> None:
    kept: Highest[int] = Highest(most)
    for place, rank in enumerate(ranks):
        kept.offer(rank, lambda place=place: place)
    expected = sorted(range(len(ranks)), key=lambda place: (-ranks[place], place))[:most]
    assert kept.items() == expected


def test_what_does_not_stay_is_not_made() -> None:
    kept: Highest[int] = Highest(1)
    made = []
    for rank in (5, 4, 3):
        kept.offer(rank, lambda rank=rank: made.append(rank) or rank)
    assert made == [5]


def test_a_budget_is_shared_in_turns() -> None:
    assert share_budget([[10, 10, 10], [10, 10], []], 35) == [2, 1, 0]
    assert share_budget([[10], [10]], 5) == [0, 0]
    assert share_budget([], 5) == []
    assert share_budget([[40, 1], [10, 10]], 20) == [0, 2]
