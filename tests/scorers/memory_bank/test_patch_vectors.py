"""Patch vectors against the authors' procedure, cut out and averaged patch by patch."""

import pytest
import torch
import torch.nn.functional as F
from scorer_references import MadeStream, layout_of

from anomalib_lite.edge import SettingsError
from anomalib_lite.scorers import create_scorer
from anomalib_lite.scorers.memory_bank.patch_vectors import (
    PatchEmbedding,
    authors_kernel,
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
