"""MVG against a plain reference, and its exact updates."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from scorer_references import MadeStream, assert_same_state, layout_of, state_of
from sklearn.covariance import ledoit_wolf

from anomalib_lite.edge import FitError, SettingsError
from anomalib_lite.scorers import (
    CrossFit,
    FitContext,
    Forget,
    PartialFit,
    ReferenceQuantile,
    create_scorer,
)

CONTEXT = FitContext(seed=0)
LAYERS = [("a", 6, 4), ("b", 9, 8), ("c", 4, 16)]
ROI = np.zeros((40, 56), bool)
ROI[9:30, 5:37] = True


def built(roi=None, **settings):
    scorer = create_scorer("mvg", **settings)
    scorer.build(layout_of((40, 56), LAYERS, roi))
    return scorer


def fitted(stream, **settings):
    scorer = built(stream.layout.roi, **settings)
    scorer.fit(stream, CONTEXT)
    return scorer


def stream_of(images, seed=0, roi=None, **options):
    return MadeStream(layout_of((40, 56), LAYERS, roi), images, seed=seed, **options)


def pooled(stream):
    """Mean over the cells, weighted by their share inside the region: one array per layer."""
    features = stream.all_features()
    result = []
    for layer in stream.layout.layers:
        share = stream.layout.cell_share(layer.grid_hw).double().numpy()
        maps = features.maps[layer.name].double().numpy()
        result.append((maps * share).sum(axis=(2, 3)) / share.sum())
    return result


def reference(train, test):
    """Sum over layers of the square-rooted Mahalanobis distance, (N,)."""
    total = 0
    for good, new in zip(pooled(train), pooled(test), strict=True):
        precision = np.linalg.inv(ledoit_wolf(good)[0])
        centred = new - good.mean(axis=0)
        total = total + np.sqrt(np.einsum("ni,ij,nj->n", centred, precision, centred))
    return total


@pytest.mark.parametrize("roi", [None, ROI], ids=["whole frame", "region"])
@pytest.mark.parametrize("images", [3, 7, 40])
def test_scores_are_the_sum_of_square_rooted_distances(roi, images):
    train, test = stream_of(images, roi=roi), stream_of(6, seed=9, roi=roi)
    scores = fitted(train)(test.all_features())
    np.testing.assert_allclose(scores.image.numpy(), reference(train, test), rtol=2e-4)
    assert scores.map.shape == (6, 1, 1)
    torch.testing.assert_close(scores.map[:, 0, 0], scores.image)


def test_partial_fit_equals_fitting_on_everything():
    scorer = fitted(stream_of(20).subset(range(12)))
    scorer.partial_fit(stream_of(20).subset(range(12, 20)), CONTEXT)
    assert_same_state(state_of(scorer), state_of(fitted(stream_of(20))))


def test_forget_returns_to_the_earlier_fit():
    earlier = fitted(stream_of(20).subset(range(12)))
    scorer = fitted(stream_of(20))
    scorer.forget(stream_of(20).subset(range(12, 20)), CONTEXT)
    assert_same_state(state_of(scorer), state_of(earlier))


def test_forgetting_a_stranger_is_refused():
    scorer = fitted(stream_of(10))
    with pytest.raises(FitError, match="not among those that were fitted"):
        scorer.forget(stream_of(1, seed=5), CONTEXT)


def test_cross_fit_equals_refitting_without_each_fold():
    stream = stream_of(17, batch=4)
    folds = np.arange(17) % 4
    scorer = built()
    held_out = scorer.cross_fit(stream, folds, CONTEXT)
    assert stream.passes == 1
    assert_same_state(state_of(scorer), state_of(fitted(stream_of(17))))
    by_index = dict(zip(held_out.indices.tolist(), held_out.image.tolist(), strict=True))
    assert sorted(by_index) == list(range(17))
    for fold in range(4):
        inside = np.flatnonzero(folds == fold)
        refitted = fitted(stream_of(17).subset(np.flatnonzero(folds != fold)))
        expected = refitted(stream_of(17).subset(inside).all_features()).image
        np.testing.assert_allclose([by_index[i] for i in inside], expected, rtol=1e-4)


def test_parts_add_up_and_have_a_chi_quantile_each():
    scorer = fitted(stream_of(30))
    features = stream_of(4, seed=3).all_features()
    parts = scorer.parts(features)
    torch.testing.assert_close(sum(parts.values()), scorer(features).image)
    quantiles = scorer.reference_quantile(0.05)
    assert quantiles.keys() == parts.keys() == {"a", "b", "c"}
    for (_, channels, _), found in zip(LAYERS, quantiles.values(), strict=True):
        assert found["degrees_of_freedom"] == channels
        assert found["threshold"] == pytest.approx(math.sqrt(chi2.ppf(0.95, channels)))


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"components": "high", "num_components": 3}, (3, 3, 3)),
        ({"components": "low", "num_components": 5}, (5, 5, 4)),
        ({"components": "all", "num_components": 2}, (6, 9, 4)),
    ],
)
def test_components_set_the_degrees_of_freedom(settings, kept):
    scorer = fitted(stream_of(30), **settings)
    degrees = [item["degrees_of_freedom"] for item in scorer.reference_quantile(0.1).values()]
    assert tuple(degrees) == kept
    assert torch.isfinite(scorer(stream_of(3, seed=1).all_features()).image).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"components": "some"}, "components is 'some'; choose all, high or low"),
        ({"variance": 0}, "variance is 0; choose a share between 0 and 1"),
        ({"variance": 1.0}, "variance is 1.0; choose a share between 0 and 1"),
        ({"num_components": 0}, "num_components is 0; choose 1 or more"),
        ({"num_components": 2.5}, "num_components is 2.5; choose 1 or more"),
        ({"bogus": 1}, "mvg has no setting 'bogus'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SettingsError) as caught:
        create_scorer("mvg", **settings)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("images", "message"), [(2, "at least 3"), (1, "at least 3"), (0, "no readable")]
)
def test_too_few_images_are_refused(images, message):
    with pytest.raises(FitError, match=message):
        fitted(stream_of(images))


def test_abilities_and_settings():
    scorer = built(components="low", variance=0.9)
    for ability in (PartialFit, Forget, CrossFit, ReferenceQuantile):
        assert scorer.can(ability)
    assert not scorer.localises
    assert create_scorer("mvg", **scorer.settings()).settings() == scorer.settings()
