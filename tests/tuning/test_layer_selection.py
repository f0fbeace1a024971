"""Layers chosen on good images: the figures against plain formulas, the greedy set, the file."""

import json
import math

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from anomalib_lite import Detector
from anomalib_lite.backbones import FeatureLayout, Features, LayerInfo
from anomalib_lite.cli.main import app
from anomalib_lite.edge import FitError
from anomalib_lite.scorers import FrameBatch
from anomalib_lite.tuning.layer_selection import (
    candidates,
    effective_rank,
    likelihood_gain,
    rank_layers,
)


class Made:
    """`rich` has 12 independent directions; `copy` is `rich` again; `poor` has two."""

    def __init__(self, images):
        self.images = images
        sizes = {"rich": 12, "copy": 12, "poor": 12}
        infos = tuple(LayerInfo(name, size, 8, (8, 8)) for name, size in sizes.items())
        self.layout = FeatureLayout((64, 64), infos)

    def __len__(self):
        return self.images

    def __iter__(self):
        for index in range(self.images):
            generator = torch.Generator().manual_seed(index)
            rich = torch.randn(1, 12, 8, 8, generator=generator)
            two = torch.randn(1, 2, 8, 8, generator=generator)
            mix = torch.linspace(-1, 1, 12)[:, None] ** torch.tensor([1.0, 2.0])
            poor = torch.einsum("nkhw,ck->nchw", two, mix)
            poor = poor + 0.05 * torch.randn(1, 12, 8, 8, generator=generator)
            maps = {"rich": rich, "copy": 3 * rich + 5, "poor": poor}
            features = Features(torch.zeros(1, 3, 64, 64), maps)
            frames = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
            yield FrameBatch(frames, np.array([index]), lambda _, found=features: found)


def test_effective_rank_counts_equal_directions():
    rows = torch.eye(6).repeat(4, 1)
    assert effective_rank(torch.cat([rows, -rows])) == pytest.approx(6)
    line = torch.linspace(-1, 1, 9)[:, None].repeat(1, 4)
    assert effective_rank(line) == pytest.approx(1)


def test_effective_rank_is_the_exponential_of_the_entropy():
    rows = np.random.default_rng(0).normal(size=(50, 5)) @ np.diag([1, 2, 3, 4, 5])
    mixed = rows @ np.random.default_rng(1).normal(size=(5, 5))
    scaled = (mixed - mixed.mean(0)) / mixed.std(0)
    singular = np.linalg.svd(scaled, compute_uv=False)
    share = singular / singular.sum()
    expected = math.exp(-(share * np.log(share)).sum())
    assert effective_rank(torch.from_numpy(mixed)) == pytest.approx(expected)


def test_the_gain_of_correlated_channels_is_half_the_log_of_what_is_left():
    """Two channels of correlation r: -log(1 - r^2) / 2 nats for the pair."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(400, 16, 2, generator=generator, dtype=torch.float64)
    second = 0.8 * common[:, :, 0] + 0.6 * common[:, :, 1]
    rows = torch.stack([common[:, :, 0], second], dim=2)
    assert likelihood_gain(rows) == pytest.approx(-math.log(1 - 0.8**2) / 4, abs=0.02)
    assert likelihood_gain(common) == pytest.approx(0, abs=0.01)


def test_a_copy_of_a_chosen_layer_is_not_chosen():
    choice = rank_layers(Made(30))
    assert choice.steps[0][0] == "poor"
    assert len(choice.layers) == 2
    assert set(choice.layers) in ({"poor", "rich"}, {"poor", "copy"})
    assert choice.images == 30
    assert choice.explain()[-1].startswith("layers chosen from 30 good images: ")
    assert json.loads(json.dumps(choice.to_dict())) == choice.to_dict()


def test_the_choice_is_the_same_every_time():
    assert rank_layers(Made(12), seed=4) == rank_layers(Made(12), seed=4)


def test_too_few_images_are_refused():
    with pytest.raises(FitError, match="4 usable good images; layers are chosen from at least 5"):
        rank_layers(Made(4))


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("filters", None),
        ("resnet18", ["layer1", "layer2", "layer3"]),
        ("vit_tiny_patch16_224", [f"blocks.{index}" for index in range(12)]),
    ],
)
def test_candidates_are_the_layers_of_stride_4_to_16(backbone, expected):
    assert candidates(backbone, (64, 64)) == expected


def test_fit_chooses_layers_and_the_file_says_why(good_folder, tmp_path):
    out = tmp_path / "part.safetensors"
    arguments = ["fit", str(good_folder), "--out", str(out), "--detector", "mvg"]
    options = ["--backbone", "filters", "--image-size", "64", "--layers", "auto"]
    result = CliRunner().invoke(app, [*arguments, *options])
    assert result.exit_code == 0, result.output
    assert "layers chosen from 12 good images" in result.output
    loaded = Detector.load(out)
    assert loaded.layer_choice["layers"] == loaded.backbone.settings()["layers"]
    names = [item["name"] for item in loaded.layer_choice["evidence"]]
    assert names == ["octave1", "octave2", "octave3"]


def test_a_file_without_a_choice_has_none(padim_files):
    assert Detector.load(padim_files[0]).layer_choice == {}
