"""The tree of grids, and blur as two matrices."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scorer_references import enlarged_and_blurred

from anomalib_lite.edge import SettingsError
from anomalib_lite.scorers.gaussian.nested_grids import NestedGrids
from anomalib_lite.scorers.smoothing import EnlargeAndBlur, enlarge_and_blur_matrix


@st.composite
def trees(draw):
    """Strides and grids of one to three levels, coarse first, from the finest grid up."""
    ratios = draw(st.lists(st.sampled_from([2, 3, 4]), max_size=2))
    grid = draw(st.tuples(st.integers(1, 11), st.integers(1, 11)))
    strides, grids = [4], [grid]
    for ratio in ratios:
        strides.insert(0, strides[0] * ratio)
        grids.insert(0, (-(-grids[0][0] // ratio), -(-grids[0][1] // ratio)))
    return NestedGrids.from_strides(strides, grids)


@settings(max_examples=60, deadline=None)
@given(tree=trees(), images=st.integers(1, 3))
def test_maps_survive_the_way_to_nodes_and_back(tree, images):
    for level, (rows, columns) in enumerate(tree.grids):
        maps = torch.rand(images, 2, rows, columns)
        nodes = tree.to_nodes(maps, level, 2)
        assert nodes.shape == (tree.nodes(level), images, 2)
        for channel in range(2):
            back = tree.from_nodes(nodes[:, :, channel], level)
            torch.testing.assert_close(back, maps[:, channel], rtol=0, atol=0)


@settings(max_examples=60, deadline=None)
@given(tree=trees())
def test_children_of_a_node_lie_in_its_cell(tree):
    for level in range(tree.levels):
        for finer in range(level + 1, tree.levels):
            rows, columns = tree.grids[level]
            number = torch.arange(rows * columns, dtype=torch.float32).reshape(1, 1, rows, columns)
            parents = tree.to_nodes(number, level, 1)
            count = tree.children(level, finer)
            copied = parents.repeat_interleave(count, dim=0)[:, :, 0]
            side = round(count**0.5)
            expected = number[0].repeat_interleave(side, 1).repeat_interleave(side, 2)
            fine = tree.grids[finer]
            torch.testing.assert_close(
                tree.from_nodes(copied, finer), expected[:, : fine[0], : fine[1]]
            )


@settings(max_examples=40, deadline=None)
@given(tree=trees(), channels=st.integers(1, 3))
def test_stacking_children_is_undone(tree, channels):
    for level in range(tree.levels):
        for finer in range(level, tree.levels):
            nodes = torch.rand(tree.nodes(finer), 2, channels)
            stacked = tree.stack_children(nodes, level, finer, channels)
            assert stacked.shape == (tree.nodes(level), 2, tree.children(level, finer) * channels)
            assert torch.equal(tree.unstack_children(stacked, level, finer, channels), nodes)


@pytest.mark.parametrize(
    ("strides", "grids"),
    [
        ([16, 12], [(4, 4), (6, 6)]),
        ([16, 8], [(5, 4), (8, 8)]),
        ([16, 8], [(4, 4), (9, 8)]),
        ([8, 16], [(8, 8), (4, 4)]),
    ],
)
def test_grids_that_do_not_nest_are_refused_with_advice(strides, grids):
    with pytest.raises(SettingsError, match="do not nest; choose an image size"):
        NestedGrids.from_strides(strides, grids)


@pytest.mark.parametrize("sigma", [0, 0.6, 1.0, 4.0, 9.5])
@pytest.mark.parametrize(
    ("grid", "size"),
    [((8, 8), (32, 32)), ((5, 9), (20, 36)), ((18, 25), (72, 100)), ((1, 3), (7, 9))],
)
def test_two_matrices_are_enlargement_and_gaussian_filter(grid, size, sigma):
    """Blurs wider than the picture too: the border is mirrored again and again, as scipy does."""
    maps = np.random.default_rng(0).random((2, *grid))
    expected = enlarged_and_blurred(maps, size, sigma)
    rows = enlarge_and_blur_matrix(grid[0], size[0], sigma).numpy()
    columns = enlarge_and_blur_matrix(grid[1], size[1], sigma).numpy()
    np.testing.assert_allclose(rows @ maps @ columns.T, expected, rtol=1e-9, atol=1e-12)
    module = EnlargeAndBlur(grid, size, sigma)(torch.from_numpy(maps).float())
    np.testing.assert_allclose(module.numpy(), expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(cells=st.integers(1, 12), pixels=st.integers(1, 40), sigma=st.floats(0, 12))
def test_a_constant_stays_constant(cells, pixels, sigma):
    matrix = enlarge_and_blur_matrix(cells, pixels, sigma)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(pixels, dtype=torch.float64))
    assert (matrix >= 0).all()


def test_a_constant_is_not_dimmed_at_the_border_of_the_region():
    roi = np.zeros((32, 32), bool)
    roi[8:20, 4:] = True
    share = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(roi)[None].float(), 8)[0]
    blur = EnlargeAndBlur((8, 8), (32, 32), 4.0, share, roi)
    found = blur(torch.where(share > 0, 2.0, 99.0)[None])[0].numpy()
    np.testing.assert_allclose(found, np.where(roi, 2.0, 0.0), rtol=1e-6)
