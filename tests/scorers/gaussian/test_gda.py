"""GDA against a plain reference: product means, one covariance."""

import numpy as np
import pytest
import torch
from scorer_references import MadeStream, layout_of
from sklearn.covariance import ledoit_wolf

from anomalib_lite.backbones import Features
from anomalib_lite.detector.out_of_fold import assign_folds, score_stream
from anomalib_lite.edge import FitError, SettingsError
from anomalib_lite.scorers import CrossFit, FitContext, Groups, create_scorer

LAYERS = [("a", 5, 8), ("b", 7, 16)]
NAMES = ["nut", "bolt", "ring"]
IMAGES = 36
PRODUCT_OF = np.arange(IMAGES) % 3
CONTEXT = FitContext(seed=0)


class Products(MadeStream):
    """Image i shows product i % 3, whose channels are shifted."""

    def features(self, index):
        plain = super().features(index)
        shift = {0: 0.0, 1: 2.0, 2: -3.0}[int(index) % 3]
        maps = {
            name: each + shift * torch.linspace(-1, 2, each.shape[1])[:, None, None]
            for name, each in plain.maps.items()
        }
        return Features(plain.pixels, maps)

    def subset(self, indices):
        return Products(
            self.layout,
            self.images,
            seed=self.seed,
            batch=self.batch,
            indices=indices,
            labels=self.labels,
        )


def stream_of(images=IMAGES, labels=PRODUCT_OF, **options):
    return Products(layout_of((32, 48), LAYERS), images, labels=labels, **options)


def fitted(stream, products=NAMES):
    scorer = create_scorer("gda", products=products)
    scorer.build(stream.layout)
    scorer.fit(stream, CONTEXT)
    return scorer


def pooled(stream):
    features = stream.all_features()
    return [features.maps[name].double().mean(dim=(2, 3)).numpy() for name, _, _ in LAYERS]


def distances(train, product_of, new):
    """Sum over layers of the Mahalanobis distance to each product mean `(N, P)`."""
    total = 0
    for good, rows in zip(train, new, strict=True):
        means = np.stack([good[product_of == place].mean(axis=0) for place in range(3)])
        precision = np.linalg.inv(ledoit_wolf(good - means[product_of], assume_centered=True)[0])
        away = rows[:, None] - means
        total = total + np.sqrt(np.einsum("npi,ij,npj->np", away, precision, away))
    return total


def reference(train, product_of, new):
    """Distances in units of the median distance of images left out in turn."""
    fold_of = np.zeros(len(product_of), int)
    for place in range(3):
        inside = np.flatnonzero(product_of == place)
        fold_of[inside] = np.arange(len(inside)) % 5
    own = np.zeros(len(product_of))
    for fold in range(5):
        inside = fold_of == fold
        rest = [layer[~inside] for layer in train]
        found = distances(rest, product_of[~inside], [layer[inside] for layer in train])
        own[inside] = found[np.arange(inside.sum()), product_of[inside]]
    usual = [np.sort(own[product_of == p])[(np.sum(product_of == p) - 1) // 2] for p in range(3)]
    return distances(train, product_of, new) / np.array(usual)


def test_scores_are_those_of_the_formula():
    scorer = fitted(stream_of())
    assert scorer.groups() == Groups("product_scores", tuple(NAMES))
    assert scorer.can(CrossFit)
    new = stream_of(9, seed=4)
    found = scorer(new.all_features()).extra["product_scores"].numpy()
    expected = reference(pooled(stream_of()), PRODUCT_OF, pooled(new))
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_score_is_that_of_the_nearest_product_and_says_no_place():
    scorer = fitted(stream_of())
    features = stream_of(9, seed=4).all_features()
    scores = scorer(features)
    by_product = scores.extra["product_scores"]
    assert torch.equal(scores.image, by_product.amin(dim=1))
    assert scores.map.shape == (9, 1, 1)
    assert not scorer.localises
    assert by_product.argmin(dim=1).tolist() == [0, 1, 2] * 3


def test_a_good_image_of_any_product_scores_about_one():
    scorer = fitted(stream_of())
    by_product = scorer(stream_of(30, seed=9).all_features()).extra["product_scores"]
    own = by_product.gather(1, torch.arange(30)[:, None] % 3)[:, 0]
    for place in range(3):
        assert float(own[place::3].median()) == pytest.approx(1, abs=0.25)


def test_one_product_is_mvg_in_other_units():
    scorer = fitted(stream_of(labels=None), products=None)
    mvg = create_scorer("mvg")
    mvg.build(stream_of().layout)
    mvg.fit(stream_of(), FitContext())
    features = stream_of(9, seed=4).all_features()
    ratio = mvg(features).image / scorer(features).image
    torch.testing.assert_close(ratio, scorer.usual_.expand(9), rtol=1e-4, atol=0)


def test_held_out_scores_are_those_of_refits_without_the_fold():
    folds = assign_folds(IMAGES, 4, 1)
    scorer = create_scorer("gda", products=NAMES)
    scorer.build(stream_of().layout)
    held_out = scorer.cross_fit(stream_of(), folds, CONTEXT)
    for fold in range(4):
        refit = fitted(stream_of().subset(np.flatnonzero(folds != fold)))
        inside = np.flatnonzero(folds == fold)
        left = score_stream(refit, stream_of().subset(inside))
        assert held_out.image[inside] == pytest.approx(left.image, rel=1e-5)
        found = held_out.extra["product_scores"][inside]
        assert found == pytest.approx(left.extra["product_scores"], rel=1e-5)
    whole = fitted(stream_of())
    for name, value in whole.state_dict().items():
        assert torch.equal(value, scorer.state_dict()[name])


def test_a_product_with_too_few_images_is_named():
    products = PRODUCT_OF.copy()
    products[products == 1] = 0
    products[[4, 8]] = 1
    with pytest.raises(FitError, match=r"2 usable good image\(s\) of bolt; give at least 3"):
        fitted(stream_of(labels=products))


def test_images_without_a_product_are_refused():
    with pytest.raises(FitError, match="needs the product of each image"):
        fitted(stream_of(labels=None))


@pytest.mark.parametrize("products", [[], "nut", ["nut", "nut"]])
def test_names_that_are_none_are_refused(products):
    with pytest.raises(SettingsError, match="products"):
        create_scorer("gda", products=products)
