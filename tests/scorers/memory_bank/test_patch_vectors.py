"""Patch vectors against the authors' procedure, cut out and averaged patch by patch."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from scorer_references import MadeStream, layout_of

from anomalib_lite.backbones import LayerInfo
from anomalib_lite.edge import SettingsError
from anomalib_lite.scorers import FitContext, create_scorer
from anomalib_lite.scorers.memory_bank.patch_vectors import (
    PatchEmbedding,
    authors_kernel,
    authors_width,
    choose_layers,
)

LAYERS = [("a", 6, 4), ("b", 8, 8), ("c", 16, 16)]
SIZE = (48, 64)


def built(**settings):
    scorer = create_scorer("patchcore", **settings)
    scorer.build(layout_of(SIZE, LAYERS))
    return scorer


def stream_of(images):
    return MadeStream(layout_of(SIZE, LAYERS), images)


def literal_authors(features, layers, dimension):
    """Cut 3x3 patches, enlarge entry by entry, pool the flattened patch, join, pool again."""
    grid = layers[0].grid_hw
    vectors = []
    for layer in layers:
        maps = features.maps[layer.name].double()
        images = len(maps)
        patches = F.unfold(maps, 3, padding=1).reshape(images, -1, *layer.grid_hw)
        if layer.grid_hw != grid:
            patches = F.interpolate(patches, grid, mode="bilinear", align_corners=False)
        flat = patches.flatten(2).transpose(1, 2).reshape(-1, 1, layer.channels * 9)
        vectors.append(F.adaptive_avg_pool1d(flat, dimension)[:, 0])
    joined = torch.cat(vectors, dim=1)[:, None]
    return F.adaptive_avg_pool1d(joined, dimension)[:, 0].reshape(images, -1, dimension)


@pytest.mark.parametrize(
    ("names", "dimension"),
    [
        (["b", "c"], None),
        (["b", "c"], 10),
        (["b", "c"], 40),
        (["a", "b", "c"], None),
        (["a", "b", "c"], 21),
        (["c"], None),
        (["a", "c"], 6),
    ],
)
def test_the_authors_embedding_is_their_procedure(names, dimension):
    stream = stream_of(2)
    layers = choose_layers(stream.layout, names)
    embedding = PatchEmbedding(layers, "authors", dimension)
    features = stream.all_features()
    expected = literal_authors(features, layers, embedding.width)
    torch.testing.assert_close(embedding(features.maps).double(), expected, rtol=1e-5, atol=1e-5)


def test_the_closed_form_weighs_the_centre_twice_and_averages_channel_pairs():
    fine = authors_kernel(channels=512, layers=2, dimension=1024)
    centre = torch.full((3, 3), 0.1)
    centre[1, 1] = 0.2
    assert fine.shape == (512, 1, 3, 3)
    torch.testing.assert_close(fine, centre.expand(512, 1, 3, 3))
    coarse = authors_kernel(channels=1024, layers=2, dimension=1024)
    torch.testing.assert_close(coarse, torch.full((512, 2, 3, 3), 1 / 18))


def test_the_plain_embedding_averages_and_concatenates():
    stream = stream_of(2)
    features = stream.all_features()
    embedding = PatchEmbedding(choose_layers(stream.layout, None), "plain")
    fine = F.avg_pool2d(features.maps["b"], 3, 1, 1)
    coarse = F.avg_pool2d(features.maps["c"], 3, 1, 1)
    coarse = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
    expected = torch.cat([fine, coarse], dim=1).flatten(2).transpose(1, 2)
    torch.testing.assert_close(embedding(features.maps), expected)


def test_layers_default_to_strides_8_and_16_and_to_all_without_them():
    assert [layer.name for layer in built().patches.layers] == ["b", "c"]
    scorer = create_scorer("patchcore")
    scorer.build(layout_of(SIZE, [("x", 4, 4)]))
    assert [layer.name for layer in scorer.patches.layers] == ["x"]
    with pytest.raises(SettingsError, match="choose among a, b, c"):
        built(patch_layers=["layer9"])


@pytest.mark.parametrize(
    ("network", "channels", "width", "told"),
    [
        ("wide_resnet50_2", (512, 1024), 1024, False),  # the paper's
        ("resnet18", (128, 256), 256, False),
        ("pdn_edge", (128, 256), 256, False),
        ("tf_efficientnet_lite0", (40, 112), 224, True),
        ("mobilenetv2_100", (32, 96), 192, True),
        ("one layer", (40,), 40, False),
        ("deep first", (112, 40), 224, False),
        ("three", (24, 40, 112), 336, True),
    ],
)
def test_vectors_are_widened_where_more_than_two_channels_would_become_one_number(
    network, channels, width, told
):
    layers = [LayerInfo(f"layer{i}", c, 8 << i, (8 >> i, 8 >> i)) for i, c in enumerate(channels)]
    assert authors_width(layers) == width
    embedding = PatchEmbedding(layers, "authors")
    assert embedding.width == width
    assert bool(embedding.widened) == told
    assert "\n" not in embedding.widened
    chosen = PatchEmbedding(layers, "authors", 20 * len(channels))
    assert (chosen.width, chosen.widened) == (20 * len(channels), "")
    assert not PatchEmbedding(layers, "plain").widened


def test_a_widened_vector_keeps_every_channel_apart():
    kernel = authors_kernel(channels=112, layers=2, dimension=224)
    centre = torch.full((3, 3), 0.1)
    centre[1, 1] = 0.2
    torch.testing.assert_close(kernel, centre.expand(112, 1, 3, 3))


NARROW = [("fine", 4, 8), ("coarse", 10, 16)]


@pytest.fixture
def narrow_stream():
    return MadeStream(layout_of(SIZE, NARROW), 8)


def fitted_on(stream, **settings):
    scorer = create_scorer("patchcore", rows=30, **settings)
    scorer.build(stream.layout)
    scorer.fit(stream, FitContext())
    return scorer


def test_widening_is_told_once_in_one_line(narrow_stream):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(2):
            fitted_on(narrow_stream)
    assert [str(item.message) for item in told] == [
        "patch vectors have 20 numbers, not 8: fine has only 4 channels, and averaging the 10 of "
        "coarse into as few would blur them; set dimension to choose the length"
    ]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.filterwarnings("ignore:patch vectors")
def test_a_bank_of_shorter_vectors_from_an_earlier_version_scores_as_it_did(narrow_stream, fused):
    name, prefix = ("patchcore+mvg", "patchcore.") if fused else ("patchcore", "")
    trust = {"trust": "equal"} if fused else {}
    earlier = create_scorer(name, **{f"{prefix}rows": 30, f"{prefix}dimension": 8, **trust})
    earlier.build(narrow_stream.layout)
    earlier.fit(narrow_stream, FitContext())
    loaded = create_scorer(name, **{f"{prefix}rows": 30, **trust})
    loaded.build(narrow_stream.layout)
    loaded.load_tensors(dict(earlier.state_dict()))
    features = narrow_stream.all_features()
    with torch.no_grad():
        before, after = earlier(features), loaded(features)
    assert torch.equal(before.image, after.image)
    assert torch.equal(before.map, after.map)


def test_a_part_of_a_fusion_keeps_its_window_in_files():
    stream = MadeStream(layout_of(SIZE, LAYERS), 12)
    settings = {"patchcore.window": 1, "patchcore.rows": 200, "trust": "equal"}
    fitted, loaded = (create_scorer("patchcore+mvg", **settings) for _ in range(2))
    for scorer in (fitted, loaded):
        scorer.build(stream.layout)
    fitted.fit(stream, FitContext())
    loaded.load_tensors(dict(fitted.state_dict()))
    assert [part.fitted_window for part in loaded.scorers[:1]] == [1]
    features = stream.all_features()
    with torch.no_grad():
        assert torch.equal(fitted(features).image, loaded(features).image)
