"""One covariance for all places in files: stored once, the same scores everywhere."""

import numpy as np
import onnx
import pytest

from anomalib_lite import Detector
from anomalib_lite.edge.model import EdgeModel

AMOUNTS = (None, 0.5, 1.0, "auto")


@pytest.fixture(scope="module")
def files(good_frames, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shrinkage")
    found = {}
    for amount in AMOUNTS:
        detector = Detector("padim", image_size=64, shrinkage=amount).fit(good_frames)
        saved = folder / f"{amount}.safetensors"
        exported = folder / f"{amount}.onnx"
        detector.save(saved)
        detector.export(exported)
        found[amount] = detector, saved, exported
    return found


@pytest.mark.parametrize("amount", AMOUNTS)
def test_every_copy_of_the_model_gives_the_same_scores(amount, files, scratched):
    detector, saved, exported = files[amount]
    loaded, edge = Detector.load(saved), EdgeModel(exported)
    assert loaded.scorer.settings() == detector.scorer.settings()
    for frame in scratched:
        expected = detector.predict(frame).score
        assert loaded.predict(frame).score == expected
        assert edge.predict(frame).score == pytest.approx(expected, rel=1e-4)


def test_a_loaded_detector_learns_on_and_forgets_alike(files, good_frames, scratched):
    for amount in (1.0, "auto"):
        detector = Detector.load(files[amount][1])
        before = detector.predict(scratched[0]).score
        detector.partial_fit(good_frames[:4])
        assert detector.predict(scratched[0]).score != before
        detector.forget(good_frames[:4])
        assert detector.predict(scratched[0]).score == pytest.approx(before, rel=1e-4)


def test_the_shared_factors_stand_once_in_the_edge_file(files):
    def numbers(amount):
        model = onnx.load(files[amount][2])
        sizes = [int(np.prod(tensor.dims)) for tensor in model.graph.initializer]
        constants = [
            int(np.prod(attribute.t.dims))
            for node in model.graph.node
            for attribute in node.attribute
            if attribute.HasField("t")
        ]
        return sum(sizes) + sum(constants)

    detector = files[1.0][0]
    backbone = sum(weight.numel() for weight in detector.backbone.parameters())
    means = sum(size * nodes for nodes, size in detector.scorer._node_shapes())
    spared = numbers(None) - numbers(1.0)
    assert spared > 20 * means
    assert numbers(1.0) < backbone + means + 100 * 100 + 64 * 64 * 6
    assert numbers(0.5) == numbers(None)


def test_the_detector_file_holds_products_once(files):
    sizes = {amount: files[amount][1].stat().st_size for amount in AMOUNTS}
    weights = sum(weight.nbytes for weight in files[None][0].backbone.parameters())
    assert sizes[None] - weights > 8 * (sizes[1.0] - weights)
    assert sizes["auto"] > sizes[1.0]
