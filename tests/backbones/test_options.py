"""Options of backbones, and the backbone that is none."""

import numpy as np
import pytest
import torch

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.backbones import Backbone, LayerInfo, create_backbone, register_backbone
from anomalib_lite.edge import SettingsError

SIDE = 32
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.25, 0.5)}


def good_frames(images=12):
    noise = np.random.default_rng(0).integers(0, 60, (images, SIDE, SIDE, 3))
    return list((noise + np.array([40, 90, 150])).astype(np.uint8))


def test_pixels_are_the_frame_on_the_scale_0_to_1():
    backbone = create_backbone("pixels")
    frames = torch.tensor([0, 51, 255], dtype=torch.uint8).repeat(1, 2, 4, 1)
    features = backbone(backbone.normalise(frames))
    assert list(features.maps) == ["pixels"]
    assert features.maps["pixels"] is features.pixels
    torch.testing.assert_close(features.pixels[0, :, 0, 0], torch.tensor([0, 0.2, 1]))
    assert backbone.layer_infos((5, 7)) == (LayerInfo("pixels", 3, 1, (5, 7)),)
    assert sum(item.numel() for item in backbone.parameters()) == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [({"layers": ["octave1"]}, "its only one is pixels"), ({"weights": "w.pt"}, "no weights")],
)
def test_pixels_have_one_layer_and_no_weights(given, message):
    with pytest.raises(SettingsError, match=message):
        create_backbone("pixels", **given)


@pytest.mark.parametrize("name", ["pixels", "filters", "pdn_edge", "resnet18"])
def test_any_backbone_takes_another_normalisation(name):
    backbone = create_backbone(name, weights="random", input_hw=(SIDE, SIDE), options=HALF)
    white = backbone.normalise(torch.full((1, 2, 2, 3), 255, dtype=torch.uint8))[0, :, 0, 0]
    torch.testing.assert_close(white, torch.tensor([1.0, 2.0, 1.0]))
    assert backbone.settings()["options"] == {key: list(value) for key, value in HALF.items()}
    assert "options" not in create_backbone(name, weights="random").settings()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 3}, "filters takes no option 'window'; choose from mean, std"),
        ({"mean": 0.5}, "three numbers on the scale 0 to 1"),
        ({"mean": (0.5, float("nan"), 0.5)}, "three numbers"),
        ({"mean": "abc"}, "three numbers"),
        ({"std": (0.5, 0, 0.5)}, "above 0"),
    ],
)
def test_options_that_are_none_are_one_line(options, message):
    with pytest.raises(SettingsError, match=message):
        create_backbone("filters", options=options)


def test_an_option_that_a_backbone_declares_reaches_it(monkeypatch):
    class Bright(Backbone):
        def __init__(self, *, layers=None, weights=None, input_hw=(1, 1), gain=1.0):
            super().__init__((0, 0, 0), (1, 1, 1))
            self.name, self.layer_names, self.gain = "bright", ["all"], gain

        def layer_infos(self, input_hw):
            return (LayerInfo("all", 3, 1, input_hw),)

        def extract(self, pixels):
            return {"all": pixels * self.gain}

    monkeypatch.setitem(register_backbone.known, "bright", Bright)
    backbone = create_backbone("bright", options={"gain": 3.0, "mean": (1, 1, 1)})
    black = backbone(backbone.normalise(torch.zeros(1, 1, 1, 3, dtype=torch.uint8)))
    assert black.maps["all"].unique().tolist() == [-3.0]
    assert backbone.settings()["options"] == {"gain": 3.0, "mean": [1.0, 1.0, 1.0]}
    with pytest.raises(SettingsError, match="choose from mean, std, gain"):
        create_backbone("bright", options={"gian": 3.0})


@pytest.mark.parametrize("name", ["pixels", "filters"])
def test_detector_and_edge_files_keep_the_normalisation(name, tmp_path):
    frames = good_frames()
    made = Detector("mvg", backbone=name, image_size=SIDE, backbone_options=HALF).fit(frames)
    loaded = Detector.load(made.save(tmp_path / "d.safetensors"))
    assert loaded.backbone.settings() == made.backbone.settings()
    assert loaded.save(tmp_path / "e.safetensors").read_bytes() == (
        (tmp_path / "d.safetensors").read_bytes()
    )
    loaded.export(tmp_path / "d.onnx")
    edge = EdgeModel(tmp_path / "d.onnx")
    plain = Detector("mvg", backbone=name, image_size=SIDE).fit(frames)
    for frame in (frames[0], 255 - frames[0]):
        score = made.predict(frame).score
        assert loaded.predict(frame).score == score
        assert edge.predict(frame).score == pytest.approx(score, rel=1e-3)
    if name == "filters":  # distances of an affine map of the pixels are what they were
        assert plain.predict(255 - frames[0]).score != pytest.approx(score, rel=1e-3)
