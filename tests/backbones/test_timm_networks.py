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
    ("name", "options", "message"),
    [
        ("resnet81", {}, "unknown backbone 'resnet81'; choose 'filters' or a timm name (similar: "),
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
