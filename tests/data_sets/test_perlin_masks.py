"""DRAEM's Perlin masks against a slow reference, and what pasting may change."""

import functools
import math

import cv2
import numpy as np
import pytest

from anomalib_lite.data.simulate import (
    paste_textures,
    perlin_masks,
    perlin_noise,
    procedural_textures,
    texture_folder,
)
from anomalib_lite.data.simulate.texture_operations import OPERATIONS
from anomalib_lite.edge.errors import SettingsError, SourceError

SIDE = 48


def slow_noise(angles, size_hw):
    """Perlin noise pixel by pixel, straight from its definition."""
    rows, columns = angles.shape[0] - 1, angles.shape[1] - 1
    noise = np.empty(size_hw)
    for y in range(size_hw[0]):
        for x in range(size_hw[1]):
            v, u = y * rows / size_hw[0], x * columns / size_hw[1]
            i, j = int(v), int(u)
            corner = {}
            for a in (0, 1):
                for b in (0, 1):
                    angle = angles[i + a, j + b]
                    corner[a, b] = math.cos(angle) * (u - j - b) + math.sin(angle) * (v - i - a)
            s, t = (6 * f**5 - 15 * f**4 + 10 * f**3 for f in (v - i, u - j))
            top = corner[0, 0] + t * (corner[0, 1] - corner[0, 0])
            bottom = corner[1, 0] + t * (corner[1, 1] - corner[1, 0])
            noise[y, x] = math.sqrt(2) * (top + s * (bottom - top))
    return noise


def slow_turned(picture, degrees):
    """Turned around the centre by bilinear interpolation, pixel by pixel, zero outside."""
    height, width = picture.shape
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    padded = np.pad(picture, 1)
    turned = np.zeros_like(picture)
    for y in range(height):
        for x in range(width):
            u = cos * (x - middle_x) - sin * (y - middle_y) + middle_x
            v = sin * (x - middle_x) + cos * (y - middle_y) + middle_y
            i, j = math.floor(v), math.floor(u)
            if -1 <= i < height and -1 <= j < width:
                near = padded[i + 1 : i + 3, j + 1 : j + 3]
                turned[y, x] = (1 - (v - i), v - i) @ near @ (1 - (u - j), u - j)
    return turned


@functools.cache
def slow_masks(seed, count, side):
    """Masks by the description of the paper's code, with a random generator of its own."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(count):
        cells = 2 ** rng.integers(0, 6, 2)
        noise = slow_noise(rng.uniform(0, 2 * np.pi, cells + 1), (side, side))
        masks.append(slow_turned(noise, rng.uniform(-90, 90)) > 0.5)
    return np.array(masks)


def statistics(masks):
    """Of every mask: share of area, number of components; direction of the large ones."""
    area = masks.mean(axis=(1, 2))
    parts = np.array([cv2.connectedComponents(mask.astype(np.uint8))[0] - 1 for mask in masks])
    directions = []
    for mask in masks:
        y, x = np.nonzero(mask)
        if len(y) > 20:
            spread = np.cov(x, y)
            directions.append(0.5 * np.arctan2(2 * spread[0, 1], spread[0, 0] - spread[1, 1]))
    return area, parts, np.array(directions)


def distance(one, other):
    """Largest difference of two empirical distribution functions (Kolmogorov-Smirnov)."""
    points = np.concatenate([one, other])
    shares = [(sample[None] <= points[:, None]).mean(axis=1) for sample in (one, other)]
    return np.abs(shares[0] - shares[1]).max()


def allowed(one, other):
    """What that distance exceeds once in a thousand where both are alike."""
    return 1.95 * math.sqrt(1 / len(one) + 1 / len(other))


@pytest.mark.parametrize(("size_hw", "cells"), [((32, 32), (4, 8)), ((30, 21), (1, 32))])
def test_noise_is_that_of_the_definition(size_hw, cells):
    angles = np.random.default_rng(3).uniform(0, 2 * np.pi, (cells[0] + 1, cells[1] + 1))
    found = perlin_noise(np.random.default_rng(3), size_hw, cells)
    np.testing.assert_allclose(found, slow_noise(angles, size_hw), atol=2e-6)


def test_masks_have_area_components_and_directions_of_the_reference():
    slow = statistics(slow_masks(1, 150, SIDE))
    fast = statistics(perlin_masks(np.random.default_rng(2), 600, (SIDE, SIDE)))
    for found, expected in zip(fast, slow, strict=True):
        assert distance(found, expected) < allowed(found, expected)


def test_the_comparison_tells_another_threshold_from_this_one():
    """A check of the check: masks of noise that is cut lower are not taken for the same."""
    slow = statistics(slow_masks(1, 150, SIDE))
    rng = np.random.default_rng(2)
    lower = [perlin_noise(rng, (SIDE, SIDE), (8, 8)) > 0.3 for _ in range(300)]
    other = statistics(np.array(lower))
    assert distance(other[0], slow[0]) > allowed(other[0], slow[0])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(frames, bank):
    one, same, other = (
        paste_textures(np.random.default_rng(seed), frames, bank) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.frames, same.frames)
    assert (one.masks != other.masks).any()


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (40, SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def bank():
    return procedural_textures((SIDE, SIDE), count=6)


def test_nothing_changes_outside_a_mask_and_something_inside(frames, bank):
    made = paste_textures(np.random.default_rng(4), frames, bank)
    changed = (made.frames != made.clean).any(axis=3)
    assert not (changed & ~made.masks).any()
    np.testing.assert_array_equal(changed.any(axis=(1, 2)), made.labels)
    np.testing.assert_array_equal(made.masks.any(axis=(1, 2)), made.labels)
    assert 0.25 < made.labels.mean() < 0.6


def test_some_pictures_are_turned_and_none_where_none_shall_be(frames, bank):
    made = paste_textures(np.random.default_rng(4), frames, bank)
    turned = (made.clean != frames).any(axis=(1, 2, 3))
    assert 0.1 < turned.mean() < 0.5
    still = paste_textures(np.random.default_rng(4), frames, bank, turned=0)
    np.testing.assert_array_equal(still.clean, frames)


def test_every_picture_is_pasted_on_where_none_is_to_stay_good(frames, bank):
    made = paste_textures(np.random.default_rng(4), frames, bank, good=0)
    assert made.labels.mean() > 0.8  # a thresholded mask may be empty


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_a_texture_stays_a_picture_and_is_changed(operation, bank):
    given = bank.texture(1).copy()
    made = [operation(np.random.default_rng(seed), given) for seed in range(8)]
    assert all(one.dtype == np.uint8 and one.shape == given.shape for one in made)
    assert any((one != given).any() for one in made)
    np.testing.assert_array_equal(given, bank.texture(1))


def test_inverting_posterising_and_stretching_do_what_they_say():
    named = {operation.__name__: operation for operation in OPERATIONS}
    ramp = np.repeat(np.arange(100, 151, dtype=np.uint8)[None, :, None], 3, axis=2)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(named["invert"](rng, ramp), 255 - ramp)
    stretched = named["autocontrast"](rng, ramp)
    assert (stretched.min(), stretched.max()) == (0, 255)
    assert (np.diff(named["equalise"](rng, ramp)[0, :, 0].astype(int)) > 0).all()
    assert len(np.unique(named["posterise"](np.random.default_rng(1), ramp))) < 51


def test_textures_of_a_folder_are_resized_and_unreadable_ones_passed_over(tmp_path):
    for name, level in (("a.png", 10), ("b.png", 200)):
        cv2.imwrite(str(tmp_path / name), np.full((9, 5), level, np.uint8))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    bank = texture_folder(tmp_path, (12, 16))
    assert bank.count == 3
    assert sorted({int(bank.texture(index).max()) for index in range(3)}) == [10, 200]
    assert bank.texture(0).shape == (12, 16, 3)


def test_a_texture_folder_without_pictures_is_one_clear_line(tmp_path):
    with pytest.raises(SourceError, match="holds no image"):
        texture_folder(tmp_path, (8, 8))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(SourceError, match="none of its 1 pictures can be read"):
        texture_folder(tmp_path, (8, 8))


def test_frames_of_another_kind_are_refused(bank):
    with pytest.raises(SettingsError, match="give uint8"):
        paste_textures(np.random.default_rng(0), np.zeros((2, 8, 8), np.uint8), bank)
