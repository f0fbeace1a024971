"""The compact form of PaDiM against a plain reference, its updates, and what it takes."""

import numpy as np
import pytest
import torch
from scorer_references import MadeStream, _concatenated, enlarged_and_blurred, layout_of

from anomalib_lite.edge import FitError, SettingsError
from anomalib_lite.scorers import FitContext, create_scorer
from anomalib_lite.scorers.gaussian.compact_grids import pack_triangles, unpack_triangles

CONTEXT = FitContext(seed=3)
NETWORKS = {
    "three levels": ((64, 64), [("a", 5, 4), ("b", 6, 8), ("c", 7, 16)]),
    "three levels, odd": ((72, 100), [("a", 4, 4), ("b", 5, 8), ("c", 6, 16)]),
    "a step of four": ((64, 96), [("a", 6, 4), ("c", 8, 16)]),
    "one level": ((40, 56), [("b", 9, 8)]),
    "two layers share a stride": ((64, 48), [("a", 5, 8), ("b", 4, 16), ("c", 6, 16)]),
}


def fitted(stream, compact=1, context=CONTEXT, **settings):
    scorer = create_scorer("padim", **{"num_features": 9, "compact": compact, **settings})
    scorer.build(stream.layout)
    scorer.fit(stream, context)
    return scorer


def plain(train, test, layout, channels, compact, weights=None):
    """Cell by cell, float64, without rounding: one conditional Gaussian per layer and square."""
    finest = min(layout.layers, key=lambda layer: layer.stride)
    strides = sorted({layer.stride for layer in layout.layers}, reverse=True)
    block = compact * strides[0]
    group = block // 2 if compact > 1 else strides[min(1, len(strides) - 1)]
    of_channel = np.concatenate([[layer.stride] * layer.channels for layer in layout.layers])
    order = np.concatenate([channels[of_channel[channels] == stride] for stride in strides])
    ends = np.cumsum([(of_channel[channels] == stride).sum() for stride in strides])
    good = _concatenated(train, layout, finest)[:, order]
    new = _concatenated(test, layout, finest)[:, order]
    weights = np.ones(len(good)) if weights is None else weights
    mean = np.average(good, axis=0, weights=weights)
    good, new = (good - mean) * np.sqrt(weights)[:, None, None, None], new - mean
    squared = np.zeros((len(new), *finest.grid_hw))
    for level, end in enumerate(ends):
        start = ends[level - 1] if level else 0
        side = (group if level else block) // finest.stride
        for row in range(0, finest.grid_hw[0], side):
            for column in range(0, finest.grid_hw[1], side):
                cut = (..., slice(row, row + side), slice(column, column + side))
                sample = np.moveaxis(good[:, :end][cut], 1, -1)
                cells = sample.shape[1] * sample.shape[2]
                rows = sample.reshape(-1, end)
                joint = rows.T @ rows / ((weights.sum() - 1) * cells) + 0.01 * np.eye(end)
                slope = np.linalg.solve(joint[:start, :start], joint[:start, start:])
                own = joint[start:, start:] - joint[start:, :start] @ slope
                fresh = np.moveaxis(new[:, :end][cut], 1, -1)
                left = fresh[..., start:] - fresh[..., :start] @ slope
                squared[cut] += np.einsum("...i,ij,...j", left, np.linalg.inv(own), left)
    return enlarged_and_blurred(np.sqrt(squared), layout.input_hw, 4.0)


@pytest.mark.parametrize("compact", [1, 2, 4])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_compact_form_is_one_conditional_gaussian_per_layer_and_square(network, compact):
    layout = layout_of(*NETWORKS[network])
    train, test = MadeStream(layout, 12), MadeStream(layout, 3, seed=8)
    scorer = fitted(train, compact)
    expected = plain(
        train.all_features(), test.all_features(), layout, scorer.channels_.numpy(), compact
    )
    scores = scorer(test.all_features())
    np.testing.assert_allclose(scores.map.numpy(), expected, rtol=1e-2)
    np.testing.assert_allclose(scores.image.numpy(), expected.max(axis=(1, 2)), rtol=1e-2)


def test_weights_count_in_mean_and_covariance():
    layout = layout_of(*NETWORKS["three levels"])
    weights = np.array([1, 1, 0.5, 1, 0, 1, 1, 0.25, 1, 1], np.float64)
    train = MadeStream(layout, 10, sample_weight=weights)
    test = MadeStream(layout, 2, seed=8)
    scorer = fitted(train, 1, FitContext(seed=3))
    expected = plain(
        train.all_features(), test.all_features(), layout, scorer.channels_.numpy(), 1, weights
    )
    np.testing.assert_allclose(scorer(test.all_features()).map.numpy(), expected, rtol=1e-2)


def same_moments(one, other):
    for name, value in one.moments.named_buffers():
        torch.testing.assert_close(
            value, other.moments.get_buffer(name), rtol=1e-9, atol=1e-9, check_dtype=False
        )


@pytest.mark.parametrize("network", ["three levels, odd", "one level"])
def test_learning_on_and_forgetting_are_exact(network):
    layout = layout_of(*NETWORKS[network])
    earlier, whole = (fitted(MadeStream(layout, 15).subset(range(n))) for n in (9, 15))
    scorer = fitted(MadeStream(layout, 15).subset(range(9)))
    later = MadeStream(layout, 15).subset(range(9, 15))
    scorer.partial_fit(later, CONTEXT)
    same_moments(scorer, whole)
    scorer.forget(later, CONTEXT)
    same_moments(scorer, earlier)
    test = MadeStream(layout, 3, seed=8).all_features()
    torch.testing.assert_close(scorer(test).map, earlier(test).map, rtol=1e-2, atol=0)


def test_cross_fit_equals_refitting_without_each_fold():
    layout = layout_of(*NETWORKS["three levels, odd"])
    stream, folds = MadeStream(layout, 13, batch=4), np.arange(13) % 3
    scorer = create_scorer("padim", num_features=9, compact=1)
    scorer.build(layout)
    held_out = scorer.cross_fit(stream, folds, CONTEXT)
    same_moments(scorer, fitted(MadeStream(layout, 13)))
    found = dict(zip(held_out.indices.tolist(), held_out.image.tolist(), strict=True))
    for fold in range(3):
        inside = np.flatnonzero(folds == fold)
        refitted = fitted(stream.subset(np.flatnonzero(folds != fold)))
        expected = refitted(stream.subset(inside).all_features()).image.numpy()
        np.testing.assert_allclose([found[i] for i in inside], expected, rtol=1e-2)


def test_cells_outside_the_region_count_in_nothing():
    size, layers = NETWORKS["three levels, odd"]
    roi = np.zeros(size, bool)
    roi[size[0] // 2 :, : size[1] // 3] = True
    layout = layout_of(size, layers, roi)

    class Elsewhere(MadeStream):
        """The same features inside; anything outside."""

        def features(self, index):
            found = super().features(index)
            for layer in layout.layers:
                outside = layout.cell_share(layer.grid_hw) == 0
                found.maps[layer.name][:, :, outside] += 50 + index
            return found

    test = MadeStream(layout, 3, seed=8)
    plain_map = fitted(MadeStream(layout, 12))(test.all_features()).map
    other = fitted(Elsewhere(layout, 12))(Elsewhere(layout, 3, seed=8).all_features()).map
    torch.testing.assert_close(other, plain_map, rtol=1e-2, atol=1e-2)
    assert not plain_map[:, ~torch.from_numpy(roi)].any()


def test_a_layer_that_does_not_vary_is_no_trouble():
    class Still(MadeStream):
        def features(self, index):
            found = super().features(index)
            found.maps["c"] = torch.ones_like(found.maps["c"])
            return found

    layout = layout_of(*NETWORKS["three levels"])
    assert torch.isfinite(fitted(Still(layout, 6))(Still(layout, 2).all_features()).map).all()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_triangles_come_back_from_their_pack(count):
    lower = torch.randn(count, 4, 4, generator=torch.Generator().manual_seed(0)).tril()
    packed = pack_triangles(lower)
    assert packed.shape == ((count + 1) // 2, 4, 5)
    assert torch.equal(unpack_triangles(packed, count), lower.transpose(1, 2))


@pytest.mark.parametrize("compact", [0, 3, -1, 1.0, True, "x", 4096])
def test_a_block_that_is_no_power_of_two_is_refused(compact):
    with pytest.raises(SettingsError, match=r"compact is .*; choose 1, 2, 4, 8, ... 1024"):
        create_scorer("padim", compact=compact)


def test_what_half_precision_cannot_hold_is_refused():
    layout = layout_of(*NETWORKS["one level"])

    class Still(MadeStream):
        def features(self, index):
            return super().features(0)

    with pytest.raises(FitError, match="beyond half precision; raise regularisation"):
        fitted(Still(layout, 5), regularisation=1e-12)


def test_wide_networks_take_tens_of_megabytes():
    """WideResNet-50 at 256 px with the paper's 550 channels; the exact form takes gigabytes."""
    layers = [("layer1", 256, 4), ("layer2", 512, 8), ("layer3", 1024, 16)]
    layout = layout_of((256, 256), layers)
    taken = {}
    for compact in (None, 8):
        scorer = create_scorer("padim", num_features=550, compact=compact)
        scorer.build(layout)
        taken[compact] = scorer.memory_bytes()
    assert taken[8] < 150e6 < 5e9 < taken[None]
    scorer.fit(MadeStream(layout, 2, batch=1), CONTEXT)
    held = {name: value.nbytes for name, value in scorer.state_dict().items()}
    assert sum(held.values()) < 60e6
    learnt = {name: size for name, size in held.items() if not name.startswith("moments.")}
    assert sum(learnt.values()) < 8e6
