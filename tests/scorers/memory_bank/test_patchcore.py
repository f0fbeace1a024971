"""PatchCore against slow plain references, its export, and its updates."""

import numpy as np
import pytest
import torch
from scorer_references import (
    MadeStream,
    assert_same_state,
    enlarged_and_blurred,
    layout_of,
    state_of,
)

from anomalib_lite import Detector
from anomalib_lite.edge import EdgeModel, FitError, SettingsError
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.scorers import CrossFit, Explain, FitContext, PartialFit, create_scorer
from anomalib_lite.scorers.memory_bank.budget import BankBudget
from anomalib_lite.scorers.memory_bank.coreset_buffer import held_row_bytes

CONTEXT = FitContext(seed=0)
LAYERS = [("a", 6, 4), ("b", 8, 8), ("c", 16, 16)]
SIZE = (48, 64)
ROI = np.zeros(SIZE, bool)
ROI[9:30, 5:37] = True


def built(roi=None, **settings):
    scorer = create_scorer("patchcore", **settings)
    scorer.build(layout_of(SIZE, LAYERS, roi))
    return scorer


def fitted(stream, **settings):
    scorer = built(stream.layout.roi, **settings)
    scorer.fit(stream, CONTEXT)
    return scorer


def stream_of(images, seed=0, roi=None, **options):
    return MadeStream(layout_of(SIZE, LAYERS, roi), images, seed=seed, **options)


def plain_scores(queries, bank, grid_hw, floor, sigma=4.0):
    """Nearest distance per patch in float64, its maximum, the enlarged map."""
    distances = torch.cdist(queries.double(), bank.double()).amin(dim=2)
    grid = distances.square().add(floor**2).sqrt().reshape(-1, *grid_hw)
    return grid.amax(dim=(1, 2)).numpy(), enlarged_and_blurred(grid.numpy(), SIZE, sigma)


@pytest.mark.parametrize("embedding", ["authors", "plain"])
@pytest.mark.parametrize("ratio", [0.2, 1.0])
def test_scores_are_the_distances_to_the_nearest_kept_patch(embedding, ratio):
    train, test = stream_of(6), stream_of(3, seed=9)
    scorer = fitted(train, embedding=embedding, coreset_ratio=ratio)
    good = scorer.patches(train.all_features().maps).flatten(0, 1)
    origin = scorer.origin_
    bank = good[origin[:, 0] * 48 + origin[:, 1]]
    torch.testing.assert_close(scorer.bank_ + scorer.mean_, bank)
    assert len(bank) == np.ceil(ratio * 6 * 48)
    scores = scorer(test.all_features())
    queries, floor = scorer.patches(test.all_features().maps), float(scorer.floor_)
    image, maps = plain_scores(queries, bank, (6, 8), floor)
    np.testing.assert_allclose(scores.image.numpy(), image, rtol=1e-4)
    np.testing.assert_allclose(scores.map.numpy(), maps, rtol=1e-4, atol=1e-4)


def test_a_photograph_in_the_bank_scores_the_floor():
    train = stream_of(4)
    scorer = fitted(train, coreset_ratio=1.0)
    scores = scorer(train.all_features()).image
    torch.testing.assert_close(scores, scorer.floor_.expand(4), rtol=1e-2, atol=0)


def test_reweighting_is_equation_7():
    train, test = stream_of(6), stream_of(3, seed=9)
    plain = fitted(train, coreset_ratio=0.3)
    scorer = fitted(train, coreset_ratio=0.3, reweight=True)
    bank = scorer.bank_.double()
    expected = []
    for patches in scorer.patches(test.all_features().maps).double() - scorer.mean_:
        away = torch.cdist(patches, bank)
        oddest = int(away.amin(dim=1).argmax())
        nearest = int(away[oddest].argmin())
        around = torch.cdist(bank[nearest : nearest + 1], bank)[0].argsort()[:9]
        exponentials = away[oddest, around].exp()
        share = away[oddest, nearest].exp() / exponentials.sum()
        expected.append(float((1 - share) * away[oddest, nearest]))
    found = scorer(test.all_features())
    np.testing.assert_allclose(found.image.numpy(), expected, rtol=1e-4)
    torch.testing.assert_close(found.map, plain(test.all_features()).map)


def test_cells_outside_the_region_are_neither_kept_nor_scored():
    scorer = fitted(stream_of(5, roi=ROI), coreset_ratio=1.0)
    share = scorer.layout.cell_share((6, 8)).flatten()
    assert set(scorer.origin_[:, 1].tolist()) == set(torch.nonzero(share)[:, 0].tolist())
    features = stream_of(2, seed=9, roi=ROI).all_features()
    before = scorer(features)
    assert not before.map[:, torch.from_numpy(~ROI)].any()
    # Cells that share no 3x3 neighbourhood with the region.
    features.maps["b"][:, :, 5:] += 50
    features.maps["b"][:, :, :, 7:] += 50
    after = scorer(features)
    torch.testing.assert_close(before.image, after.image)
    torch.testing.assert_close(before.map, after.map)


@pytest.mark.parametrize(
    ("settings", "rows"),
    [({"rows": 7}, 7), ({"megabytes": 0.001}, 11), ({"rows": 9, "megabytes": 0.001}, 9)],
)
def test_budgets_limit_the_bank(settings, rows):
    assert fitted(stream_of(5), **settings).bank_.shape == (rows, 16)


def test_memory_is_bounded_by_the_buffer_and_estimated():
    small = built(rows=20, buffer_megabytes=0.014)
    large = built(rows=20, buffer_megabytes=2)
    assert small.memory_bytes() < large.memory_bytes()
    small.fit(stream_of(40), CONTEXT)
    width = small.patches.width
    budget = BankBudget(0.1, 20, None, 0.014, width)
    assert budget.capacity * held_row_bytes(width, on_disk=True) <= 0.014e6
    assert 10 * budget.capacity < 40 * 48
    large.fit(stream_of(40), CONTEXT)
    features = stream_of(5, seed=9).all_features()
    ratio = small(features).image / large(features).image
    assert float(ratio.mean()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("settings", [{"coreset_ratio": 0.2}, {"rows": 100}])
def test_held_out_scores_are_near_those_of_refits(settings):
    stream = stream_of(20, batch=6)
    folds = np.arange(20) % 5
    scorer = built(**settings)
    assert scorer.can(CrossFit)
    held_out = scorer.cross_fit(stream, folds, CONTEXT)
    assert stream.passes == 1
    assert_same_state(state_of(scorer), state_of(fitted(stream_of(20), **settings)))
    by_index = dict(zip(held_out.indices.tolist(), held_out.image.tolist(), strict=True))
    ratios = []
    for fold in range(5):
        inside = np.flatnonzero(folds == fold)
        refit = fitted(stream_of(20).subset(np.flatnonzero(folds != fold)), **settings)
        expected = refit(stream_of(20).subset(inside).all_features()).image.numpy()
        ratios.extend([by_index[i] for i in inside] / expected)
    assert min(ratios) > 0.8
    assert max(ratios) < 1.2
    assert np.mean(ratios) == pytest.approx(1, abs=0.04)


def test_held_out_scores_of_a_whole_bank_are_those_of_refits():
    stream, folds = stream_of(7), np.array([0, 1, 2, 0, -1, 1, 2])
    missing = stream_of(7, missing=(4,))
    scorer = built(coreset_ratio=1.0)
    held_out = scorer.cross_fit(missing, folds, CONTEXT)
    for index, score in zip(held_out.indices, held_out.image, strict=True):
        others = np.flatnonzero((folds != folds[index]) & (folds >= 0))
        refit = fitted(stream.subset(others), coreset_ratio=1.0)
        assert score == pytest.approx(float(refit(stream.features(index)).image[0]), rel=1e-4)
    assert sorted(held_out.indices.tolist()) == [0, 1, 2, 3, 5, 6]


def test_partial_fit_takes_new_images_in_and_keeps_the_budget():
    scorer = fitted(stream_of(8), rows=60)
    assert scorer.can(PartialFit)
    new = stream_of(4, seed=5)
    before = scorer(new.all_features()).image
    scorer.partial_fit(new, CONTEXT)
    after = scorer(new.all_features()).image
    assert scorer.bank_.shape[0] == 60
    assert float((after / before).mean()) < 0.97
    images = scorer.origin_[:, 0]
    assert int(images.max()) >= 8
    assert int(images.max()) < 12
    assert bool((images < 8).any())


def test_partial_fit_of_a_share_grows_the_bank():
    scorer = fitted(stream_of(8), coreset_ratio=0.25)
    scorer.partial_fit(stream_of(4, seed=5), CONTEXT)
    assert scorer.bank_.shape[0] == 12 * 48 / 4


def test_explain_names_the_good_image_and_its_place():
    train = stream_of(5)
    scorer = fitted(train, coreset_ratio=1.0)
    assert scorer.can(Explain)
    found = scorer.explain(train.features(3), (17, 42))
    assert found["image"] == 3
    assert found["cell"] == found["query"] == (2, 5)
    assert found["box"] == (16, 40, 24, 48)
    assert found["distance"] == pytest.approx(float(scorer.floor_), rel=1e-2)
    with pytest.raises(SettingsError, match="outside the map"):
        scorer.explain(train.features(3), (48, 0))


@pytest.mark.parametrize(
    "settings",
    [
        {"embedding": "other"},
        {"coreset_ratio": 0},
        {"coreset_ratio": 1.5},
        {"rows": 0},
        {"rows": 2.5},
        {"megabytes": 0},
        {"sigma": -1},
        {"buffer_megabytes": 0},
        {"unknown": 1},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(SettingsError):
        create_scorer("patchcore", **settings)


def test_a_dimension_that_layers_cannot_share_is_refused():
    with pytest.raises(SettingsError, match="multiple of 2"):
        built(dimension=9)


def test_an_empty_stream_is_refused():
    with pytest.raises(FitError, match="no readable image"):
        built().fit(stream_of(2, missing=(0, 1)), CONTEXT)


@pytest.mark.parametrize(
    "settings",
    [{}, {"embedding": "plain", "rows": 50}, {"reweight": True}, {"coreset_ratio": 1.0}],
)
def test_files_hold_the_fitted_model(settings, good_frames, scratched, tmp_path):
    detector = Detector("patchcore", image_size=64, **settings).fit(good_frames)
    report = detector.export(tmp_path / "part.onnx")
    assert report.parity.passed
    loaded = Detector.load(detector.save(tmp_path / "part.safetensors"))
    assert loaded.scorer.settings() == detector.scorer.settings()
    edge = EdgeModel(tmp_path / "part.onnx")
    for frame in scratched:
        expected = detector.predict(frame)
        assert loaded.predict(frame).score == expected.score
        assert edge.predict(frame).score == pytest.approx(expected.score, rel=1e-4)
    loaded.save(tmp_path / "again.safetensors")
    first = (tmp_path / "part.safetensors").read_bytes()
    assert first == (tmp_path / "again.safetensors").read_bytes()


def test_a_bank_has_4000_rows_unless_a_size_is_named():
    assert built().settings()["rows"] == 4000
    for size in ({"rows": 7}, {"megabytes": 2.0}, {"coreset_ratio": 0.1}):
        named = built(**size).settings()
        assert {key: named[key] for key in ("rows", "megabytes", "coreset_ratio")} == {
            "rows": None,
            "megabytes": None,
            "coreset_ratio": None,
        } | size


def test_the_same_seed_gives_the_same_bytes(good_frames, tmp_path):
    for name in ("one", "two"):
        fit = Detector("patchcore", image_size=64, rows=40, seed=3).fit(good_frames)
        fit.save(tmp_path / f"{name}.safetensors")
        fit.export(tmp_path / f"{name}.onnx")
    for kind in ("safetensors", "onnx"):
        one, two = (tmp_path / f"{name}.{kind}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_a_stain_scores_higher_than_good_parts_and_is_found_in_its_place(good_frames):
    detector = Detector("patchcore", image_size=64, coreset_ratio=1.0).fit(good_frames[:9])
    stained = good_frames[9].copy()
    stained[30:48, 48:66] = (250, 20, 20)
    good = max(detector.predict(frame).score for frame in good_frames[9:])
    found = detector.predict(stained)
    assert found.score > 1.2 * good
    row, column = np.unravel_index(found.anomaly_map.argmax(), found.anomaly_map.shape)
    assert 24 <= row < 54
    assert 42 <= column < 72


def test_three_images_are_enough(good_frames):
    detector = Detector("patchcore", image_size=64).fit(good_frames[:3])
    assert len(detector.data.records) == 3
    assert np.isfinite(detector.predict(good_frames[5]).score)


def test_a_detector_learns_on_within_its_region(good_frames, tmp_path):
    roi = np.zeros((64, 64), bool)
    roi[8:40, 8:56] = True
    spec = InputSpec(height=64, width=64, roi=roi)
    detector = Detector("patchcore", image_size=spec, rows=30).fit(good_frames[:8])
    detector.partial_fit(good_frames[8:])
    assert detector.scorer.bank_.shape[0] == 30
    assert detector.export(tmp_path / "part.onnx").parity.passed
