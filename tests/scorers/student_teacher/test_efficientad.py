"""EfficientAD: its losses, networks, maps and merges against plain references."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from anomalib_lite.backbones import FeatureLayout, create_backbone
from anomalib_lite.backbones.pdn import patch_network
from anomalib_lite.data.pictures import procedural_picture
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers import create_scorer
from anomalib_lite.scorers.student_teacher.efficientad_losses import (
    augmented,
    hard_feature_loss,
    linear_quantile,
)
from anomalib_lite.scorers.student_teacher.efficientad_maps import MapHead
from anomalib_lite.scorers.student_teacher.efficientad_merge import SquaredLength
from anomalib_lite.scorers.student_teacher.efficientad_networks import (
    PAPER,
    SLIM,
    Autoencoder,
    Student,
)
from anomalib_lite.scorers.student_teacher.efficientad_pictures import PenaltyPictures

TEACHERS = {
    "S": ("pdn_small", "valid"),
    "M": ("pdn_medium", "valid"),
    "edge": ("pdn_edge", "local"),
}


def built(size, side=64, roi=None, **settings):
    """An unfitted scorer with made-up statistics, and its backbone."""
    name, layer = TEACHERS[size]
    backbone = create_backbone(name, layers=[layer], weights="random", input_hw=(side, side))
    scorer = create_scorer("efficientad", size=size, steps=1, **settings)
    scorer.build(backbone.layout((side, side), roi))
    generator = torch.Generator().manual_seed(4)
    channels = scorer.teacher.channels
    scorer.teacher_mean_ = torch.randn(channels, generator=generator) / 10
    scorer.teacher_std_ = 0.05 + torch.rand(channels, generator=generator)
    scorer.head.gain_ = torch.tensor([0.7, 1.3])[: len(scorer.head.gain_)]
    scorer.head.offset_ = torch.tensor(-0.4)
    return scorer.eval(), backbone


def pixels(side=64, count=2, seed=0):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.9, 0.999, 0.9999])
@pytest.mark.parametrize("shape", [(1, 7, 13, 11), (3, 1, 1), (50_000,)])
def test_the_hard_loss_is_the_mean_above_torchs_quantile(quantile, shape):
    squares = torch.rand(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
    threshold = torch.quantile(squares.detach(), quantile)
    expected = squares[squares >= threshold].mean()
    loss = hard_feature_loss(squares, quantile)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    (wanted,) = torch.autograd.grad(expected, squares)
    (got,) = torch.autograd.grad(loss, squares)
    torch.testing.assert_close(got, wanted)


def test_tied_values_all_count_in_the_hard_loss():
    squares = torch.tensor([1.0, 2, 2, 2, 2])
    assert float(hard_feature_loss(squares, 0.9)) == 2
    assert float(linear_quantile(squares, 0.125)) == 1.5


@pytest.mark.parametrize("seed", range(12))
def test_augmentation_scales_one_property_of_the_picture(seed):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(60, 160, (1, 8, 8, 3), generator=generator, dtype=torch.uint8)
    changed = augmented(frames, np.random.default_rng(seed)).permute(0, 3, 1, 2)
    levels = frames.permute(0, 3, 1, 2).float()
    rng = np.random.default_rng(seed)
    kind, factor = int(rng.integers(3)), rng.uniform(0.8, 1.2)
    grey = 0.299 * levels[:, 0] + 0.587 * levels[:, 1] + 0.114 * levels[:, 2]
    if kind == 0:
        expected = levels * factor
    elif kind == 1:
        expected = grey.mean() + (levels - grey.mean()) * factor
    else:
        expected = grey[:, None] + (levels - grey[:, None]) * factor
    torch.testing.assert_close(changed, expected.clamp(0, 255), atol=1e-3, rtol=1e-4)


def test_the_papers_autoencoder_has_its_sizes_and_parameters():
    network = Autoencoder((256, 256), (56, 56), 384, PAPER)
    assert sum(item.numel() for item in network.parameters()) == 1_096_320
    assert network.sizes == [(side, side) for side in (3, 8, 15, 32, 63, 127)]
    seen = []
    for module in [*network.encoder, network.bottleneck, *network.decoder]:
        module.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[1:])))
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 256, 256)).shape == (1, 384, 56, 56)
    encoder = [(32, 128), (32, 64), (64, 32), (64, 16), (64, 8), (64, 1)]
    decoder = [(64, side) for side in (4, 9, 16, 33, 64, 128)]
    assert seen == [(width, side, side) for width, side in encoder + decoder]


def test_the_papers_network_has_its_published_parameters():
    teacher, student = patch_network("small", 384), Student("small", 384)
    autoencoder = Autoencoder((256, 256), (56, 56), 384, PAPER)
    total = sum(p.numel() for net in (teacher, student, autoencoder) for p in net.parameters())
    assert total == pytest.approx(8.06e6, rel=2e-3)


def test_dropout_uses_its_own_generator_and_keeps_the_mean():
    network = Autoencoder((64, 64), (8, 8), 16, SLIM)
    before = torch.get_rng_state()
    with torch.no_grad():
        first = network(pixels(), torch.Generator().manual_seed(5))
        again = network(pixels(), torch.Generator().manual_seed(5))
        other = network(pixels(), torch.Generator().manual_seed(6))
        plain = network(pixels())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, plain)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("size", ["small", "edge"])
def test_one_half_of_a_student_is_that_half_of_its_output(size):
    student = Student(size, 12)
    first, second = student(pixels())
    torch.testing.assert_close(student.one_half(pixels(), second=False), first)
    torch.testing.assert_close(student.one_half(pixels(), second=True), second)


def test_map_normalisation_is_the_papers_but_for_a_constant():
    layout = FeatureLayout((64, 64), ())
    head = MapHead(layout, (8, 8), border=4, maps=2)
    held_out = torch.rand(30, 2, 8, 8, generator=torch.Generator().manual_seed(2)) ** 2
    head.calibrate(held_out)
    maps = [torch.rand(3, 8, 8) * 3, torch.rand(3, 8, 8)]
    parts, constant = [], 0.0
    for index, values in enumerate(maps):
        low = torch.quantile(held_out[:, index].flatten(), 0.9)
        high = torch.quantile(held_out[:, index].flatten(), 0.995)
        parts.append(0.1 * (values - low) / (high - low))
        constant += 0.5 * 0.1 * low / (high - low)
    padded = F.pad(0.5 * parts[0] + 0.5 * parts[1], (4, 4, 4, 4))
    expected = F.interpolate(padded[:, None], (64, 64), mode="bilinear")[:, 0] + constant
    score, anomaly_map = head(maps)
    torch.testing.assert_close(anomaly_map, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(score, expected.amax(dim=(1, 2)), rtol=1e-4, atol=1e-5)
    assert float(anomaly_map[0, 0, 0]) == pytest.approx(float(constant), rel=1e-5)


def test_a_uniform_category_does_not_divide_by_zero():
    head = MapHead(FeatureLayout((64, 64), ()), (8, 8), border=0, maps=1)
    head.calibrate(torch.full((5, 1, 8, 8), 2.0))
    score, _ = head([torch.full((1, 8, 8), 2.0)])
    assert torch.isfinite(head.gain_).all()
    assert float(score) == pytest.approx(0.1 / 0.001, rel=1e-3)


@pytest.mark.parametrize("size", ["S", "edge"])
def test_the_score_is_the_textbook_one(size):
    scorer, backbone = built(size)
    frames = pixels()
    teacher = backbone(frames).maps[TEACHERS[size][1]]
    teacher = (teacher - scorer.teacher_mean_[:, None, None]) / scorer.teacher_std_[:, None, None]
    both = scorer.student.network(frames)
    channels = teacher.shape[1]
    first = ((teacher - both[:, :channels]) ** 2).mean(1)
    second = ((scorer.autoencoder_net(frames) - both[:, channels:]) ** 2).mean(1)
    combined = 0.7 * first + 1.3 * second - 0.4
    if size == "S":
        padded = F.pad(combined, (4,) * 4)[:, None]
    else:  # its teacher is padded: the outer cells repeat the next ones
        padded = F.pad(combined[:, None, 1:-1, 1:-1], (1,) * 4, mode="replicate")
    expected = F.interpolate(padded, (64, 64), mode="bilinear")[:, 0] + 0.4
    scores = scorer(backbone(frames))
    torch.testing.assert_close(scores.map, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores.image, expected.amax(dim=(1, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "settings"),
    [
        ("S", {}),
        ("M", {}),
        ("edge", {}),
        ("edge", {"autoencoder": False}),
        ("S", {"autoencoder": False}),
    ],
)
def test_the_merged_network_is_the_fitted_one(size, settings):
    scorer, backbone = built(size, **settings)
    frames = pixels()
    with torch.no_grad():
        expected = scorer(backbone(frames))
        score, anomaly_map = scorer.merged(backbone).eval()(frames)
    torch.testing.assert_close(score, expected.image, rtol=2e-5, atol=1e-5)
    torch.testing.assert_close(anomaly_map, expected.map, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(384, 512), (384, 288), (5, 3), (1, 7), (97, 97)])
def test_a_squared_length_survives_its_rotation(rows, columns):
    generator = torch.Generator().manual_seed(rows)
    weight = torch.randn(rows, columns, 1, 1, generator=generator)
    bias = torch.randn(rows, generator=generator)
    inputs = torch.randn(2, columns, 3, 4, generator=generator)
    expected = (F.conv2d(inputs.double(), weight.double(), bias.double()) ** 2).sum(1)
    merged = SquaredLength(weight, bias)
    torch.testing.assert_close(merged(inputs).double(), expected, rtol=1e-5, atol=1e-4)
    kept = sum(conv.weight.numel() for conv in merged.modules() if isinstance(conv, nn.Conv2d))
    assert kept < rows * columns or rows == 1 or columns < 96


def test_outside_the_region_of_interest_the_map_is_flat():
    roi = np.zeros((64, 64), bool)
    roi[:, :32] = True
    scorer, backbone = built("edge", roi=roi)
    scores = scorer(backbone(pixels()))
    outside = scores.map[:, :, 32:]
    assert torch.equal(outside, torch.full_like(outside, float(-scorer.head.offset_)))


def test_a_picture_that_is_all_edge_is_refused():
    with pytest.raises(SettingsError, match="larger image size or region of interest"):
        MapHead(FeatureLayout((32, 32), ()), (2, 4), border=0, maps=1, blind=1)


def test_what_a_padded_teacher_says_at_the_edge_counts_for_nothing():
    head = MapHead(FeatureLayout((64, 64), ()), (8, 8), border=0, maps=1, blind=1)
    held_out = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    wild = held_out.clone()
    wild[:, :, :1], wild[..., -1:] = 50.0, 50.0
    head.calibrate(held_out)
    expected = [head.gain_.clone(), head.offset_.clone(), *head([held_out[:, 0]])]
    head.calibrate(wild)
    for got, wanted in zip([head.gain_, head.offset_, *head([wild[:, 0]])], expected, strict=True):
        assert torch.equal(got, wanted)


def test_penalty_pictures_depend_on_seed_and_step_only():
    pictures = PenaltyPictures(None, (32, 48), seed=1)
    first = [pictures[step] for step in (5, 6, 7)]
    again = PenaltyPictures(None, (32, 48), seed=1)
    assert all(
        np.array_equal(again[step], picture) for step, picture in zip((5, 6, 7), first, strict=True)
    )
    assert first[0].shape == (32, 48, 3)
    assert not np.array_equal(first[0], PenaltyPictures(None, (32, 48), seed=2)[5])


def test_three_penalty_pictures_in_ten_are_grey(tmp_path):
    cv2.imwrite(str(tmp_path / "one.png"), procedural_picture(np.random.default_rng(0), (16, 16)))
    pictures = PenaltyPictures(str(tmp_path), (8, 8), seed=0)
    grey = [bool((np.ptp(pictures[step], axis=2) == 0).all()) for step in range(1000)]
    assert np.mean(grey) == pytest.approx(0.3, abs=0.04)


def test_a_penalty_file_is_cut_from_the_middle_of_its_double_size(tmp_path):
    picture = procedural_picture(np.random.default_rng(0), (64, 64))
    cv2.imwrite(str(tmp_path / "one.png"), picture[:, :, ::-1])
    (tmp_path / "two.jpg").write_bytes(b"torn")
    pictures = PenaltyPictures(str(tmp_path), (32, 32), seed=0)
    colour = next(p for p in (pictures[s] for s in range(30)) if np.ptp(p, axis=2).any())
    assert np.array_equal(colour, picture[16:48, 16:48])


def test_a_missing_penalty_folder_is_named():
    with pytest.raises(SettingsError, match="no such folder"):
        PenaltyPictures("/nowhere", (32, 32), seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": "L"}, "size is 'L'"),
        ({"hard_quantile": 1.0}, "hard_quantile"),
        ({"steps": 0}, "steps"),
        ({"minutes": -1}, "minutes"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_settings_without_sense_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        create_scorer("efficientad", **settings)


@pytest.mark.parametrize(
    ("size", "backbone", "layer"), [("S", "pdn_edge", "local"), ("edge", "pdn_small", "padded")]
)
def test_a_teacher_of_another_size_is_refused(size, backbone, layer):
    network = create_backbone(backbone, layers=[layer], weights="random", input_hw=(64, 64))
    with pytest.raises(SettingsError, match="leave --backbone and --layers out"):
        create_scorer("efficientad", size=size).build(network.layout((64, 64)))


def test_the_budget_defaults_to_the_papers_steps():
    assert create_scorer("efficientad", size="S").budget.steps == 70_000
    assert create_scorer("efficientad", size="S", minutes=5).budget.steps is None
