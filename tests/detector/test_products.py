"""One detector for several products: fit, thresholds, files, the edge."""

import numpy as np
import pytest

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.data.parts import render
from anomalib_lite.detector.products import ProductSource
from anomalib_lite.edge import SettingsError, SourceError
from anomalib_lite.edge.engines import open_engine
from anomalib_lite.edge.prepare import prepare
from anomalib_lite.edge.products import StatedProduct

KINDS = ("flange", "weave")
GOOD = 14


def frames(kind, count, first=0, **options):
    return [
        render(kind, seed=2, index=first + index, size=96, **options).image
        for index in range(count)
    ]


@pytest.fixture(scope="module")
def source():
    return ProductSource({kind: frames(kind, GOOD) for kind in KINDS})


@pytest.fixture(scope="module")
def joint(source):
    """A fitted detector of two products; do not change it."""
    return Detector("gda", products=KINDS, image_size=64, max_false_reject=0.1).fit(source)


@pytest.fixture(scope="module")
def edge(joint, tmp_path_factory):
    path = tmp_path_factory.mktemp("joint") / "joint.onnx"
    joint.export(path)
    return EdgeModel(path)


@pytest.fixture(scope="module")
def prepared(joint):
    """New good images, three of each product."""
    new = [frame for kind in KINDS for frame in frames(kind, 3, first=50)]
    return np.stack([prepare(frame, joint.spec) for frame in new])


def by_product(model, prepared):
    """Score as each product `(N, P)`."""
    return model.run(prepared).extra["product_scores"]


def test_new_images_are_recognised(joint, prepared):
    assert by_product(joint, prepared).argmin(axis=1).tolist() == [0, 0, 0, 1, 1, 1]


def test_each_product_has_a_threshold_from_its_own_images(joint):
    calibration = joint.calibration
    assert list(calibration.groups) == list(KINDS)
    assert len(calibration.scores) == 2 * GOOD
    for kind in KINDS:
        own = calibration.for_group(kind)
        assert len(own.scores) == GOOD
        assert own.operating.samples == GOOD
        assert own.threshold == own.scores[-1]
        assert own.method == f"out-of-fold, 5 folds; product {kind}"
    smallest = sorted(np.concatenate([calibration.groups[kind] for kind in KINDS]))
    assert all(score <= own for score, own in zip(calibration.scores, smallest, strict=True))


def test_a_held_out_share_gives_thresholds_per_product_too(source):
    detector = Detector("gda", products=KINDS, image_size=64, calibration="holdout").fit(source)
    counts = [len(scores) for scores in detector.calibration.groups.values()]
    assert sum(counts) == len(detector.calibration.scores) == round(0.2 * 2 * GOOD)


def test_the_edge_file_gives_the_same_product_scores(joint, edge, prepared):
    assert edge.calibration == joint.calibration
    expected = by_product(joint, prepared)
    assert by_product(edge, prepared) == pytest.approx(expected, rel=1e-4)
    assert edge.run(prepared)[0] == pytest.approx(expected.min(axis=1), rel=1e-4)


def test_openvino_gives_them_as_well(edge, prepared):
    pytest.importorskip("openvino")
    engine = open_engine(edge.path, "openvino", threads=1)
    assert by_product(engine, prepared) == pytest.approx(by_product(edge, prepared), rel=1e-3)


def test_a_stated_product_is_judged_by_its_own_score_and_threshold(joint, edge):
    frame = frames("weave", 1, first=50)[0]
    for model in (joint, edge):
        right, wrong = (StatedProduct(model, kind).predict(frame) for kind in ("weave", "flange"))
        column = by_product(model, prepare(frame, model.spec)[None])[0]
        assert (wrong.score, right.score) == pytest.approx(tuple(column))
        assert right.p_value == model.calibration.for_group("weave").p_value(right.score)
        assert wrong.is_anomalous
        assert wrong.regions == ()


def test_a_saved_detector_knows_its_products(joint, prepared, tmp_path):
    loaded = Detector.load(joint.save(tmp_path / "x.safetensors"))
    assert loaded.scorer.groups().names == KINDS
    assert loaded.calibration == joint.calibration
    assert np.array_equal(by_product(loaded, prepared), by_product(joint, prepared))
    assert list(loaded.recalibrate(0.2).calibration.groups) == list(KINDS)


def test_the_source_gives_one_product_after_the_other(source):
    assert len(source) == 2 * GOOD
    assert source.product_indices().tolist() == [0] * GOOD + [1] * GOOD
    assert len(list(source.jobs())) == 2 * GOOD


def test_what_does_not_fit_is_one_line(edge, mvg, source):
    with pytest.raises(SettingsError, match="not one that the model knows: flange, weave"):
        StatedProduct(edge, "nut")
    with pytest.raises(SettingsError, match="fitted on a single one"):
        StatedProduct(mvg, "nut")
    with pytest.raises(SettingsError, match=r"mvg knows one product only; these know several: gda"):
        Detector("mvg", image_size=64).fit(source)
    with pytest.raises(SettingsError, match="was made for bolt"):
        Detector("gda", products=["bolt"], image_size=64).fit(source)
    with pytest.raises(SourceError, match="no product is given"):
        ProductSource({})
