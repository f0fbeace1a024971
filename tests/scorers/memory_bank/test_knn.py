"""kNN against plain distances."""

import numpy as np
import pytest
import torch
from scorer_references import MadeStream, layout_of

from anomalib_lite import Detector
from anomalib_lite.edge import FitError, SettingsError
from anomalib_lite.scorers import CrossFit, FitContext, PartialFit, create_scorer

CONTEXT = FitContext(seed=0)
LAYERS = [("a", 6, 4), ("b", 8, 8), ("c", 16, 16)]
SIZE = (48, 64)
ROI = np.zeros(SIZE, bool)
ROI[9:30, 5:37] = True


def stream_of(images, seed=0, roi=None, **options):
    return MadeStream(layout_of(SIZE, LAYERS, roi), images, seed=seed, **options)


def fitted(stream, **settings):
    scorer = create_scorer("knn", **settings)
    scorer.build(stream.layout)
    scorer.fit(stream, CONTEXT)
    return scorer


def pooled(stream):
    features, parts = stream.all_features(), []
    for layer in stream.layout.layers:
        share = stream.layout.cell_share(layer.grid_hw).double()
        parts.append((features.maps[layer.name].double() * share).sum(dim=(2, 3)) / share.sum())
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("roi", [None, ROI], ids=["whole frame", "region"])
@pytest.mark.parametrize(("k", "used"), [(1, 1), (3, 3), (99, 8)])
def test_the_pooled_score_is_the_mean_distance_to_the_nearest_images(k, used, roi):
    train, test = stream_of(8, roi=roi), stream_of(4, seed=9, roi=roi)
    scorer = fitted(train, k=k)
    scores = scorer(test.all_features())
    away = torch.cdist(pooled(test), pooled(train)).sort(dim=1).values[:, :used]
    away = torch.hypot(away, scorer.floor_.double()).mean(dim=1)
    np.testing.assert_allclose(scores.image.numpy(), away.numpy(), rtol=1e-4)
    assert scores.map.shape == (4, 1, 1)
    assert not scorer.localises


def test_the_patch_score_is_the_largest_distance_to_the_kept_patches():
    train, test = stream_of(5), stream_of(3, seed=9)
    scorer = fitted(train, mode="patches", patches=10**6)
    good = scorer.embedding(train.all_features().maps).flatten(0, 1)
    new = scorer.embedding(test.all_features().maps)
    away = torch.cdist(new.double(), good.double()).amin(dim=2).amax(dim=1)
    np.testing.assert_allclose(scorer(test.all_features()).image.numpy(), away.numpy(), rtol=1e-4)
    assert scorer.localises
    assert scorer.bank_.shape == (5 * 48, 24)


def test_patches_are_drawn_evenly_from_all_images_inside_the_region():
    scorer = fitted(stream_of(6, roi=ROI), mode="patches", patches=12)
    assert torch.bincount(scorer.image_of_).tolist() == [2] * 6


@pytest.mark.parametrize("settings", [{}, {"mode": "patches", "patches": 60}])
def test_held_out_scores_leave_the_rows_of_the_fold_out(settings):
    stream, folds = stream_of(9), np.arange(9) % 3
    scorer = create_scorer("knn", **settings)
    assert scorer.can(CrossFit)
    scorer.build(stream.layout)
    held_out = scorer.cross_fit(stream, folds, CONTEXT)
    whole = fitted(stream_of(9), **settings)
    torch.testing.assert_close(scorer.bank_, whole.bank_)
    kept = dict(zip(held_out.indices.tolist(), held_out.image.tolist(), strict=True))
    for index in range(9):
        others = torch.from_numpy(folds)[whole.image_of_] != folds[index]
        whole_rows = (whole.bank_ + whole.mean_)[others]
        alone = create_scorer("knn", **settings)
        alone.build(stream.layout)
        alone._learn(whole_rows, whole.image_of_[others], 9)
        expected = float(alone(stream.features(index)).image[0])
        assert kept[index] == pytest.approx(expected, rel=1e-4)


def test_partial_fit_of_pooled_images_equals_fitting_on_all():
    scorer = fitted(stream_of(9).subset(range(5)))
    assert scorer.can(PartialFit)
    scorer.partial_fit(stream_of(9).subset(range(5, 9)), CONTEXT)
    features = stream_of(3, seed=9).all_features()
    whole = fitted(stream_of(9))(features).image
    torch.testing.assert_close(scorer(features).image, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", [{"mode": "x"}, {"k": 0}, {"patches": 0}, {"sigma": -1}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(SettingsError):
        create_scorer("knn", **settings)


def test_an_empty_stream_is_refused():
    with pytest.raises(FitError, match="no readable image"):
        fitted(stream_of(2, missing=(0, 1)))


@pytest.mark.parametrize("settings", [{}, {"k": 3}, {"mode": "patches", "patches": 90, "k": 2}])
def test_files_hold_the_fitted_model(settings, good_frames, scratched, tmp_path):
    detector = Detector("knn", image_size=64, **settings).fit(good_frames)
    assert detector.export(tmp_path / "part.onnx").parity.passed
    loaded = Detector.load(detector.save(tmp_path / "part.safetensors"))
    for frame in scratched:
        assert loaded.predict(frame).score == detector.predict(frame).score
    loaded.save(tmp_path / "again.safetensors")
    first = (tmp_path / "part.safetensors").read_bytes()
    assert first == (tmp_path / "again.safetensors").read_bytes()
