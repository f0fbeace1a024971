"""Images that count in part: a fit with sample weights on the batches."""

import numpy as np
import pytest
import torch
from scorer_references import MadeStream, assert_same_state, layout_of, state_of

from anomalib_lite.detector.out_of_fold import assign_folds, score_stream
from anomalib_lite.edge import FitError
from anomalib_lite.scorers import FitContext, TakesSampleWeight, create_scorer
from anomalib_lite.scorers.memory_bank.nearest import centred_bank
from anomalib_lite.scorers.memory_bank.patch_admission import most_ordinary
from anomalib_lite.statistics.covariance import effective_count, ledoit_wolf

CONTEXT = FitContext(seed=1)
LAYERS = [("a", 5, 8), ("b", 6, 16)]
IMAGES = 24
WEIGHING = {
    "mvg": {},
    "mvg low": {"components": "low", "variance": 0.9},
    "mvg high": {"components": "high"},
    "padim": {"num_features": 7},
    "patchcore": {"coreset_ratio": 1.0, "sigma": 0},
}
GAUSSIANS = ["mvg", "mvg low", "mvg high", "padim"]


def stream_of(images=IMAGES, **options):
    return MadeStream(layout_of((48, 64), LAYERS), images, **options)


def built(kind):
    scorer = create_scorer(kind.split()[0], **WEIGHING[kind])
    scorer.build(stream_of().layout)
    return scorer


def fitted(kind, stream, weights=None):
    scorer = built(kind)
    scorer.fit(weighted(stream, weights), CONTEXT)
    return scorer


def weighted(stream, weights):
    """The stream with sample weights on its batches."""
    stream.sample_weight = weights
    return stream


def drawn(seed=0, images=IMAGES):
    return np.random.default_rng(seed).uniform(0.2, 1, images)


def some_in_part():
    weights = np.ones(IMAGES)
    weights[[3, 11, 12]] = 0.9, 0.4, 0.6
    return weights


@pytest.mark.parametrize("kind", WEIGHING)
def test_weights_of_one_change_nothing(kind):
    plain, ones = fitted(kind, stream_of()), fitted(kind, stream_of(), np.ones(IMAGES))
    assert plain.can(TakesSampleWeight)
    assert_same_state(state_of(plain), state_of(ones), rtol=0, atol=0)


@pytest.mark.parametrize("kind", WEIGHING)
def test_weights_of_zero_and_one_equal_a_fit_on_the_others(kind):
    weights = np.ones(IMAGES)
    weights[[2, 9, 17]] = 0
    partly = fitted(kind, stream_of(), weights)
    others = fitted(kind, stream_of().subset(np.flatnonzero(weights)))
    new = stream_of(6, seed=8).all_features()
    one, other = partly(new), others(new)
    torch.testing.assert_close(one.image, other.image, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.map, other.map, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [*GAUSSIANS, "patchcore"])
def test_held_out_scores_are_those_of_weighted_fits_without_the_fold(kind):
    weights = drawn() if kind in GAUSSIANS else some_in_part()
    folds = assign_folds(IMAGES, 4, 0)
    scorer = built(kind)
    held_out = scorer.cross_fit(weighted(stream_of(), weights), folds, CONTEXT)
    assert_same_state(state_of(scorer), state_of(fitted(kind, stream_of(), weights)), rtol=1e-7)
    scores = dict(zip(held_out.indices.tolist(), held_out.image, strict=True))
    tolerance = 1e-3 if kind in GAUSSIANS else 0.2  # folds of a bank admit with one reference
    for fold in range(4):
        refit = fitted(kind, stream_of().subset(np.flatnonzero(folds != fold)), weights)
        left = score_stream(refit, stream_of().subset(np.flatnonzero(folds == fold)))
        expected = [scores[index] for index in left.indices.tolist()]
        assert left.image == pytest.approx(expected, rel=tolerance)


def test_two_halves_of_an_image_are_a_whole_one():
    half = weighted(stream_of(), np.full(IMAGES, 0.5))
    scorer = fitted("padim", half, half.sample_weight)
    scorer.partial_fit(half, CONTEXT)
    whole, halves = state_of(fitted("padim", stream_of())), state_of(scorer)
    for state in (whole, halves):
        state["moments.count_"] = state["moments.count_"].double()
    assert_same_state(halves, whole)


@pytest.mark.parametrize("kind", ["mvg", "padim"])
def test_weighted_images_can_be_learnt_later_and_forgotten(kind):
    weights = drawn()
    whole = fitted(kind, stream_of(), weights)
    stream = weighted(stream_of(), weights)
    scorer = built(kind)
    first, rest = stream.subset(np.arange(15)), stream.subset(np.arange(15, IMAGES))
    scorer.fit(first, CONTEXT)
    before = state_of(scorer)
    scorer.partial_fit(rest, CONTEXT)
    assert_same_state(state_of(scorer), state_of(whole), rtol=1e-7)
    scorer.forget(rest, CONTEXT)
    assert_same_state(state_of(scorer), before, rtol=1e-6, atol=1e-6)


def test_padim_weighs_mean_and_covariance_as_the_textbook():
    layout = layout_of((24, 32), [("a", 4, 8)])
    weights = drawn(2, 12)
    stream = MadeStream(layout, 12)
    scorer = create_scorer("padim", sigma=0)
    scorer.build(layout)
    scorer.fit(weighted(stream, weights), CONTEXT)
    good = stream.all_features().maps["a"].double().numpy()
    new = MadeStream(layout, 2, seed=4).all_features()
    found = scorer.distances(scorer._nodes(new)).numpy()
    for row in range(3):
        for column in range(4):
            rows = good[:, :, row, column]
            mean = np.average(rows, axis=0, weights=weights)
            centred = rows - mean
            covariance = (weights[:, None] * centred).T @ centred / (weights.sum() - 1)
            inverse = np.linalg.inv(covariance + 0.01 * np.eye(4))
            away = new.maps["a"][:, :, row, column].double().numpy() - mean
            expected = np.sqrt(np.einsum("ni,ij,nj->n", away, inverse, away))
            assert found[:, row, column] == pytest.approx(expected, rel=1e-4)


def test_weighted_ledoit_wolf_is_its_formula_written_out():
    rows = torch.randn(30, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = torch.from_numpy(drawn(3, 30))
    share = (weights / weights.sum()).tolist()
    mean = sum(w * x for w, x in zip(share, rows, strict=True))
    outer = [torch.outer(x - mean, x - mean) for x in rows]
    sample = sum(w * each for w, each in zip(share, outer, strict=True))
    target = sample.trace() / 6 * torch.eye(6, dtype=torch.float64)
    spread = sum(w * (each - sample).square().sum() for w, each in zip(share, outer, strict=True))
    away = (sample - target).square().sum()
    expected = float(min(spread * sum(w * w for w in share), away) / away)
    covariance, shrinkage = ledoit_wolf(rows, weights)
    assert shrinkage == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(covariance, (1 - expected) * sample + expected * target)


@pytest.mark.parametrize(
    ("weights", "count"), [([1.0] * 7, 7), ([0.5] * 7, 7), ([1, 1, 0, 0], 2), ([1, 0.5], 1.8)]
)
def test_the_effective_number_of_rows(weights, count):
    assert effective_count(torch.tensor(weights)) == pytest.approx(count)


def test_a_bank_admits_the_ordinary_share_of_a_doubtful_image():
    weights = np.ones(IMAGES)
    weights[5], weights[6] = 0.4, 0.0
    scorer = fitted("patchcore", stream_of(), weights)
    images, cells = scorer.origin_.numpy().T
    counts = np.bincount(images, minlength=IMAGES)
    assert counts[5] == int(0.4 * 48)
    assert counts[6] == 0
    assert all(counts[index] == 48 for index in range(IMAGES) if index not in (5, 6))
    others = fitted("patchcore", stream_of().subset(np.flatnonzero(weights == 1)))
    _, _, away = others._search(others.patches(stream_of().features(5).maps))
    away = away.numpy().ravel()
    admitted = np.isin(np.arange(48), cells[images == 5])
    assert away[admitted].max() <= away[~admitted].min()


@pytest.mark.parametrize(
    ("weight", "kept"), [(0, []), (0.5, [1, 3]), (0.74, [1, 3]), (1, [*range(4)])]
)
def test_the_most_ordinary_patches_are_the_nearest_ones(weight, kept):
    reference = centred_bank(torch.tensor([[0.0, 0.0], [10.0, 0.0]]))
    rows = torch.tensor([[5.0, 0.0], [0.5, 0.0], [0.0, 7.0], [10.0, 1.0]])
    assert most_ordinary(rows, weight, reference).tolist() == kept


def test_the_budget_of_a_bank_holds_with_weights():
    scorer = create_scorer("patchcore", rows=40)
    scorer.build(stream_of().layout)
    scorer.fit(weighted(stream_of(), some_in_part()), CONTEXT)
    assert len(scorer.bank_) == 40


def test_a_bank_without_an_image_of_full_weight_is_one_line():
    with pytest.raises(FitError, match="no image of full weight"):
        fitted("patchcore", stream_of(), np.full(IMAGES, 0.9))
