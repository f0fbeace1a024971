"""Several scorers as one: the arithmetic, the weights, and what a fusion may promise."""

import numpy as np
import pytest
import torch
from scorer_references import MadeStream, assert_same_state, layout_of, state_of

from anomalib_lite.edge import FitError, SettingsError
from anomalib_lite.scorers import (
    CrossFit,
    Explain,
    FitContext,
    Forget,
    PartialFit,
    ReferenceQuantile,
    TakesSampleWeight,
    create_scorer,
)

CONTEXT = FitContext(seed=0)
SIZE = (48, 64)
LAYERS = [("a", 6, 4), ("b", 8, 8), ("c", 16, 16)]
SMALL = {"padim.num_features": 9, "patchcore.rows": 40}
ROI = np.zeros(SIZE, bool)
ROI[9:30, 5:37] = True


def stream_of(images, seed=0, roi=None):
    return MadeStream(layout_of(SIZE, LAYERS, roi), images, seed=seed)


def made(name, stream, **settings):
    kept = {key: value for key, value in SMALL.items() if key.split(".")[0] in name.split("+")}
    scorer = create_scorer(name, **{"trust": "equal", **kept, **settings})
    scorer.build(stream.layout)
    return scorer


def alone(name, stream):
    own = {key.split(".")[1]: value for key, value in SMALL.items() if key.startswith(name)}
    scorer = create_scorer(name, **own)
    scorer.build(stream.layout)
    return scorer


def crossed(name, stream, **settings):
    scorer = made(name, stream, **settings)
    return scorer, scorer.cross_fit(stream, np.arange(len(stream)) % 3, CONTEXT)


def test_the_image_score_is_the_weighted_sum_in_units_of_each_parts_spread():
    stream, test = stream_of(12), stream_of(4, seed=9)
    scorer, _ = crossed("patchcore+mvg+padim", stream, rule="sum")
    scores, expected = scorer(test.all_features()), np.zeros(4)
    for name in ("patchcore", "mvg", "padim"):
        part = alone(name, stream)
        unseen = part.cross_fit(stream, np.arange(12) % 3, CONTEXT).image.astype(float)
        upper = unseen[unseen >= np.median(unseen)] - np.median(unseen)
        spread = 2 * upper.sum() / len(unseen)
        expected += part(test.all_features()).image.numpy() / spread / 3
    np.testing.assert_allclose(scores.image.numpy(), expected, rtol=1e-4)


def test_the_map_of_one_localising_part_is_its_own_but_for_a_factor():
    stream, test = stream_of(12), stream_of(3, seed=9)
    scorer, _ = crossed("patchcore+mvg", stream)
    own = alone("patchcore", stream)
    own.fit(stream, CONTEXT)
    ratio = scorer(test.all_features()).map / own(test.all_features()).map
    assert ratio.shape == (3, *SIZE)
    torch.testing.assert_close(ratio, ratio[0, 0, 0].expand_as(ratio), rtol=1e-4, atol=0)


def test_the_map_of_several_is_the_largest_standardised_one_and_so_is_its_peak():
    stream, test = stream_of(12), stream_of(3, seed=9)
    scorer, _ = crossed("patchcore+mvg+padim", stream)
    features, standardised = test.all_features(), []
    for name, place in (("patchcore", 0), ("padim", 2)):
        centre, spread = scorer.peak_centre_[place], scorer.peak_spread_[place]
        standardised.append((scorer.members[name](features).map - centre) / spread)
    lift = (scorer.peak_centre_ / scorer.peak_spread_)[[0, 2]].max()
    expected = torch.stack(standardised).amax(dim=0) + lift
    joined = scorer(features).map
    torch.testing.assert_close(joined, expected, rtol=1e-4, atol=1e-4)
    peaks = torch.stack([item.map.amax(dim=(1, 2)) for item in _outputs(scorer, features)])
    torch.testing.assert_close(scorer.largest(list(peaks)), joined.amax(dim=(1, 2)))


def _outputs(scorer, features):
    return [scorer.scorers[place](features) for place in scorer.maps]


def test_held_out_scores_are_the_parts_held_out_scores_combined():
    stream = stream_of(12)
    scorer, held_out = crossed("mvg+padim", stream, rule="sum")
    assert scorer.can(CrossFit)
    parts = {}
    for name in ("mvg", "padim"):
        found = alone(name, stream).cross_fit(stream, np.arange(12) % 3, CONTEXT)
        parts[name] = found.image[np.argsort(found.indices)]
    expected = sum(
        parts[name] / 2 / float(scorer.spread_[place]) for place, name in enumerate(parts)
    )
    np.testing.assert_array_equal(held_out.indices, np.arange(12))
    np.testing.assert_allclose(held_out.image, expected, rtol=1e-5)


def test_an_unreadable_image_is_left_out_of_every_part():
    folds = np.arange(12) % 3
    folds[4] = -1
    stream = MadeStream(layout_of(SIZE, LAYERS), 12, missing=(4,))
    scorer = made("padim+mvg", stream)
    held_out = scorer.cross_fit(stream, folds, CONTEXT)
    assert held_out.indices.tolist() == [0, 1, 2, 3, *range(5, 12)]
    assert int(scorer.members["padim"].moments.count_) == 11


def test_outside_the_region_of_interest_the_map_is_zero():
    stream = stream_of(9, roi=ROI)
    scorer, _ = crossed("patchcore+padim", stream)
    joined = scorer(stream_of(2, seed=9, roi=ROI).all_features()).map
    assert (joined[:, ~torch.from_numpy(ROI)] == 0).all()
    assert (joined[:, torch.from_numpy(ROI)] > 0).any()


def test_parts_that_do_not_localise_make_a_fusion_that_does_not():
    stream = stream_of(9)
    scorer, held_out = crossed("knn+mvg", stream)
    assert not scorer.localises
    assert scorer(stream.all_features()).map.shape == (9, 1, 1)
    np.testing.assert_array_equal(held_out.map_peak, held_out.image)
    assert made("patchcore+mvg", stream).localises
    assert made("knn+mvg", stream, **{"knn.mode": "patches"}).localises


@pytest.mark.parametrize(
    ("name", "able", "unable"),
    [
        ("padim+mvg", {CrossFit, PartialFit, Forget, TakesSampleWeight}, {Explain}),
        ("patchcore+mvg", {CrossFit, PartialFit, Explain}, {Forget}),
        ("knn+padim", {CrossFit, PartialFit}, {Forget, TakesSampleWeight, Explain}),
    ],
)
def test_a_fusion_promises_what_all_parts_can_do_and_explains_if_one_does(name, able, unable):
    scorer = create_scorer(name)
    assert {kind for kind in able if scorer.can(kind)} == able
    assert not {kind for kind in unable if scorer.can(kind)}
    for kind in (CrossFit, PartialFit, Forget, TakesSampleWeight):
        every = all(part.can(kind) for part in scorer.scorers)
        assert scorer.can(kind) == every, kind
    assert not scorer.can(ReferenceQuantile)


def test_forgetting_undoes_learning_on_in_every_part():
    first, more = stream_of(9), stream_of(4, seed=5)
    scorer, _ = crossed("padim+mvg", first)
    before = state_of(scorer)
    scorer.partial_fit(more, CONTEXT)
    assert int(scorer.members["padim"].moments.count_) == 13
    assert len(scorer.members["mvg"].rows_) == 13
    scorer.forget(more, CONTEXT)
    assert_same_state(before, state_of(scorer))


def test_explain_is_that_of_the_part_that_explains():
    stream = stream_of(9)
    scorer, _ = crossed("mvg+patchcore", stream)
    features = stream_of(1, seed=9).all_features()
    own = scorer.members["patchcore"].explain(features, (20, 30))
    assert scorer.explain(features, (20, 30)) == own


def test_the_memory_estimate_counts_every_part():
    stream = stream_of(5)
    estimates = [alone(name, stream).memory_bytes() for name in ("padim", "patchcore")]
    assert made("padim+patchcore", stream).memory_bytes() >= sum(estimates) > 0


def test_stages_of_the_fit_name_the_part():
    told = []
    scorer = made("padim+mvg", stream_of(9))
    context = FitContext(progress=lambda stage, done, total: told.append(stage))
    scorer.fit(stream_of(9), context)
    assert {"padim: reading good images", "mvg: reading good images"} <= set(told)
    assert "judging the parts" in told


def test_settings_of_the_parts_are_addressed_and_come_back():
    scorer = create_scorer("patchcore+mvg", **{"patchcore.rows": 77, "mvg.components": "low"})
    assert scorer.name == "patchcore+mvg"
    assert scorer.members["patchcore"].rows == 77
    settings = scorer.settings()
    assert (settings["patchcore.rows"], settings["mvg.components"]) == (77, "low")
    assert create_scorer(scorer.name, **settings).settings() == settings
    assert create_scorer(" patchcore + mvg ").name == "patchcore+mvg"


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("mvg+", {}, "two or more different names"),
        ("mvg+mvg", {}, "two or more different names"),
        ("mvg+nothing", {}, "unknown detector 'nothing'"),
        ("patchcore+mvg", {"rows": 9}, "no setting 'rows'.*patchcore.rows"),
        ("patchcore+mvg", {"padim.sigma": 1}, "no setting 'padim.sigma'"),
        ("patchcore+mvg", {"patchcore.depth": 1}, "patchcore has no setting 'depth'"),
        ("patchcore+mvg", {"mvg.variance": 7}, "variance is 7"),
        ("patchcore+mvg", {"trust": "best"}, "choose earned or equal"),
        ("patchcore+mvg", {"rule": "product"}, "choose p_value or sum"),
    ],
)
def test_a_wrong_fusion_is_refused_in_words(name, settings, words):
    with pytest.raises(SettingsError, match=words):
        create_scorer(name, **settings)


def test_a_held_out_share_of_too_few_images_is_refused():
    with pytest.raises(FitError, match="at least 8 good images"):
        made("padim+mvg", stream_of(7)).fit(stream_of(7), CONTEXT)


def test_a_long_fit_keeps_the_checkpoints_of_its_parts_apart(tmp_path):
    stream, seen = stream_of(9), []
    scorer = made("padim+mvg", stream)
    for part in scorer.scorers:
        part.fit = lambda stream, context, fit=part.fit: (
            seen.append(context.checkpoint),
            fit(stream, context),
        )
    scorer.fit(stream, FitContext(checkpoint=tmp_path, resume=True))
    assert seen == [None, None, tmp_path / "padim", tmp_path / "mvg"]
