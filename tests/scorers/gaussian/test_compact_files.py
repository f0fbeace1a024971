"""The compact form in files: small, the same scores everywhere, weights in half precision."""

import numpy as np
import onnx
import pytest
import torch

from anomalib_lite import Detector
from anomalib_lite.edge.model import EdgeModel

LARGE = 1024


@pytest.fixture(scope="module")
def compact(good_frames):
    settings = {"num_features": 48, "layers": ["layer1", "layer2"], "weights": "random"}
    return Detector("padim", backbone="resnet18", image_size=64, compact=1, **settings).fit(
        good_frames
    )


@pytest.fixture(scope="module")
def files(compact, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compact")
    saved, exported = folder / "part.safetensors", folder / "part.onnx"
    compact.save(saved)
    compact.export(exported)
    return saved, exported


def test_every_copy_of_the_model_gives_the_same_scores(compact, files, scratched):
    loaded, edge = Detector.load(files[0]), EdgeModel(files[1])
    for frame in scratched:
        expected = compact.predict(frame)
        assert loaded.predict(frame).score == expected.score
        assert edge.predict(frame).score == pytest.approx(expected.score, rel=1e-4)


def test_weights_of_the_backbone_are_what_half_precision_holds(compact):
    for weight in compact.backbone.parameters():
        if weight.ndim > 1:
            assert torch.equal(weight.half().float(), weight)


def test_the_edge_file_holds_no_large_weight_in_single_precision(files):
    model = onnx.load(files[1])
    single = [
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) >= LARGE
    ]
    assert single == []
    stored = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    weights = sum(weight.numel() for weight in Detector.load(files[0]).backbone.parameters())
    assert stored > weights  # about two bytes each, the scorer beside
    assert stored < 4 * weights


def test_the_exact_form_keeps_its_weights():
    settings = {"num_features": 48, "layers": ["layer1", "layer2"], "weights": "random"}
    exact = Detector("padim", backbone="resnet18", image_size=64, **settings)
    rounded = Detector("padim", backbone="resnet18", image_size=64, compact=1, **settings)
    pairs = zip(exact.backbone.parameters(), rounded.backbone.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)


def test_exporting_twice_gives_the_same_bytes(compact, files, tmp_path):
    compact.export(tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == files[1].read_bytes()
