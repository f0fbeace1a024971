"""Splits that part no origin, and equal the plain ones where every image stands alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalib_lite.scorers.fusion.earned_weights import split_images
from anomalib_lite.scorers.splits import cut, folds_of, shuffled
from anomalib_lite.scorers.training.loop import held_back

origins_of_images = st.lists(st.integers(0, 9), min_size=4, max_size=60).map(np.array)


@settings(max_examples=100, deadline=None)
@given(origins=origins_of_images, folds=st.integers(2, 5), seed=st.integers(0, 5))
def test_no_fold_parts_an_origin_and_none_is_empty(origins, folds, seed):
    images = np.arange(len(origins))
    folds = min(folds, len(np.unique(origins)))
    found = folds_of(images, origins, folds, seed)
    for origin in np.unique(origins):
        assert len(set(found[origins == origin])) == 1
    assert set(found) == set(range(folds))


@settings(max_examples=100, deadline=None)
@given(origins=origins_of_images, share=st.floats(0.1, 0.5), seed=st.integers(0, 5))
def test_no_held_out_share_parts_an_origin(origins, share, seed):
    images = np.arange(len(origins))
    if len(np.unique(origins)) < 2:
        return
    for first, second in (
        split_images(images, seed, origins),
        held_back(images.tolist(), share, seed, origins),
    ):
        assert len(first) > 0
        assert len(second) > 0
        assert not set(origins[first]) & set(origins[second])
        assert not set(first) & set(second)


@given(count=st.integers(2, 40), seed=st.integers(0, 9))
def test_images_that_stand_alone_are_drawn_as_if_nothing_were_known(count, seed):
    images = np.arange(10, 10 + count)
    alone = np.arange(100)
    drawn = shuffled(images, alone, np.random.default_rng(seed))
    np.testing.assert_array_equal(drawn, np.random.default_rng(seed).permutation(images))
    assert cut(drawn, alone, count // 2) == count // 2
    plain = np.empty(count, np.int64)
    plain[np.random.default_rng(seed).permutation(count)] = np.arange(count) % 3
    np.testing.assert_array_equal(folds_of(images, alone, 3, seed), plain)
    np.testing.assert_array_equal(folds_of(images, None, 3, seed), plain)
