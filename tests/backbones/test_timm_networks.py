"""timm networks as backbones: shapes as data, layers by name."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save_file

from anomalib_lite.backbones import create_backbone
from anomalib_lite.backbones.timm_models import import_timm
from anomalib_lite.backbones.weights import plain_name
from anomalib_lite.edge import SettingsError

timm = import_timm()

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
        "layers.0": (96, 4),
        "layers.1": (192, 8),
        "layers.2": (384, 16),
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
        whole = backbone.net.forward_features(pixels)
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
    assert info.channels == backbone.net.head.out_features != 256


def test_a_network_without_a_class_token_says_so():
    backbone = create_backbone("resnet18", weights="random", input_hw=(32, 32))
    assert not backbone.has_class_token
    with pytest.raises(SettingsError, match="has no class token"):
        create_backbone("resnet18", layers=["layer1", "class_token"], weights="random")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "resnet81",
            {},
            "unknown backbone 'resnet81' (did you mean resnet18?); choose 'pdn_edge'",
        ),
        ("", {}, "unknown backbone ''"),
        (
            "resnet18",
            {"layers": ["layer1", "layer22"]},
            "resnet18 has no layer 'layer22'; did you mean layer2 or layer2.1 or layer2.0? choose "
            "from act1, layer1, layer2, layer3, layer4, blocks inside them such as layer4.1, and",
        ),
        (
            "vit_tiny_patch16_224",
            {"layers": ["block.3"], "input_hw": (32, 32)},
            "no layer 'block.3'; did you mean blocks.3 or blocks.9 or blocks.8? choose from "
            "blocks.0, blocks.1, …, blocks.11, and pooled",
        ),
        ("resnet18", {"layers": ["poled"]}, "did you mean pooled?"),
        ("resnet18", {"layers": ["conv1"]}, "has no layer 'conv1'; choose from act1"),
        ("resnet18", {"layers": []}, "no layer of resnet18 is named; leave layers out"),
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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", {"layer1": (64, 4, 16), "layer2.0": (128, 8, 8)}),
        ("mobilenetv2_100", {"blocks.3.1": (64, 16, 4), "blocks.3": (64, 16, 4)}),
        ("tf_efficientnet_lite0", {"blocks.3": (80, 16, 4), "blocks.5": (192, 32, 2)}),
        ("convnext_atto", {"stages.1.blocks.0": (80, 8, 8), "stages.1": (80, 8, 8)}),
        ("swin_tiny_patch4_window7_224", {"layers.1.blocks.0": (192, 8, 8)}),
        ("regnetx_002", {"s2.b1": (56, 8, 8)}),
        ("mobilevit_xxs", {"stages.4.1": (80, 32, 2)}),
        ("vit_tiny_patch16_224", {"blocks.3": (192, 16, 4)}),
        ("mobilenetv2_100", {"blocks.3.0": (64, 16, 4), "pooled": (1280, 64, 1)}),
        ("vit_tiny_patch16_224", {"pooled": (192, 64, 1), "class_token": (192, 64, 1)}),
    ],
)
def test_every_stage_and_block_is_read_by_name(name, expected):
    backbone = create_backbone(name, layers=list(expected), weights="random", input_hw=(64, 64))
    infos = backbone.layout((64, 64)).layers
    found = {info.name: (info.channels, info.stride, info.grid_hw[0]) for info in infos}
    assert found == expected
    assert backbone.settings()["layers"] == [info.name for info in infos] == list(found)
    maps = backbone(torch.rand(2, 3, 64, 64)).maps
    assert [maps[info.name].shape for info in infos] == [
        (2, info.channels, *info.grid_hw) for info in infos
    ]


@pytest.mark.parametrize(
    ("name", "layer", "last"),
    [
        ("resnet18", "layer2.0", "layer2.0"),
        ("mobilenetv2_100", "blocks.3.1", "blocks.3.1"),
        ("tf_efficientnet_lite0", "blocks.2", "blocks.2"),
        ("convnext_atto", "stages.1.blocks.0", "stages_1.blocks.0"),
        ("swin_tiny_patch4_window7_224", "layers.0.blocks.0", "layers_0.blocks.0"),
        ("vit_tiny_patch16_224", "blocks.3", "model.blocks.3"),
    ],
)
def test_nothing_behind_the_deepest_layer_is_kept_computed_or_asked_for(
    name, layer, last, tmp_path
):
    backbone = create_backbone(name, layers=[layer], weights="random", input_hw=(64, 64))
    held = list(backbone.net.state_dict())
    assert held[-1].startswith(last)
    whole = timm.create_model(name, num_classes=0, **_fixed(name)).eval()
    deeper = _after(whole, layer)
    assert deeper
    assert not {plain_name(key) for key in deeper} & {plain_name(key) for key in held}
    needed = {key: value for key, value in whole.state_dict().items() if key not in deeper}
    save_file(needed, tmp_path / "needed.safetensors")
    loaded = create_backbone(
        name, layers=[layer], weights=tmp_path / "needed.safetensors", input_hw=(64, 64)
    )
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded(pixels).maps[layer], _read(whole, layer, pixels))


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("mobilenetv2_100", ["blocks.2"]),
        ("vit_tiny_patch16_224", ["blocks.3"]),
        ("vit_tiny_patch16_224", ["blocks.3", "class_token"]),
        ("swin_tiny_patch4_window7_224", ["layers.0"]),
    ],
)
def test_tensors_of_earlier_versions_load_also_inside_another_module(name, layers):
    backbone = create_backbone(name, layers=layers, weights="random", input_hw=(64, 64))
    outer = torch.nn.ModuleDict({"student": backbone})
    state = {key: value + 1 for key, value in outer.state_dict().items()}
    earlier = {**state, "student.net.blocks.99.bn.weight": torch.ones(3)}
    if "class_token" in layers:  # was read from inside timm's extractor once
        earlier = {
            key.replace("student.net.", "student.net.model."): value
            for key, value in earlier.items()
        }
    outer.load_state_dict(earlier, strict=True)
    assert all(torch.equal(value, state[key]) for key, value in outer.state_dict().items())
    weight = next(key for key in reversed(state) if key.endswith(".weight"))
    missing = {key: value for key, value in state.items() if key != weight}
    with pytest.raises(RuntimeError, match="Missing key"):
        outer.load_state_dict(missing, strict=True)


def test_two_threads_and_copies_read_their_own_maps():
    backbone = create_backbone("resnet18", layers=["layer1.0"], weights="random", input_hw=(32, 32))
    pixels = [torch.full((1, 3, 32, 32), float(value)) for value in range(8)]
    expected = [backbone(item).maps["layer1.0"] for item in pixels]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda item: backbone(item).maps["layer1.0"], pixels))
    assert all(map(torch.equal, found, expected))
    assert torch.equal(copy.deepcopy(backbone)(pixels[3]).maps["layer1.0"], expected[3])


def test_a_block_that_gives_no_map_is_named():
    with pytest.raises(SettingsError, match=r"layer serial_blocks2\.0 gives no map|has no layer"):
        create_backbone(
            "coat_lite_tiny", layers=["serial_blocks2.0"], weights="random", input_hw=(64, 64)
        )


def _fixed(name):
    return {"img_size": (64, 64)} if name.startswith(("vit", "swin")) else {}


def _after(network, layer):
    """Tensors of what comes after a layer in the order of definition."""
    found, passed = [], False
    inside = network.get_submodule(layer)
    last = list(inside.modules())[-1]
    for name, module in network.named_modules():
        if passed:
            found += [f"{name}.{key}" for key in module.state_dict() if "." not in key]
        passed = passed or module is last
    return found


def _read(network, layer, pixels):
    taken = []
    handle = network.get_submodule(layer).register_forward_hook(lambda *a: taken.append(a[-1]))
    network(pixels)
    handle.remove()
    (output,) = taken
    if output.ndim == 3:  # tokens, the class token first
        return output[:, 1:].transpose(1, 2).reshape(1, -1, 4, 4)
    return output.permute(0, 3, 1, 2) if hasattr(network, "output_fmt") else output
