"""Covariances drawn towards a shared one: against the textbook form, chosen without labels."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from scorer_references import (
    MadeStream,
    assert_same_state,
    layout_of,
    state_of,
    textbook_distances,
    textbook_gaussians,
    textbook_padim,
)

from anomalib_lite.edge import FitError, SettingsError
from anomalib_lite.scorers import FitContext, create_scorer
from anomalib_lite.scorers.gaussian import shrinkage as shrinking
from anomalib_lite.scorers.gaussian.shrinkage import CANDIDATES, ShrinkageSearch
from anomalib_lite.system import spill

CONTEXT = FitContext(seed=3)
NETWORKS = {
    "three levels, square": ((64, 64), [("a", 5, 4), ("b", 6, 8), ("c", 7, 16)]),
    "three levels, odd": ((72, 100), [("a", 4, 4), ("b", 5, 8), ("c", 6, 16)]),
    "two levels, a step of four": ((64, 96), [("a", 6, 4), ("c", 8, 16)]),
    "one level": ((40, 56), [("b", 9, 8)]),
    "two layers share a stride": ((64, 48), [("a", 5, 8), ("b", 4, 16), ("c", 6, 16)]),
}
ODD = "three levels, odd"


class Uneven(MadeStream):
    """Places differ in how much they vary, and in which direction."""

    strength = 4.0

    def features(self, index):
        found = super().features(index)
        for layer in self.layout.layers:
            width = layer.grid_hw[1]
            ramp = torch.linspace(1, self.strength, width)[None, None, None]
            maps = found.maps[layer.name]
            found.maps[layer.name] = ramp * maps + (ramp - 1) * maps.roll(1, 1)
        return found

    def subset(self, indices):
        narrow = super().subset(indices)
        narrow.__class__ = type(self)
        return narrow


def layout_for(network, part=False):
    size, layers = NETWORKS[network]
    roi = None
    if part:
        roi = np.zeros(size, bool)
        roi[size[0] // 3 :, : size[1] // 2] = True
    return layout_of(size, layers, roi)


def fitted(stream, **settings):
    scorer = create_scorer("padim", **{"num_features": 9, **settings})
    scorer.build(stream.layout)
    scorer.fit(stream, CONTEXT)
    return scorer


@pytest.mark.parametrize("part", [False, True], ids=["all", "region"])
@pytest.mark.parametrize("amount", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("network", NETWORKS)
def test_any_shrinkage_is_the_textbook_form(network, amount, part):
    layout = layout_for(network, part)
    train, test = Uneven(layout, 12), Uneven(layout, 3, seed=8)
    scorer, new = fitted(train, shrinkage=amount), test.all_features()
    expected = textbook_distances(
        train.all_features(), new, layout, scorer.channels_.numpy(), 0.01, amount
    )
    found = scorer.distances(scorer._nodes(new)).numpy()
    counted = layout.cell_share(expected.shape[1:]).numpy() > 0
    np.testing.assert_allclose(found[:, counted], expected[:, counted], rtol=2e-3)


@pytest.mark.parametrize("amount", [0.3, 1.0])
def test_the_map_is_the_textbook_one(amount):
    train, test = Uneven(layout_for(ODD), 12), Uneven(layout_for(ODD), 2, seed=8)
    scorer = fitted(train, shrinkage=amount)
    channels, new = scorer.channels_.numpy(), test.all_features()
    image, maps = textbook_padim(
        train.all_features(), new, train.layout, channels, 0.01, 4.0, amount
    )
    scores = scorer(new)
    np.testing.assert_allclose(scores.map.numpy(), maps, rtol=2e-3)
    np.testing.assert_allclose(scores.image.numpy(), image, rtol=2e-3)


@pytest.mark.parametrize("amount", [0.5, 1.0])
def test_without_shrinkage_the_scores_differ(amount):
    stream = Uneven(layout_for(ODD), 12)
    paper, drawn = fitted(stream), fitted(stream, shrinkage=amount)
    test = Uneven(layout_for(ODD), 3, seed=8).all_features()
    assert float((paper(test).image / drawn(test).image - 1).abs().min()) > 0.05


def test_zero_and_none_are_the_paper_to_the_bit():
    stream = Uneven(layout_for(ODD), 12)
    expected = state_of(fitted(stream))
    for amount in (0, 0.0):
        found = state_of(fitted(stream, shrinkage=amount))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("amount", [0.3, 1.0, "auto"])
def test_partial_fit_and_forget_are_exact(amount):
    everything = Uneven(layout_for(ODD), 15)
    first, rest = everything.subset(range(9)), everything.subset(range(9, 15))
    scorer = fitted(first, shrinkage=amount)
    before = state_of(scorer)
    kept = float(scorer.shrinkage_) if amount == "auto" else amount
    scorer.partial_fit(rest, CONTEXT)
    grown = state_of(scorer)
    scorer.forget(rest, CONTEXT)
    assert_same_state(state_of(scorer), before)
    if amount == "auto":
        assert float(grown.pop("shrinkage_")) == kept
    if amount != "auto" or kept < 1:
        assert_same_state(grown, state_of(fitted(everything, shrinkage=kept)))


@pytest.mark.parametrize("store", ["disk", "no room on the disk"])
@pytest.mark.parametrize("amount", [0.3, 1.0])
def test_cross_fit_equals_refitting_without_each_fold(amount, store, monkeypatch):
    if store == "no room on the disk":
        monkeypatch.setattr(spill, "TEMPORARY_BYTES", 0)
    stream = Uneven(layout_for(ODD), 13, batch=4)
    folds = np.random.default_rng(0).integers(0, 3, 13)
    scorer = create_scorer("padim", num_features=9, shrinkage=amount)
    scorer.build(stream.layout)
    held_out = scorer.cross_fit(stream, folds, CONTEXT)
    assert_same_state(state_of(scorer), state_of(fitted(stream, shrinkage=amount)))
    by_index = dict(zip(held_out.indices.tolist(), held_out.image.tolist(), strict=True))
    for fold in range(3):
        inside = np.flatnonzero(folds == fold)
        refitted = fitted(stream.subset(np.flatnonzero(folds != fold)), shrinkage=amount)
        expected = refitted(stream.subset(inside).all_features()).image
        np.testing.assert_allclose([by_index[i] for i in inside], expected, rtol=5e-4)


@pytest.mark.parametrize("amount", [0.5, 1.0, "auto"])
def test_an_image_of_weight_two_halves_counts_as_one(amount):
    layout = layout_for("three levels, square")
    weights = np.ones(12)
    weights[[2, 7]] = 0.0
    weighted = fitted(Uneven(layout, 12, sample_weight=weights), shrinkage=amount)
    plain = Uneven(layout, 12).subset([i for i in range(12) if i not in (2, 7)])
    expected, found = state_of(fitted(plain, shrinkage=amount)), state_of(weighted)
    expected["moments.count_"] = expected["moments.count_"].double()
    assert_same_state(found, expected)


def test_the_held_out_likelihood_is_the_textbook_one():
    """Log-densities of one fold, cell by cell, from scipy."""
    layout = layout_for(ODD, part=True)
    stream = Uneven(layout, 14)
    others, inside = stream.subset(range(10)), stream.subset(range(10, 14))
    scorer = fitted(others)
    search = ShrinkageSearch(scorer.grids, scorer._active, 0.01)
    search.begin_fold(scorer.moments)
    weights = torch.tensor([1.0, 0.5, 0.25, 1.0]).double()
    search.add(scorer._nodes(inside.all_features()), weights)
    channels = scorer.channels_.numpy()
    # The features that are to be judged, cell by cell: means of a fit on that image alone.
    images = [
        textbook_gaussians(inside.subset([i, i]).all_features(), layout, channels, 1)[0]
        for i in range(10, 14)
    ]
    counted = layout.cell_share(images[0].shape[:2]).numpy() > 0
    for amount, found in search.means.items():
        means, covariances = textbook_gaussians(
            others.all_features(), layout, channels, 0.01, amount
        )
        by_image = [
            np.mean(
                [
                    multivariate_normal(means[r, c], covariances[r, c]).logpdf(image[r, c])
                    for r, c in np.argwhere(counted)
                ]
            )
            for image in images
        ]
        assert found == pytest.approx(np.average(by_image, weights=weights), rel=1e-3)
    assert tuple(search.means) == CANDIDATES


def test_a_sample_of_places_is_judged_by_the_same_gaussians(monkeypatch):
    stream = Uneven(layout_for(ODD), 14)
    scorer = fitted(stream)
    nodes = scorer._nodes(Uneven(layout_for(ODD), 3, seed=8).all_features())
    found = []
    for most in (1000, 9):
        monkeypatch.setattr(shrinking, "_LARGEST_SAMPLE", most)
        search = ShrinkageSearch(scorer.grids, scorer._active, 0.01)
        search.begin_fold(scorer.moments)
        search.add(nodes, None)
        found.append(search.means)
        assert len(search._roots) == min(most, scorer.grids.nodes(0))
    for amount, everywhere in found[0].items():
        assert found[1][amount] == pytest.approx(everywhere, rel=0.2)
        assert found[1][amount] != everywhere


@pytest.mark.parametrize(
    ("images", "strength", "least", "most"),
    [
        (6, 1.0, 0.9, 1.0),  # places that vary alike, few images: one covariance
        (150, 6.0, 0.0, 0.3),  # places that differ, many images: each its own
    ],
)
def test_auto_shares_as_far_as_places_are_alike(images, strength, least, most):
    class Places(Uneven):
        pass

    Places.strength = strength
    scorer = fitted(Places(layout_for("three levels, square"), images), shrinkage="auto")
    assert least <= float(scorer.shrinkage_) <= most + 1e-6


@pytest.mark.parametrize("images", [2, 3])
def test_auto_takes_the_shared_covariance_of_very_few_images(images):
    stream = Uneven(layout_for("one level"), images)
    scorer = fitted(stream, shrinkage="auto")
    assert float(scorer.shrinkage_) == 1
    assert scorer.whitening0_.shape == (9, 9)


def test_auto_is_the_fixed_amount_that_it_has_chosen():
    stream = Uneven(layout_for(ODD), 12)
    auto = fitted(stream, shrinkage="auto")
    fixed = fitted(stream, shrinkage=round(float(auto.shrinkage_), 4))
    test = Uneven(layout_for(ODD), 3, seed=8).all_features()
    torch.testing.assert_close(auto(test).map, fixed(test).map, rtol=1e-4, atol=1e-4)


def test_what_auto_has_chosen_is_part_of_the_state():
    stream = Uneven(layout_for(ODD), 12)
    scorer = fitted(stream, shrinkage="auto")
    loaded = create_scorer("padim", **scorer.settings())
    loaded.build(stream.layout)
    loaded.load_tensors(scorer.state_dict())
    assert float(loaded.shrinkage_) == float(scorer.shrinkage_) > 0
    test = Uneven(layout_for(ODD), 3, seed=8).all_features()
    assert torch.equal(loaded(test).map, scorer(test).map)


def test_one_covariance_for_all_is_a_small_state():
    stream = Uneven(layout_for("three levels, square"), 12)
    sizes = {}
    for amount in (None, 1.0):
        state = state_of(fitted(stream, shrinkage=amount, num_features=18))
        sizes[amount] = {name: value.numel() for name, value in state.items()}
    assert sum(sizes[None].values()) > 10 * sum(sizes[1.0].values())
    assert sizes[1.0]["whitening0_"] == 7 * 18
    assert sizes[1.0]["whitening1_"] == 6 * 11
    assert sizes[1.0]["whitening2_"] == 5 * 5


@pytest.mark.parametrize("amount", [1.0, "auto"])
@pytest.mark.parametrize("images", [0, 1])
def test_too_few_images_are_refused(images, amount):
    with pytest.raises(FitError, match=f"at least 2 good images, got {images}"):
        fitted(Uneven(layout_for("one level"), images), shrinkage=amount)


def test_a_draw_that_leaves_a_level_without_channels_is_refused():
    with pytest.raises(SettingsError, match="num_features is too small"):
        fitted(Uneven(layout_for(ODD), 5), num_features=1, shrinkage=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shrinkage": -0.1}, "shrinkage is -0.1; choose a number from 0 to 1, or auto"),
        ({"shrinkage": 1.5}, "shrinkage is 1.5; choose a number from 0 to 1, or auto"),
        ({"shrinkage": float("nan")}, "shrinkage is nan; choose a number from 0 to 1, or auto"),
        ({"shrinkage": "some"}, "shrinkage is 'some'; choose a number from 0 to 1, or auto"),
        ({"shrinkage": True}, "shrinkage is True; choose a number from 0 to 1, or auto"),
        (
            {"shrinkage": 0.5, "compact": 1},
            "shrinkage is 0.5 and compact is 1: both share covariances; choose one",
        ),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SettingsError) as caught:
        create_scorer("padim", **settings)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("given", "kept"), [(1, 1.0), (0.25, 0.25), ("auto", "auto"), (None, None)]
)
def test_settings_are_kept_as_plain_values(given, kept):
    settings = create_scorer("padim", shrinkage=given).settings()
    assert settings["shrinkage"] == kept
    assert type(settings["shrinkage"]) is type(kept)
    assert create_scorer("padim", **settings).settings() == settings


@pytest.mark.parametrize("store", ["disk", "no room on the disk"])
def test_calibration_and_fit_choose_alike_from_the_same_folds(store, monkeypatch):
    if store == "no room on the disk":
        monkeypatch.setattr(spill, "TEMPORARY_BYTES", 0)
    stream = Uneven(layout_for(ODD), 14)
    scorer = create_scorer("padim", num_features=9, shrinkage="auto")
    scorer.build(stream.layout)
    folds = np.arange(14) % 5
    held_out = scorer.cross_fit(stream, folds, CONTEXT)
    assert_same_state(state_of(scorer), state_of(fitted(stream, shrinkage="auto")))
    others = fitted(
        stream.subset(np.flatnonzero(folds != 2)), shrinkage=round(float(scorer.shrinkage_), 4)
    )
    inside = np.isin(held_out.indices, np.flatnonzero(folds == 2))
    expected = others(stream.subset(held_out.indices[inside]).all_features()).image
    np.testing.assert_allclose(held_out.image[inside], expected, rtol=5e-4)
