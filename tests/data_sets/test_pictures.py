"""Procedural pictures: deterministic, varied, of any size."""

import numpy as np
import pytest

from anomalib_lite.data.pictures import draw_marks, procedural_picture
from anomalib_lite.data.pictures.fields import FIELDS, spread
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
