"""Procedural pictures: deterministic, varied, of any size."""

import numpy as np
import pytest

from anomalib_lite.data.pictures import draw_marks, procedural_picture
from anomalib_lite.data.pictures.fields import FIELDS, spread
from anomalib_lite.data.pictures.fine import PATTERNS, fine_texture
from anomalib_lite.data.pictures.made import KINDS, made_thing
from anomalib_lite.data.pictures.scenes import random_shape


@pytest.mark.parametrize("size_hw", [(64, 64), (48, 100), (16, 16)])
def test_a_picture_has_the_size_asked_for(size_hw):
    for index in range(8):
        picture = procedural_picture(np.random.default_rng(index), size_hw)
        assert picture.shape == (*size_hw, 3)
        assert picture.dtype == np.uint8


def test_the_same_generator_state_gives_the_same_picture_and_others_differ():
    first, again, other = (
        procedural_picture(np.random.default_rng(s), (64, 64)) for s in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_pictures_are_neither_black_nor_flat():
    pictures = [procedural_picture(np.random.default_rng(s), (64, 64)) for s in range(40)]
    assert sum(picture.std() > 8 for picture in pictures) >= 36


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.__name__)
def test_fields_fill_the_range(field):
    values = field(np.random.default_rng(1), (40, 56))
    assert values.shape == (40, 56)
    assert values.dtype == np.float32
    assert (float(values.min()), float(values.max())) == (0, 1)


def test_a_constant_field_is_grey():
    np.testing.assert_array_equal(spread(np.zeros((2, 2))), 0.5)


def test_marks_change_a_copy():
    picture = np.full((64, 64, 3), 128, np.uint8)
    marked = draw_marks(np.random.default_rng(0), picture)
    assert (picture == 128).all()
    assert 0 < (marked != 128).any(axis=2).mean() < 0.5


def test_shapes_are_as_large_as_asked():
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = random_shape(rng, (100, 100), largest=0.2, smallest=0.1)
        assert set(np.unique(mask)) <= {0, 255}
        assert (mask > 0).mean() < np.pi * 0.27**2


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_made_things_cover_a_part_of_the_picture_and_differ(kind):
    pictures, masks = zip(
        *(kind(np.random.default_rng(seed), (64, 80)) for seed in range(12)), strict=True
    )
    for picture, mask in zip(pictures, masks, strict=True):
        assert picture.shape == (64, 80, 3)
        assert mask.shape == (64, 80)
        assert np.isfinite(picture).all()
        assert float(mask.min()) >= 0
        assert float(mask.max()) <= 1
    shares = [float(mask.mean()) for mask in masks]
    assert sum(share > 0.02 for share in shares) >= 8
    assert len({round(share, 4) for share in shares}) > 1 or kind.__name__ == "mesh"
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_a_thing_lies_on_its_ground():
    flat = sum(
        float(np.std(made_thing(np.random.default_rng(seed), (48, 48)))) < 0.02
        for seed in range(30)
    )
    assert flat <= 6


def test_the_ridges_of_a_thread_repeat_along_the_rod():
    """Most rods have a peak away from zero in the spectrum along their length."""
    from anomalib_lite.data.pictures.made import threaded_rod

    found = 0
    for seed in range(20):
        picture, mask = threaded_rod(np.random.default_rng(seed), (128, 128))
        ys, xs = np.nonzero(mask > 0.5)
        if len(ys) < 200:
            continue
        centre = np.array([xs.mean(), ys.mean()])
        points = np.stack([xs, ys], axis=1) - centre
        way = np.linalg.svd(points[::7], full_matrices=False)[2][0]
        reach = np.arange(-40, 41)
        x, y = (centre[:, None] + way[:, None] * reach).round().astype(int)
        inside = (x >= 0) & (x < 128) & (y >= 0) & (y < 128)
        line = picture.mean(axis=2)[y[inside], x[inside]]
        spectrum = np.abs(np.fft.rfft((line - line.mean()) * np.hanning(len(line))))
        found += bool(spectrum[4:].max() > spectrum[1:4].max())
    assert found >= 5


@pytest.mark.parametrize("size_hw", [(64, 64), (40, 90)])
def test_fine_textures_are_full_of_contrast_at_a_few_pixels_and_depend_on_the_seed_alone(size_hw):
    fine = 0
    for seed in range(20):
        picture = fine_texture(np.random.default_rng(seed), size_hw)
        assert picture.shape == (*size_hw, 3)
        assert picture.dtype == np.uint8
        np.testing.assert_array_equal(picture, fine_texture(np.random.default_rng(seed), size_hw))
        grey = picture.mean(axis=2)
        spectrum = np.abs(np.fft.fft2(grey - grey.mean())) ** 2
        rows, columns = np.meshgrid(
            np.fft.fftfreq(size_hw[0]), np.fft.fftfreq(size_hw[1]), indexing="ij"
        )
        short = np.hypot(rows, columns) > 1 / 16  # waves below 16 pixels
        fine += spectrum[short].sum() > 0.3 * spectrum.sum()
    assert fine >= 14


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.__name__)
def test_patterns_repeat_and_fill_the_range(pattern):
    v, u = np.mgrid[:12, :12].astype(np.float32) / np.float32(4)
    values = pattern(np.random.default_rng(2), u, v)
    assert values.shape == (12, 12)
    assert np.ptp(values) > 0.2
    assert values.min() >= -1e-6
    assert values.max() <= 1 + 1e-6
