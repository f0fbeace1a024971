"""Patch description networks: the published sizes, ours, and what a fold of batch norm keeps."""

import pytest
import torch
import torch.nn.functional as F

from anomalib_lite.backbones import create_backbone
from anomalib_lite.backbones.pdn import (
    EdgeNetwork,
    PatchNetwork,
    patch_network,
)
from anomalib_lite.backbones.pdn_backbone import SHIPPED
from anomalib_lite.backbones.pdn_norms import fold_norms
from anomalib_lite.distillation.weights_file import read_card
from anomalib_lite.edge.errors import SettingsError, WeightsError
from anomalib_lite.system.seeding import seeded


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("size", "out", "millions"),
    [("small", 384, 2.69), ("small", 768, 4.27), ("medium", 384, 8.03), ("medium", 768, 11.62)],
)
def test_published_networks_have_their_published_number_of_parameters(size, out, millions):
    assert round(count(patch_network(size, out)) / 1e6, 2) == millions


@pytest.mark.parametrize("size", ["small", "medium"])
@pytest.mark.parametrize(
    ("side", "padded", "cells"), [(256, False, 56), (256, True, 64), (100, False, 17)]
)
def test_published_networks_give_the_grid_that_is_announced(size, side, padded, cells):
    network = patch_network(size, 8)
    with torch.no_grad():
        maps = network(torch.zeros(1, 3, side, side), padded=padded)
    assert maps.shape == (1, 8, cells, cells)
    assert PatchNetwork.grid_hw(size, (side, side), padded) == (cells, cells)


@pytest.mark.parametrize("size", ["small", "medium"])
def test_an_unpadded_cell_sees_33_pixels_and_no_more(size):
    with seeded():
        network = patch_network(size, 4)
        pixels = torch.randn(1, 3, 49, 49, requires_grad=True)
    network(pixels)[0, :, 2, 1].sum().backward()
    rows, columns = pixels.grad.abs().sum(dim=(0, 1)).nonzero(as_tuple=True)
    assert (int(rows.min()), int(rows.max())) == (8, 40)
    assert (int(columns.min()), int(columns.max())) == (4, 36)


def test_the_local_vector_of_edge_sees_39_pixels():
    network = EdgeNetwork()
    pixels = torch.randn(1, 3, 96, 96, requires_grad=True)
    network(pixels, ("local",))["local"][0, :, 6, 6].sum().backward()
    rows, columns = pixels.grad.abs().sum(dim=(0, 1)).nonzero(as_tuple=True)
    assert int(rows.max()) - int(rows.min()) + 1 <= 39
    assert int(columns.max()) - int(columns.min()) + 1 <= 39


def test_padded_zeros_count_in_the_mean_of_the_pool():
    network = patch_network("small", 2)
    pixels = torch.randn(1, 3, 64, 64)
    maps = F.relu(F.conv2d(pixels, *parameters(network, 0), padding=3))
    maps = F.avg_pool2d(maps, 2, 2, padding=1, count_include_pad=True)
    maps = F.relu(F.conv2d(maps, *parameters(network, 1), padding=3))
    maps = F.avg_pool2d(maps, 2, 2, padding=1, count_include_pad=True)
    maps = F.relu(F.conv2d(maps, *parameters(network, 2), padding=1))
    maps = F.conv2d(maps, *parameters(network, 3))
    torch.testing.assert_close(network(pixels, padded=True), maps)


def parameters(network, index):
    return network.convolutions[index].weight, network.convolutions[index].bias


def trained_like():
    """An edge network with batch norm whose running statistics are far from the initial ones."""
    generator = torch.Generator().manual_seed(1)
    network = EdgeNetwork(norm=True)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(0.5, 2, generator=generator)
            module.bias.data.normal_(generator=generator)
    return network.eval()


def with_top_down_paths(network):
    """Paths that have learnt something: they begin as zeros."""
    generator = torch.Generator().manual_seed(2)
    for path in EdgeNetwork.TOP_DOWN.values():
        getattr(network, path).weight.data.normal_(std=0.1, generator=generator)
    return network


@pytest.mark.parametrize("size_hw", [(64, 64), (72, 101)])
def test_fine_outputs_add_what_the_stage_below_knows_to_each_of_its_cells(size_hw):
    pixels = torch.randn(1, 3, *size_hw, generator=torch.Generator().manual_seed(0))
    network = EdgeNetwork()
    plain = network(pixels, tuple(EdgeNetwork.STRIDES))
    whole = with_top_down_paths(network)(pixels, tuple(EdgeNetwork.STRIDES))
    middle = network.stage8(network.trunk(pixels)[1])
    for name, path, below in (
        ("stride4", network.wide4, middle),
        ("stride8", network.wide8, network.stage16(middle)),
    ):
        height, width = plain[name].shape[2:]
        each = path(below).repeat_interleave(2, 2).repeat_interleave(2, 3)
        torch.testing.assert_close(whole[name], plain[name] + each[:, :, :height, :width])
    for name in ("stride16", "local"):
        assert torch.equal(whole[name], plain[name])


def test_weights_from_before_the_top_down_paths_answer_as_they_did():
    network = with_top_down_paths(EdgeNetwork())
    old = {k: v for k, v in EdgeNetwork().state_dict().items() if not k.startswith("wide")}
    network.load_state_dict(old)
    assert not network.wide4.weight.any()
    holder = torch.nn.ModuleDict({"net": with_top_down_paths(EdgeNetwork())})
    holder.load_state_dict({f"net.{key}": value for key, value in old.items()})
    assert not holder["net"].wide8.weight.any()


def test_folding_batch_norm_changes_no_output():
    trained, pixels = with_top_down_paths(trained_like()), torch.randn(1, 3, 64, 64)
    plain = fold_norms(trained, EdgeNetwork()).eval()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in plain.modules())
    with torch.no_grad():
        expected = trained(pixels, tuple(EdgeNetwork.STRIDES))
        for name, maps in plain(pixels, tuple(EdgeNetwork.STRIDES)).items():
            torch.testing.assert_close(maps, expected[name], rtol=1e-4, atol=1e-4)


def test_the_patch_network_of_edge_is_its_local_output():
    network, pixels = EdgeNetwork(), torch.randn(2, 3, 64, 80)
    expected = network(pixels, ("local",))["local"]
    assert torch.equal(network.patch_network()(pixels), expected)


@pytest.mark.parametrize("wanted", [["stride4"], ["stride16"], ["local", "stride8"]])
def test_layers_are_the_same_alone_and_together(wanted):
    pixels = torch.randn(1, 3, 64, 64)
    alone = create_backbone("pdn_edge", layers=wanted, weights="random")
    together = create_backbone("pdn_edge", layers=list(EdgeNetwork.STRIDES), weights="random")
    maps, every = alone(pixels).maps, together(pixels).maps
    assert sorted(maps) == sorted(wanted)
    for name in wanted:
        assert torch.equal(maps[name], every[name])


@pytest.mark.parametrize("name", ["pdn_edge", "pdn_small", "pdn_medium"])
@pytest.mark.parametrize("size_hw", [(64, 64), (72, 101)])
def test_maps_are_as_the_layout_says(name, size_hw):
    backbone = create_backbone(name, weights="random", input_hw=size_hw)
    maps = backbone(torch.rand(1, 3, *size_hw)).maps
    for layer in backbone.layout(size_hw).layers:
        assert maps[layer.name].shape == (1, layer.channels, *layer.grid_hw)


def test_mistakes_are_named():
    with pytest.raises(SettingsError, match="choose small, medium or edge"):
        patch_network("tiny")
    with pytest.raises(SettingsError, match="has no layer \\['layer3'\\]"):
        create_backbone("pdn_edge", layers=["layer3"], weights="random")
    with pytest.raises(SettingsError, match="at least 33 pixels"):
        create_backbone("pdn_small", layers=["valid"], weights="random", input_hw=(32, 64))


def test_a_network_without_weights_says_how_to_get_some(monkeypatch):
    monkeypatch.delenv("ANOMALIB_LITE_WEIGHTS", raising=False)
    with pytest.raises(WeightsError, match="distil some"):
        create_backbone("pdn_medium")


@pytest.mark.parametrize(("name", "layer"), [("pdn_edge", "local"), ("pdn_small", "valid")])
def test_shipped_weights_carry_their_card_and_see_structure(monkeypatch, name, layer):
    monkeypatch.delenv("ANOMALIB_LITE_WEIGHTS", raising=False)
    card = read_card(SHIPPED / f"{name}.safetensors")
    assert card["steps_done"] == card["steps"]
    assert card["pictures"] == [card["procedural_pictures"]]  # no third party's picture
    backbone = create_backbone(name, layers=[layer])
    frames = torch.full((2, 64, 64, 3), 128, dtype=torch.uint8)
    frames[1, 40:56, 40:56] = 255
    flat, marked = backbone(backbone.normalise(frames)).maps[layer]
    change = (marked - flat).square().mean(0)
    assert torch.isfinite(change).all()
    assert change.max() > 1e-3
    assert change[0, 0] < 1e-6  # the mark lies outside its receptive field


def test_shipped_weights_stay_small():
    assert sum(path.stat().st_size for path in SHIPPED.glob("*.safetensors")) <= 8e6
