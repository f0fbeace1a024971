"""The weight-free filter bank."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from anomalib_lite.backbones import create_backbone, list_backbones
from anomalib_lite.backbones.filters import gabor_bank
from anomalib_lite.edge import SettingsError

PIXELS = torch.randn(2, 3, 72, 100, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size_hw", [(64, 64), (72, 100), (17, 33), (256, 48)])
def test_maps_are_as_the_layout_says(size_hw):
    backbone = create_backbone("filters", input_hw=size_hw)
    maps = backbone(torch.rand(3, 3, *size_hw)).maps
    layout = backbone.layout(size_hw)
    assert list(maps) == [layer.name for layer in layout.layers]
    for layer in layout.layers:
        assert maps[layer.name].shape == (3, layer.channels, *layer.grid_hw)
        assert layer.grid_hw == tuple(-(-side // layer.stride) for side in size_hw)
    assert [layer.stride for layer in layout.layers] == [4, 8, 16]


def test_filters_have_no_mean_and_unit_norm():
    bank = gabor_bank().double()
    assert bank.shape == (24, 1, 9, 9)
    np.testing.assert_allclose(bank.sum(dim=(1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(bank.flatten(1).norm(dim=1), 1, rtol=1e-6)


def test_even_and_odd_filters_of_a_pair_are_orthogonal():
    even, odd = gabor_bank().flatten(1).chunk(2)
    np.testing.assert_allclose((even * odd).sum(dim=1), 0, atol=1e-6)


def test_the_same_pixels_give_the_same_bits():
    first, second = (create_backbone("filters")(PIXELS).maps for _ in range(2))
    for name, maps in first.items():
        assert torch.equal(maps, second[name])


def test_images_of_a_batch_do_not_touch_each_other():
    backbone = create_backbone("filters")
    together, alone = backbone(PIXELS).maps, backbone(PIXELS[1:]).maps
    for name, maps in together.items():
        torch.testing.assert_close(maps[1:], alone[name], rtol=1e-5, atol=1e-6)


def test_a_constant_picture_has_its_colour_and_no_texture():
    maps = create_backbone("filters")(torch.full((1, 3, 64, 64), 0.5)).maps
    for features in maps.values():
        torch.testing.assert_close(features[:, 0], torch.full_like(features[:, 0], 0.5))
        assert float(features[:, 1:3].abs().max()) < 1e-6
        assert float(features[:, 3:6].max()) < 0.011
        assert float(features[:, 6:].max()) < 0.01


@pytest.mark.parametrize(("across", "expected"), [(True, 0), (False, 3)])
def test_stripes_answer_in_their_orientation(across, expected):
    """Stripes that vary along x excite the filter at 0 degrees, along y the one at 90."""
    wave = torch.sin(torch.arange(64) * 2 * torch.pi / 6)
    picture = wave.expand(64, 64) if across else wave[:, None].expand(64, 64)
    energies = create_backbone("filters")(picture.expand(1, 3, 64, 64)).maps["octave1"][0, 6:]
    inner = energies[:, 4:-4, 4:-4].mean(dim=(1, 2))
    assert int(inner.argmax()) in (expected, expected + 6)


def test_the_first_layer_starts_with_cell_means_of_opponent_colours():
    maps = create_backbone("filters")(PIXELS).maps["octave1"]
    luminance = F.avg_pool2d(PIXELS.mean(dim=1, keepdim=True), 4)
    torch.testing.assert_close(maps[:, :1], luminance, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, ["octave1", "octave2", "octave3"]),
        (["octave2"], ["octave2"]),
        (["octave3", "octave1"], ["octave1", "octave3"]),
    ],
)
def test_layers_are_chosen_shallow_to_deep(layers, expected):
    backbone = create_backbone("filters", layers=layers)
    assert list(backbone(PIXELS).maps) == expected
    assert backbone.settings() == {"name": "filters", "layers": expected}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"layers": ["octave4"]},
            "has no layer ['octave4'] (did you mean octave3?); choose from",
        ),
        ({"layers": []}, "choose from octave1"),
        ({"weights": "some.safetensors"}, "has no weights; leave --weights out"),
    ],
)
def test_what_filters_cannot_do_is_said(options, message):
    with pytest.raises(SettingsError) as caught:
        create_backbone("filters", **options)
    assert message in str(caught.value)


def test_prepared_frames_are_normalised_by_imagenet_statistics():
    backbone = create_backbone("filters")
    frames = torch.tensor([0, 124, 255], dtype=torch.uint8).expand(1, 2, 2, 3)
    found = backbone.normalise(frames)[0, :, 0, 0]
    expected = (np.array([0, 124, 255]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_the_list_of_backbones_has_ours_and_timms():
    assert list_backbones("filters") == ["filters"]
    assert "resnet18" in list_backbones("resnet*")
