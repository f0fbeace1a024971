"""Simulated defects: what they may and may not change."""

import numpy as np
import pytest

from anomalib_lite.data.parts import render
from anomalib_lite.data.simulate import (
    DEFECT_KINDS,
    FAMILIES,
    HARMLESS_KINDS,
    harmless_change,
    simulate_among,
    simulate_defect,
)

SIDE = 96


@pytest.fixture(scope="module")
def frames():
    return [render("flange", seed=0, index=index, size=SIDE).image for index in range(2)]


def made(frames, kind, seed=0, inside=None):
    return simulate_defect(frames[0], frames[1], kind, np.random.default_rng(seed), inside)


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_a_defect_changes_only_its_region_and_most_are_visible(frames, kind):
    visible = 0
    for seed in range(12):
        defect = made(frames, kind, seed)
        assert defect.frame.dtype == np.uint8
        assert defect.frame.shape == frames[0].shape
        changed = (defect.frame != frames[0]).any(axis=2)
        assert not changed[defect.mask == 0].any()
        assert 0 < (defect.mask > 0).mean() < 0.5
        visible += int(np.abs(defect.frame.astype(int) - frames[0]).max() > 8)
    assert visible >= 6


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_the_same_seed_gives_the_same_defect_and_another_seed_another(frames, kind):
    one, same, other = made(frames, kind, 3), made(frames, kind, 3), made(frames, kind, 4)
    np.testing.assert_array_equal(one.frame, same.frame)
    assert (one.mask != other.mask).any()


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_nothing_changes_outside_the_region_of_interest(frames, kind):
    inside = np.zeros((SIDE, SIDE), bool)
    inside[20:60, 30:70] = True
    for seed in range(6):
        defect = made(frames, kind, seed, inside)
        np.testing.assert_array_equal(defect.frame[~inside], frames[0][~inside])
        assert defect.mask[inside].any()


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_a_grey_picture_stays_grey(frames, kind):
    grey = [np.repeat(frame[:, :, :1], 3, axis=2) for frame in frames]
    result = made(grey, kind, 5).frame.astype(int)
    assert np.abs(result - result[:, :, :1]).max() <= 1


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_a_plain_picture_can_be_given_a_defect(kind):
    plain = np.full((40, 56, 3), 255, np.uint8)
    assert simulate_defect(plain, plain, kind, np.random.default_rng(0)).frame.shape == plain.shape


def test_a_shift_moves_the_picture_by_at_most_three_pixels(frames):
    for seed in range(8):
        moved = harmless_change(frames[0], "shift", np.random.default_rng(seed))
        middle = moved[3:-3, 3:-3]
        found = [
            (middle == frames[0][row : row + SIDE - 6, column : column + SIDE - 6]).all()
            for row in range(7)
            for column in range(7)
        ]
        assert sum(found) == 1


def test_light_changes_by_at_most_five_per_cent(frames):
    grey = np.full((8, 8, 3), 128, np.uint8)
    for seed in range(8):
        lit = harmless_change(grey, "light", np.random.default_rng(seed)).astype(int)
        assert np.abs(lit - 128).max() <= 13
    assert HARMLESS_KINDS == ("shift", "light")


def test_the_size_of_a_defect_can_be_asked_for():
    plain = np.full((200, 300, 3), 128, np.uint8)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        mask = simulate_defect(plain, plain, "spot", rng, diameter_px=(20, 20)).mask
        # Outlines are wavy and stretched, areas are not far from that of the circle.
        assert 0.4 < (mask > 0).sum() / (np.pi * 10**2) < 2.5


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_the_size_that_is_drawn_by_default_is_a_share_of_the_shorter_side(frames, kind):
    side = min(frames[0].shape[:2])
    rng = np.random.default_rng(7)
    asked = simulate_defect(*frames, kind, rng, diameter_px=(0.04 * side, 0.4 * side))
    np.testing.assert_array_equal(asked.mask, made(frames, kind, 7).mask)


def test_kinds_are_named_as_the_families_are_but_for_two_that_families_lack():
    assert set(DEFECT_KINDS) - set(FAMILIES) == {"exchange", "warp"}


@pytest.mark.parametrize(("place", "turn"), [(0, 0), (1, 3), (1, 8), (0, 15)])
def test_among_frames_kinds_take_turns_and_the_next_frame_gives(frames, place, turn):
    found = simulate_among(frames, place, turn, np.random.default_rng(4))
    kind, rng = DEFECT_KINDS[turn % 8], np.random.default_rng(4)
    wanted = simulate_defect(frames[place], frames[1 - place], kind, rng)
    assert np.array_equal(found.frame, wanted.frame)
    assert np.array_equal(found.mask, wanted.mask)
