"""The MVG paper's baselines against scikit-learn and plain numpy."""

import numpy as np
import pytest
import torch
from scorer_references import MadeStream, layout_of
from sklearn.svm import OneClassSVM

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.edge import FitError, SettingsError
from anomalib_lite.scorers import FitContext, create_scorer

LAYOUT = layout_of((32, 48), [("a", 4, 8), ("b", 6, 16)])
METHODS = ["euclidean", "standardised", "svm"]


def fitted(stream, **settings):
    scorer = create_scorer("baseline", **settings)
    scorer.build(LAYOUT)
    scorer.fit(stream, FitContext())
    return scorer.eval()


def pooled(stream):
    features = stream.all_features()
    return [features.maps[name].mean(dim=(2, 3)).double().numpy() for name in ("a", "b")]


def by_hand(method, train, test):
    total = 0.0
    for good, new in zip(train, test, strict=True):
        if method == "svm":
            model = OneClassSVM(kernel="rbf", gamma="scale").fit(good)
            total = total - model.decision_function(new)
            continue
        scale = 1 / good.std(axis=0) if method == "standardised" else 1.0
        total = total + np.linalg.norm((new - good.mean(axis=0)) * scale, axis=1)
    return total


@pytest.mark.parametrize("method", METHODS)
def test_scores_are_the_papers(method):
    train, test = MadeStream(LAYOUT, 30), MadeStream(LAYOUT, 8, seed=4)
    with torch.no_grad():
        found = fitted(train, method=method)(test.all_features())
    expected = by_hand(method, pooled(train), pooled(test))
    np.testing.assert_allclose(found.image.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert found.map.shape == (8, 1, 1)


@pytest.mark.parametrize("method", METHODS)
def test_held_out_scores_are_those_of_refits(method):
    stream, folds = MadeStream(LAYOUT, 15), np.arange(15) % 3
    scorer = create_scorer("baseline", method=method)
    scorer.build(LAYOUT)
    held_out = scorer.cross_fit(stream, folds, FitContext())
    for fold in range(3):
        inside = np.flatnonzero(folds == fold)
        refit = fitted(stream.subset(np.flatnonzero(folds != fold)), method=method)
        expected = refit(stream.subset(inside).all_features()).image
        np.testing.assert_allclose(held_out.image[inside], expected.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_learning_on_equals_learning_at_once(method):
    stream = MadeStream(LAYOUT, 12)
    scorer = fitted(stream.subset(range(7)), method=method)
    scorer.partial_fit(stream.subset(range(7, 12)), FitContext())
    test = MadeStream(LAYOUT, 4, seed=3).all_features()
    torch.testing.assert_close(scorer(test).image, fitted(stream, method=method)(test).image)


@pytest.mark.parametrize("method", METHODS)
def test_files_and_edge_give_the_same_scores(method, good_frames, scratched, tmp_path):
    detector = Detector("baseline", backbone="filters", image_size=64, method=method)
    detector.fit(good_frames).export(tmp_path / "part.onnx")
    edge = EdgeModel(tmp_path / "part.onnx")
    again = Detector.load(detector.save(tmp_path / "part.safetensors"))
    for frame in scratched:
        expected = detector.predict(frame).score
        assert again.predict(frame).score == expected
        assert edge.predict(frame).score == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("settings", [{"method": "cosine"}, {"nu": 0.0}, {"nu": 1.5}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(SettingsError, match=r"method|nu"):
        create_scorer("baseline", **settings)


@pytest.mark.parametrize("method", METHODS)
def test_photographs_without_variation_are_refused(method):
    class Same(MadeStream):
        def features(self, index):
            return super().features(0)

    with pytest.raises(FitError, match="identical to the network"):
        fitted(Same(LAYOUT, 5), method=method)
