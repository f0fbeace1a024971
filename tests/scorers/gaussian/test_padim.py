"""PaDiM's nested form against the textbook form, and its exact updates."""

import numpy as np
import pytest
import torch
from scorer_references import (
    MadeStream,
    assert_same_state,
    layout_of,
    state_of,
    textbook_padim,
)

from anomalib_lite.edge import FitError, SettingsError
from anomalib_lite.scorers import CrossFit, FitContext, Forget, PartialFit, create_scorer
from anomalib_lite.system import spill

CONTEXT = FitContext(seed=3)
NETWORKS = {
    "three levels, square": ((64, 64), [("a", 5, 4), ("b", 6, 8), ("c", 7, 16)]),
    "three levels, rectangular": ((48, 80), [("a", 5, 4), ("b", 6, 8), ("c", 7, 16)]),
    "three levels, odd": ((72, 100), [("a", 4, 4), ("b", 5, 8), ("c", 6, 16)]),
    "two levels, a step of four": ((64, 96), [("a", 6, 4), ("c", 8, 16)]),
    "two levels, odd": ((44, 60), [("a", 6, 4), ("b", 8, 8)]),
    "one level": ((40, 56), [("b", 9, 8)]),
    "same stride throughout": ((48, 64), [("blocks.2", 6, 16), ("blocks.5", 7, 16)]),
    "two layers share a stride": ((64, 48), [("a", 5, 8), ("b", 4, 16), ("c", 6, 16)]),
    "deep first": ((64, 64), [("c", 7, 16), ("a", 5, 4)]),
}


def stream_of(network, images, **options):
    return MadeStream(layout_of(*NETWORKS[network]), images, **options)


def fitted(stream, **settings):
    scorer = create_scorer("padim", **{"num_features": 9, **settings})
    scorer.build(stream.layout)
    scorer.fit(stream, CONTEXT)
    return scorer


@pytest.mark.parametrize("network", NETWORKS)
def test_the_nested_form_is_the_textbook_form(network):
    train, test = stream_of(network, 12), stream_of(network, 4, seed=8)
    scorer = fitted(train)
    image, maps = textbook_padim(
        train.all_features(),
        test.all_features(),
        train.layout,
        scorer.channels_.numpy(),
        0.01,
        4.0,
    )
    scores = scorer(test.all_features())
    assert scores.map.shape == (4, *train.layout.input_hw)
    np.testing.assert_allclose(scores.map.numpy(), maps, rtol=5e-4)
    np.testing.assert_allclose(scores.image.numpy(), image, rtol=5e-4)


@pytest.mark.parametrize(
    ("settings", "images"),
    [
        ({"num_features": None}, 10),
        ({"sigma": 0}, 10),
        ({"sigma": 11.5}, 10),
        ({"regularisation": 3.0}, 10),
        ({"num_features": 1000}, 6),
        ({}, 2),
    ],
)
def test_the_nested_form_is_exact_for_any_setting(settings, images):
    network = "three levels, odd"
    train, test = stream_of(network, images), stream_of(network, 2, seed=8)
    scorer = fitted(train, **settings)
    _, maps = textbook_padim(
        train.all_features(),
        test.all_features(),
        train.layout,
        scorer.channels_.numpy(),
        settings.get("regularisation", 0.01),
        settings.get("sigma", 4.0),
    )
    found = scorer(test.all_features()).map.numpy()
    np.testing.assert_allclose(found, maps, rtol=2e-3)


def test_features_far_from_zero_keep_their_precision():
    """A large common offset is the worst case for moments; float64 sums carry it."""

    class Offset(MadeStream):
        def features(self, index):
            found = super().features(index)
            for maps in found.maps.values():
                maps += 300
            return found

    layout = layout_of(*NETWORKS["three levels, square"])
    near, far = MadeStream(layout, 12), Offset(layout, 12)
    expected = fitted(near)(MadeStream(layout, 3, seed=8).all_features()).map
    found = fitted(far)(Offset(layout, 3, seed=8).all_features()).map
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("network", ["three levels, odd", "same stride throughout"])
def test_partial_fit_equals_fitting_on_everything(network):
    scorer = fitted(stream_of(network, 15).subset(range(9)))
    scorer.partial_fit(stream_of(network, 15).subset(range(9, 15)), CONTEXT)
    assert_same_state(state_of(scorer), state_of(fitted(stream_of(network, 15))))


@pytest.mark.parametrize("network", ["three levels, odd", "same stride throughout"])
def test_forget_returns_to_the_earlier_fit(network):
    earlier = fitted(stream_of(network, 15).subset(range(9)))
    scorer = fitted(stream_of(network, 15))
    scorer.forget(stream_of(network, 15).subset(range(9, 15)), CONTEXT)
    assert_same_state(state_of(scorer), state_of(earlier))


def test_fitting_again_forgets_what_was_learnt_before():
    scorer = fitted(stream_of("one level", 9, seed=5))
    scorer.fit(stream_of("one level", 12), CONTEXT)
    expected = state_of(fitted(stream_of("one level", 12)))
    for name, value in state_of(scorer).items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("store", ["disk", "no room on the disk", "disk full midway"])
@pytest.mark.parametrize("network", ["three levels, odd", "one level"])
def test_cross_fit_equals_refitting_without_each_fold(network, store, monkeypatch):
    if store == "no room on the disk":
        monkeypatch.setattr(spill, "TEMPORARY_BYTES", 0)
    if store == "disk full midway":
        _fail_after(monkeypatch, writes=2)
    stream = stream_of(network, 13, batch=4)
    folds = np.random.default_rng(0).integers(0, 3, 13)
    scorer = create_scorer("padim", num_features=9)
    scorer.build(stream.layout)
    held_out = scorer.cross_fit(stream, folds, CONTEXT)
    assert_same_state(state_of(scorer), state_of(fitted(stream_of(network, 13))))
    assert sorted(held_out.indices.tolist()) == list(range(13))
    by_index = dict(zip(held_out.indices.tolist(), held_out.image.tolist(), strict=True))
    for fold in range(3):
        inside = np.flatnonzero(folds == fold)
        refitted = fitted(stream_of(network, 13).subset(np.flatnonzero(folds != fold)))
        expected = refitted(stream_of(network, 13).subset(inside).all_features()).image
        np.testing.assert_allclose([by_index[i] for i in inside], expected, rtol=5e-4)


def _fail_after(monkeypatch, writes):
    """The disk is full after some writes."""
    plain, done = spill._write_all, []

    def write(file, data):
        done.append(data)
        if len(done) > writes:
            raise OSError(28, "No space left on device")
        plain(file, data)

    monkeypatch.setattr(spill, "_write_all", write)


def test_cross_fit_leaves_out_images_that_cannot_be_read():
    stream = stream_of("one level", 12, missing={0, 5})
    scorer = create_scorer("padim", num_features=9)
    scorer.build(stream.layout)
    held_out = scorer.cross_fit(stream, np.arange(12) % 3, CONTEXT)
    assert sorted(held_out.indices.tolist()) == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    assert int(scorer.moments.count_) == 10


@pytest.mark.parametrize("network", ["three levels, odd", "two layers share a stride"])
def test_cells_outside_the_region_count_in_nothing(network):
    size, layers = NETWORKS[network]
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
    plain = fitted(MadeStream(layout, 12))(test.all_features())
    other = fitted(MadeStream(layout, 12))(Elsewhere(layout, 3, seed=8).all_features())
    torch.testing.assert_close(other.map, plain.map, rtol=0, atol=0)
    assert not plain.map[:, ~torch.from_numpy(roi)].any()
    assert (plain.map[:, torch.from_numpy(roi)] > 0).all()


def test_channels_follow_the_seed_and_are_sorted():
    layout = layout_of(*NETWORKS["three levels, square"])
    drawn = []
    for seed in (0, 0, 1):
        scorer = create_scorer("padim", num_features=12)
        scorer.build(layout)
        scorer.fit(MadeStream(layout, 3), FitContext(seed=seed))
        drawn.append(scorer.channels_.tolist())
    assert drawn[0] == drawn[1] == sorted(set(drawn[0]))
    assert drawn[0] != drawn[2]
    assert len(drawn[0]) == 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_features": 0}, "num_features is 0; choose 1 or more"),
        ({"num_features": -3}, "num_features is -3; choose 1 or more"),
        ({"num_features": 2.5}, "num_features is 2.5; choose 1 or more"),
        ({"num_features": "x"}, "num_features is x; choose 1 or more"),
        ({"regularisation": 0}, "regularisation is 0; choose a value above 0"),
        ({"regularisation": float("nan")}, "regularisation is nan; choose a value above 0"),
        ({"regularisation": float("inf")}, "regularisation is inf; choose a value above 0"),
        ({"sigma": -1}, "sigma is -1; choose 0 to 1000 pixels"),
        ({"sigma": float("nan")}, "sigma is nan; choose 0 to 1000 pixels"),
        ({"sigma": 1e9}, "sigma is 1000000000.0; choose 0 to 1000 pixels"),
        ({"sigma": "wide"}, "padim: "),
        ({"bogus": 1}, "padim has no setting 'bogus'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SettingsError) as caught:
        create_scorer("padim", **settings)
    assert message in str(caught.value)


def test_a_draw_that_leaves_a_level_without_channels_is_refused():
    with pytest.raises(SettingsError, match="num_features is too small"):
        fitted(stream_of("three levels, square", 5), num_features=1)


@pytest.mark.parametrize("images", [0, 1])
def test_too_few_images_are_refused(images):
    with pytest.raises(FitError, match=f"at least 2 good images, got {images}"):
        fitted(stream_of("one level", images))


def test_an_unknown_detector_lists_those_that_are_known():
    with pytest.raises(
        SettingsError, match=r"unknown detector 'nothing'; choose from .*mvg, padim"
    ):
        create_scorer("nothing")


def test_abilities_and_settings():
    scorer = create_scorer("padim", num_features=7, sigma=2.0)
    for ability in (PartialFit, Forget, CrossFit):
        assert scorer.can(ability)
    assert scorer.localises
    assert create_scorer("padim", **scorer.settings()).settings() == scorer.settings()
