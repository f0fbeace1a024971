"""timm networks as backbones: shapes as data, layers by name."""

import pytest
import torch

from anomalib_lite.backbones import create_backbone
from anomalib_lite.edge import SettingsError

DEFAULTS = {
    "resnet18": {"layer1": (64, 4), "layer2": (128, 8), "layer3": (256, 16)},
    "mobilenetv2_100": {"blocks.1": (24, 4), "blocks.2": (32, 8), "blocks.4": (96, 16)},
    "vit_tiny_patch16_224": {
        "blocks.2": (192, 16),
        "blocks.5": (192, 16),
        "blocks.8": (192, 16),
        "blocks.11": (192, 16),
    },
    "swin_tiny_patch4_window7_224": {
        "layers_0": (96, 4),
        "layers_1": (192, 8),
        "layers_2": (384, 16),
    },
}


@pytest.mark.parametrize("size_hw", [(64, 96), (100, 72)])
@pytest.mark.parametrize("name", DEFAULTS)
def test_maps_are_as_the_layout_says(name, size_hw):
    if name.startswith("vit"):
        size_hw = (size_hw[0] // 16 * 16, size_hw[1] // 16 * 16)
    backbone = create_backbone(name, weights="random", input_hw=size_hw)
    infos = backbone.layout(size_hw).layers
    assert len(infos) == len(DEFAULTS[name])
    assert [(info.channels, info.stride) for info in infos] == list(DEFAULTS[name].values())
    if not name.startswith("swin"):
        assert [info.name for info in infos] == list(DEFAULTS[name])
    with torch.no_grad():
        maps = backbone(torch.rand(2, 3, *size_hw)).maps
    assert list(maps) == [info.name for info in infos]
    for info in infos:
        assert maps[info.name].shape == (2, info.channels, *info.grid_hw)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_random_weights_are_the_same_every_time(name):
    before = torch.get_rng_state()
    first, second = (
        create_backbone(name, weights="random", input_hw=(32, 32)).state_dict() for _ in range(2)
    )
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert torch.equal(torch.get_rng_state(), before)


def test_layers_by_name_in_network_order_and_nothing_deeper_is_built():
    backbone = create_backbone(
        "resnet18", layers=["layer2", "layer1"], weights="random", input_hw=(64, 64)
    )
    assert list(backbone(torch.rand(1, 3, 64, 64)).maps) == ["layer1", "layer2"]
    assert not any(key.startswith(("net.layer3", "net.fc")) for key in backbone.state_dict())
    assert backbone.settings() == {"name": "resnet18", "layers": ["layer1", "layer2"]}


def test_a_backbone_is_frozen_and_in_evaluation_mode():
    backbone = create_backbone("resnet18", weights="random", input_hw=(64, 64))
    assert not backbone.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize(
    ("name", "width"), [("vit_tiny_patch16_224", 192), ("vit_small_patch14_dinov2", 384)]
)
def test_the_class_token_is_a_map_of_one_cell_after_the_final_norm(name, width):
    layers = ["blocks.2", "class_token"]
    backbone = create_backbone(name, layers=layers, weights="random", input_hw=(112, 112))
    assert backbone.has_class_token
    assert backbone.settings()["layers"] == layers
    info = backbone.layout((112, 112)).layers[-1]
    assert (info.name, info.channels, info.grid_hw) == ("class_token", width, (1, 1))
    pixels = torch.rand(2, 3, 112, 112)
    with torch.no_grad():
        maps = backbone(pixels).maps
        whole = backbone.net.model.forward_features(pixels)
        plain = create_backbone(name, layers=["blocks.2"], weights="random", input_hw=(112, 112))
        torch.testing.assert_close(plain(pixels).maps["blocks.2"], maps["blocks.2"])
    assert list(maps) == layers
    torch.testing.assert_close(maps["class_token"][:, :, 0, 0], whole[:, 0])


def test_the_class_token_of_clip_is_projected():
    backbone = create_backbone(
        "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m",
        layers=["class_token"],
        weights="random",
        input_hw=(64, 64),
    )
    info = backbone.layout((64, 64)).layers[-1]
    with torch.no_grad():
        token = backbone(torch.rand(1, 3, 64, 64)).maps["class_token"]
    assert token.shape == (1, info.channels, 1, 1)
    assert info.channels == backbone.net.model.head.out_features != 256


def test_a_network_without_a_class_token_says_so():
    backbone = create_backbone("resnet18", weights="random", input_hw=(32, 32))
    assert not backbone.has_class_token
    with pytest.raises(SettingsError, match="has no class token"):
        create_backbone("resnet18", layers=["layer1", "class_token"], weights="random")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet81", {}, "unknown backbone 'resnet81'; choose 'pdn_edge' or a timm name (simi"),
        ("", {}, "unknown backbone ''"),
        ("resnet18", {"layers": ["layer9"]}, "resnet18 has no layer ['layer9']; choose from act1"),
        ("resnet18", {"layers": []}, "choose from act1, layer1"),
        (
            "vit_tiny_patch16_224",
            {"input_hw": (100, 72)},
            "choose an image size that is a multiple of 16, not 100x72",
        ),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(name, options, message):
    with pytest.raises(SettingsError) as caught:
        create_backbone(name, weights="random", **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
