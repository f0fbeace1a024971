"""scikit-learn's own checks of estimators, as far as images allow.

They feed tables. Those about parameters and tags run on the estimator itself; those that fit run on
a subclass that draws each row of a table as a small picture and is the estimator in all else.
"""

import numpy as np
import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import validate_data

from anomalib_lite import AnomalyEstimator

SIDE = 16


class RowsAsImages(AnomalyEstimator):
    """Draws rows `(N, features)` as pictures `(N, 16, 16)` between black and white."""

    def __init__(self, max_false_reject=0.4, seed=0):
        super().__init__(
            "mvg",
            backbone="filters",
            image_size=SIDE,
            max_false_reject=max_false_reject,
            seed=seed,
            value_range=(-1, 1),
        )

    def fit(self, X, y=None):
        del y  # the labels of the checks are any numbers
        return super().fit(draw(validate_data(self, X, ensure_min_samples=2)))

    def score_samples(self, X):
        self._fitted()
        return super().score_samples(draw(validate_data(self, X, reset=False)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


def draw(table):
    rows = np.sin(np.asarray(table, np.float64))
    return np.stack([np.resize(row, (SIDE, SIDE)) for row in rows])


ABOUT_PARAMETERS = (
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_mixin_order",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
)

LEFT_OUT = {
    "check_sample_weights_*, check_all_zero_sample_weights_error": "weights are shares in [0, 1], "
    "the checks give any numbers; hence `fit` of the subclass takes none",
    "check_supervised_*": "for classifiers and regressors",
}
"""Checks that do not apply, with the reason."""

CHECKS = list(estimator_checks_generator(RowsAsImages()))


def name_of(check):
    return estimator_checks._check_name(check)


@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=[name_of(item) for _, item in CHECKS])
def test_pictures_of_rows_pass_every_check_of_scikit_learn(estimator, check):
    check(estimator)


def test_the_checks_are_those_of_an_outlier_detector():
    names = {name_of(check) for _, check in CHECKS}
    assert len(names) >= 40
    assert {"check_outliers_train", "check_outliers_fit_predict", "check_fit_idempotent"} <= names
    assert {"check_methods_sample_order_invariance", "check_estimators_pickle"} <= names


@pytest.mark.parametrize("name", ABOUT_PARAMETERS)
def test_the_estimator_itself_passes_the_checks_of_parameters(name):
    check = getattr(estimator_checks, name, None)
    if check is None:
        check = getattr(estimator_checks, f"{name}s")
    check("AnomalyEstimator", AnomalyEstimator())
