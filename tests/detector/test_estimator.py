"""scikit-learn's tools hold a detector: signs, labels, pipelines, cross-validation, searches."""

import inspect

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from anomalib_lite import AnomalyEstimator, Detector, InputSpec
from anomalib_lite.edge.errors import AnomalibLiteError, FitError, FrameError, SettingsError

SETTINGS = {"num_features": 16}


def estimator(**parameters):
    return AnomalyEstimator(
        "padim", **{"backbone": "filters", "image_size": 64, "settings": SETTINGS, **parameters}
    )


@pytest.fixture(scope="module")
def images(good_frames, scratched):
    return np.stack([*good_frames, *scratched])


@pytest.fixture(scope="module")
def labels():
    return np.array([1] * 12 + [-1] * 3)


def test_signs_are_those_of_scikit_learn_and_figures_those_of_the_detector(padim, images, labels):
    fitted = estimator().fit(images[:12])
    found = padim.predict(images)
    raw = np.array([item.score for item in found])
    np.testing.assert_array_equal(fitted.score_samples(images), -raw)
    np.testing.assert_array_equal(fitted.decision_function(images), padim.threshold - raw)
    np.testing.assert_array_equal(
        fitted.predict(images) == -1, [item.is_anomalous for item in found]
    )
    assert fitted.predict(images).dtype.kind == "i"
    assert fitted.offset_ == -padim.threshold
    assert fitted.score_samples(images[:12]).min() > fitted.score_samples(images[12:]).max()
    assert fitted.predict(images[:12]).tolist() == [1] * 12
    np.testing.assert_array_equal(estimator().fit_predict(images[:12]), np.ones(12))


def test_a_score_at_the_threshold_is_good(padim, images):
    fitted = AnomalyEstimator.from_detector(padim)
    fitted.offset_ = fitted.score_samples(images[:1])[0]
    assert fitted.predict(images[:1]).tolist() == [1]


def test_images_labelled_anomalous_are_not_learnt(images, labels):
    order = np.random.default_rng(0).permutation(15)
    mixed = estimator().fit(images[order], labels[order])
    alone = estimator().fit(images[order][labels[order] == 1])
    np.testing.assert_array_equal(mixed.score_samples(images), alone.score_samples(images))
    assert mixed.detector_.data.images == 12


def test_sample_weight_goes_with_its_image(images, labels):
    weight = np.linspace(0.1, 1, 15)
    order = np.arange(15)[::-1]
    mixed = estimator().fit(images[order], labels[order], sample_weight=weight[order])
    records = mixed.detector_.data.records
    assert [record.sample_weight for record in records] == weight[:12][::-1].tolist()


def test_cross_validation_fits_on_good_images_and_ranks_defects(images, labels):
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    found = cross_val_score(estimator(), images, labels, scoring="roc_auc", cv=folds)
    expected = []
    for train, test in folds.split(images, labels):
        good = [images[index] for index in train if labels[index] == 1]
        detector = Detector("padim", backbone="filters", image_size=64, **SETTINGS).fit(good)
        raw = [item.score for item in detector.predict([images[index] for index in test])]
        expected.append(roc_auc_score(labels[test] == -1, raw))
    assert found.tolist() == expected
    shares = cross_val_score(estimator(), images, labels, scoring="accuracy", cv=folds)
    assert (shares > 0.5).all()


def test_a_pipeline_prepares_for_it(images, labels):
    halved = make_pipeline(
        FunctionTransformer(lambda frames: frames / 255.0), estimator(value_range=(0, 1))
    )
    halved.fit(images, labels)
    plain = estimator().fit(images, labels)
    np.testing.assert_array_equal(halved.predict(images), plain.predict(images))
    np.testing.assert_array_equal(halved.score_samples(images), plain.score_samples(images))


def test_a_search_goes_through_settings_and_backbones(images, labels):
    search = GridSearchCV(
        estimator(),
        {"settings": [{"num_features": 4}, {"num_features": 16}], "image_size": [32, 64]},
        scoring="roc_auc",
        cv=StratifiedKFold(2, shuffle=True, random_state=0),
    ).fit(images, labels)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ == search.cv_results_["mean_test_score"].max() > 0.5
    assert search.predict(images).shape == (15,)


def test_clones_are_unfitted_and_have_the_same_parameters(images):
    spec = InputSpec(64, 64)
    fitted = estimator(image_size=spec, seed=np.int64(3), layers=("octave2",)).fit(images[:12])
    copied = clone(fitted)
    assert not hasattr(copied, "detector_")
    assert copied.get_params().keys() == fitted.get_params().keys()
    assert copied.get_params()["settings"] == SETTINGS
    assert "padim" in repr(copied)
    copied.set_params(detector="mvg", settings=None, seed=1).fit(images[:12])
    assert copied.detector_.scorer.name == "mvg"


@pytest.mark.parametrize("kind", ["grey", "one channel", "rgba", "list", "files", "sixteen bits"])
def test_images_of_every_kind_are_learnt(kind, good_frames, good_folder):
    stacked = np.stack(good_frames)
    given = {
        "grey": stacked[..., 0],
        "one channel": stacked[..., :1],
        "rgba": np.concatenate([stacked, np.full((12, 96, 96, 1), 255, np.uint8)], axis=3),
        "list": list(good_frames),
        "files": sorted(map(str, good_folder.iterdir())),
        "sixteen bits": stacked.astype(np.uint16) * 257,
    }[kind]
    spec = InputSpec(64, 64, bit_depth=16 if kind == "sixteen bits" else 8)
    fitted = estimator(image_size=spec).fit(given)
    assert fitted.predict(given).tolist() == [1] * 12


def test_a_detector_that_is_fitted_already_is_held(padim, padim_files, images, tmp_path):
    held = AnomalyEstimator.from_detector(Detector.load(padim_files[0]))
    np.testing.assert_array_equal(
        held.score_samples(images), [-item.score for item in padim.predict(images)]
    )
    again = clone(held).fit(images[:12])
    np.testing.assert_array_equal(again.score_samples(images), held.score_samples(images))
    again.detector_.save(tmp_path / "x.safetensors")
    with pytest.raises(FitError, match="not fitted yet"):
        AnomalyEstimator.from_detector(Detector("padim", image_size=64))


def test_it_takes_what_a_detector_takes():
    ours = inspect.signature(AnomalyEstimator.__init__).parameters
    theirs = inspect.signature(Detector.__init__).parameters
    assert set(theirs) - set(ours) == set()


def test_options_of_the_backbone_go_along(images, tmp_path):
    options = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    fitted = estimator(backbone_options=options, device="cpu").fit(images[:12])
    assert fitted.detector_.backbone.settings()["options"] == options
    loaded = Detector.load(fitted.detector_.save(tmp_path / "x.safetensors"))
    held = AnomalyEstimator.from_detector(loaded)
    assert held.get_params()["backbone_options"] == options
    again = clone(held).fit(images[:12])
    np.testing.assert_array_equal(again.score_samples(images), fitted.score_samples(images))
    plain = estimator().fit(images[:12])
    assert not np.array_equal(plain.score_samples(images), fitted.score_samples(images))


@pytest.mark.parametrize("use", ["predict", "score_samples", "decision_function"])
def test_before_fit_it_is_the_error_of_both_libraries(use, images):
    with pytest.raises(NotFittedError, match="not fitted yet; call fit") as caught:
        getattr(estimator(), use)(images)
    assert isinstance(caught.value, FitError)


@pytest.mark.parametrize(
    ("given", "y", "message"),
    [
        (np.zeros((4, 9)), None, r"expected images .* got an array \(4, 9\); reshape it"),
        (np.zeros(4), None, r"got an array \(4,\)"),
        ([[1, 2], [3, 4]], None, "a list of frames, got list"),
        ("folder", None, "a list of frames, got str"),
        (None, None, "a list of frames, got NoneType"),
        (np.zeros((4, 8, 8), np.uint8), [1, 1], r"y has shape \(2,\), expected one label for 4"),
        (np.zeros((2, 8, 8), np.uint8), [0, 1], "y holds 0; labels are 1 .good, learnt. and -1"),
        (np.zeros((2, 8, 8), np.uint8), ["good", "bad"], "y holds bad; labels are 1"),
    ],
)
def test_what_cannot_be_images_or_labels_is_one_line(given, y, message):
    with pytest.raises(ValueError, match=message) as caught:
        estimator().fit(given, y)
    assert isinstance(caught.value, FrameError)
    assert "\n" not in str(caught.value)


def test_an_unusable_image_is_named_and_not_left_out(images):
    given = [*images[:5], np.zeros((5, 5, 2), np.uint8)]
    with pytest.raises(ValueError, match=r"^arrays#000005: frame has shape \(5, 5, 2\)"):
        estimator().fit(given)
    fitted = estimator().fit(images[:12])
    with pytest.raises(ValueError, match=r"^arrays#000005: frame has shape \(5, 5, 2\)"):
        fitted.predict(given)
    with pytest.raises(AnomalibLiteError, match=r"value_range=\(0, 1\)"):
        estimator().fit(images[:12] / 255)


def test_wrong_parameters_are_refused_by_fit(images):
    for wrong in ({"image_size": 8}, {"settings": {"bogus": 1}}, {"layers": ["octave9"]}):
        with pytest.raises(SettingsError):
            estimator(**wrong).fit(images)
