"""Distillation: targets, resuming, and what the written weights are."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers.pretended_device import PretendedCuda, pretend_cuda
from interruptions import at_each_write
from safetensors.torch import load_file, save_file

from anomalib_lite.backbones import create_backbone
from anomalib_lite.distillation import train
from anomalib_lite.distillation.pictures import PicturePool, random_crop
from anomalib_lite.distillation.settings import DistillSettings
from anomalib_lite.distillation.teacher import Targets
from anomalib_lite.distillation.train import Distillation
from anomalib_lite.distillation.weights_file import model_card, read_card, write_weights
from anomalib_lite.edge.errors import (
    AnomalibLiteError,
    FitError,
    SettingsError,
    SourceError,
    WeightsError,
)
from anomalib_lite.edge.files import sha256_file
from anomalib_lite.scorers.training import loop

SMALL = {"batch_size": 2, "side": 64}


@pytest.fixture
def few_batches(monkeypatch):
    """Of the teacher's statistics, which are not what takes time in a real run."""
    monkeypatch.setattr(train, "_STATISTICS_BATCHES", 3)


@pytest.fixture(scope="module")
def teacher():
    """A network with random weights: what is distilled does not matter here."""
    return create_backbone("resnet18", weights="random")


@pytest.fixture(scope="module")
def pool():
    return PicturePool([], procedural=6)


def distillation(pool, teacher, start=None, **settings):
    settings = DistillSettings(**{**SMALL, "steps": 6, **settings})
    return Distillation(pool, teacher, settings, start)


def test_the_same_seed_gives_the_same_crops_and_another_gives_others(pool):
    first, second = pool.batch((0, 1), 3, 64), pool.batch((0, 1), 3, 64)
    assert first.shape == (3, 64, 64, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, pool.batch((0, 2), 3, 64))


def test_held_out_pictures_are_not_trained_on():
    pool = PicturePool([[np.full((64, 64, 3), 10 * index, np.uint8) for index in range(25)]])
    rng = np.random.default_rng(0)
    from anomalib_lite.distillation import pictures

    seen = {True: set(), False: set()}
    original = pictures.vary
    try:
        pictures.vary = lambda rng, crop: crop
        for held_out in seen:
            for _ in range(200):
                seen[held_out].add(int(pool.draw(rng, 64, held_out=held_out).max()))
    finally:
        pictures.vary = original
    assert seen[True] == {0}
    assert seen[False] == {10 * index for index in range(1, 25)}


def test_pictures_of_every_kind_become_rgb_and_unreadable_ones_are_listed(tmp_path):
    import cv2

    rng = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / "grey.png"), rng.integers(0, 255, (300, 500), np.uint8))
    cv2.imwrite(str(tmp_path / "deep.png"), rng.integers(0, 65535, (80, 90, 3), np.uint16))
    cv2.imwrite(str(tmp_path / "alpha.png"), rng.integers(0, 255, (80, 90, 4), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    pool = PicturePool([str(tmp_path)], side=100)
    assert sorted(picture.shape for picture in pool.groups[0]) == [
        (80, 90, 3),
        (80, 90, 3),
        (100, 167, 3),
    ]
    assert [name.rsplit("/", 1)[-1] for name in pool.skipped] == ["broken.png"]


def test_crops_of_tiny_pictures_work():
    crop = random_crop(np.random.default_rng(0), np.zeros((5, 9, 3), np.uint8), 64)
    assert crop.shape == (64, 64, 3)


def test_no_picture_at_all_is_an_error():
    with pytest.raises(SourceError, match="no picture to learn from"):
        PicturePool([])


def test_edge_targets_are_the_layers_of_the_teacher(teacher):
    targets, crops = Targets(teacher, "edge", 64), torch.randint(0, 255, (2, 64, 64, 3)).byte()
    maps = teacher(teacher.normalise(crops)).maps
    made = targets(crops)
    assert {name: tuple(value.shape) for name, value in made.items()} == {
        "stride4": (2, 64, 16, 16),
        "stride8": (2, 128, 8, 8),
        "stride16": (2, 256, 4, 4),
        "local": (2, 384, 8, 8),
    }
    assert torch.equal(made["stride8"], maps["layer2"])
    mean = torch.nn.functional.avg_pool2d(maps["layer2"], 3, 1, 1)
    torch.testing.assert_close(made["local"][:, :128], mean)


def test_published_students_learn_the_embedding_of_the_doubled_picture(teacher):
    targets = Targets(teacher, "small", 64)
    made = targets(torch.randint(0, 255, (1, 64, 64, 3)).byte())
    assert made["embedding"].shape == (1, 384, 16, 16)
    run = distillation(PicturePool([], procedural=2), teacher, size="small", steps=1, batch_size=1)
    assert run.run()
    assert run.network().convolutions[-1].out_channels == 384


def test_a_teacher_without_the_strides_is_refused():
    vit = create_backbone("vit_tiny_patch16_224", weights="random", input_hw=(64, 64))
    with pytest.raises(SettingsError, match="no layer of stride 4"):
        Targets(vit, "edge", 64)


def test_training_lowers_the_error_on_pictures_it_never_saw(pool, teacher):
    run = distillation(pool, teacher, steps=40, batch_size=4, learning_rate=0.02)
    run.run()
    errors = [error for _, error in run.held_out]
    assert len(errors) == 40
    assert errors[-1] < 0.95 * errors[0]


def test_a_stopped_run_goes_on_to_the_same_bytes(pool, teacher, tmp_path):
    whole = distillation(pool, teacher)
    whole.run()
    write_weights(whole, tmp_path / "whole.safetensors")
    part = distillation(pool, teacher)
    checkpoint = tmp_path / "part.checkpoint.safetensors"
    assert not part.run(until=0, checkpoint=checkpoint)
    assert part.step == 1
    again = distillation(pool, teacher)
    again.resume(checkpoint)
    assert again.step == 1
    assert again.run()
    write_weights(again, tmp_path / "again.safetensors")
    expected = (tmp_path / "whole.safetensors").read_bytes()
    assert (tmp_path / "again.safetensors").read_bytes() == expected


@pytest.mark.usefixtures("few_batches")
def test_a_run_killed_at_any_write_goes_on_to_the_same_bytes(pool, teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(train, "_HELD_OUT_BATCHES", 1)
    whole = distillation(pool, teacher, steps=3)
    whole.run()
    expected = write_weights(whole, tmp_path / "whole.safetensors").read_bytes()

    def begin(number):
        folder = tmp_path / str(number)
        run = distillation(pool, teacher, steps=3)
        run.run(checkpoint=folder / "c.safetensors")
        write_weights(run, folder / "edge.safetensors")

    def go_on(number):
        folder = tmp_path / str(number)
        run = distillation(pool, teacher, steps=3)
        run.resume(folder / "c.safetensors")
        run.run(checkpoint=folder / "c.safetensors")
        assert run.held_out == whole.held_out
        path = write_weights(run, folder / "edge.safetensors")
        assert path.read_bytes() == expected, number

    assert at_each_write(monkeypatch, begin, go_on) == 5  # a step each, the end, the weights


@pytest.mark.usefixtures("few_batches")
def test_a_run_that_is_stopped_in_python_can_go_on_where_it_is(pool, teacher, tmp_path):
    whole, part = distillation(pool, teacher), distillation(pool, teacher)
    whole.run()
    while not part.run(until=0):
        pass
    first = write_weights(whole, tmp_path / "first.safetensors")
    assert write_weights(part, tmp_path / "second.safetensors").read_bytes() == first.read_bytes()


@pytest.mark.usefixtures("few_batches")
def test_held_out_crops_are_shown_to_the_teacher_once(pool, monkeypatch):
    teacher, batches = create_backbone("resnet18", weights="random"), []
    extract = teacher.extract
    monkeypatch.setattr(teacher, "extract", lambda p: batches.append(len(p)) or extract(p))
    distillation(pool, teacher, steps=6).run()
    # Statistics, steps, held-out crops; one more picture where the grids are tried.
    assert batches.count(SMALL["batch_size"]) == 2 * 3 + 6 + 4
    assert len(batches) - batches.count(SMALL["batch_size"]) <= 1


def test_a_checkpoint_of_another_run_is_refused(pool, teacher, tmp_path):
    run = distillation(pool, teacher)
    run.run(until=0, checkpoint=tmp_path / "c.safetensors")
    with pytest.raises(FitError, match="another run"):
        distillation(pool, teacher, steps=7).resume(tmp_path / "c.safetensors")
    (tmp_path / "c.safetensors").write_bytes(b"damaged")
    with pytest.raises(FitError, match="damaged"):
        distillation(pool, teacher).resume(tmp_path / "c.safetensors")


def test_written_weights_are_a_backbone_that_answers_in_the_teachers_units(pool, teacher, tmp_path):
    run = distillation(pool, teacher, steps=3)
    run.run()
    path = write_weights(run, tmp_path / "edge.safetensors", note="drawn here")
    backbone = create_backbone("pdn_edge", layers=list(run.targets.channels), weights=path)
    crops = torch.from_numpy(pool.batch((9,), 2, 64))
    run.student.eval()
    with torch.no_grad():
        maps = backbone(backbone.normalise(crops)).maps
        own = run.student(run._pixels(crops))
    for name, value in own.items():
        wanted = value * run.statistics.std[name].view(-1, 1, 1) + run.statistics.mean[name].view(
            -1, 1, 1
        )
        scale = float(wanted.abs().max())
        assert float((maps[name] - wanted).abs().max()) < 0.01 * scale
    card = read_card(path)
    assert (card["teacher"], card["steps_done"], card["note"]) == ("resnet18", 3, "drawn here")


def test_weights_that_diverged_are_not_written(pool, teacher, tmp_path):
    run = distillation(pool, teacher)
    run.run(until=0)
    run.student.net.stride4.weight.data[:] = float("nan")
    with pytest.raises(AnomalibLiteError, match="diverged"):
        write_weights(run, tmp_path / "edge.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_card_is_named(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"x")
    with pytest.raises(WeightsError, match="no model card"):
        read_card(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "at least 1"),
        ({"side": 100}, "multiple of 16"),
        ({"learning_rate": 0}, "between 0 and 1"),
    ],
)
def test_senseless_settings_are_refused(settings, words):
    with pytest.raises(SettingsError, match=words):
        DistillSettings(**settings)


@pytest.mark.parametrize("size", ["edge", "small"])
def test_a_run_can_start_from_the_weights_of_another(pool, teacher, tmp_path, size):
    first = distillation(pool, teacher, size=size, steps=12)
    first.run()
    path = write_weights(first, tmp_path / "first.safetensors")
    second = distillation(pool, teacher, path, size=size, steps=1, learning_rate=1e-9)
    assert not any("running_mean" in name for name in second.student.state_dict())
    second.run()
    wanted, given = load_file(path), second.network().state_dict()
    assert wanted.keys() == given.keys()
    for name, value in wanted.items():
        assert torch.allclose(given[name], value.float(), rtol=1e-4, atol=1e-5), name
    assert model_card(second, "")["started_from"] == sha256_file(path)
    with pytest.raises(WeightsError, match="first"):
        distillation(pool, teacher, path, size="medium")


def test_a_run_can_start_from_weights_without_top_down_paths(pool, teacher, tmp_path):
    first = distillation(pool, teacher, steps=2)
    first.run()
    path = write_weights(first, tmp_path / "first.safetensors")
    old = {name: value for name, value in load_file(path).items() if not name.startswith("wide")}
    save_file(old, tmp_path / "old.safetensors", metadata={"card": "{}"})
    second = distillation(pool, teacher, tmp_path / "old.safetensors", steps=3)
    assert not second.student.net.wide4.weight.any()
    second.run()
    assert second.student.net.wide4.weight.any()
    assert second.student.net.wide8.weight.any()


def test_the_last_steps_learn_with_batch_norm_as_it_is_shipped(pool, teacher):
    run = distillation(pool, teacher, steps=8)
    norm, seen = run.student.net.trunk.stem.norm, []
    run.run(progress=lambda *_: seen.append(norm.running_mean.clone()))
    changed = [not torch.equal(one, other) for one, other in pairwise(seen)]
    assert changed == [True] * 5 + [False] * 2


def test_weights_to_start_from_are_part_of_the_checkpoint(pool, teacher, tmp_path):
    first = distillation(pool, teacher, steps=1)
    first.run()
    path = write_weights(first, tmp_path / "first.safetensors")
    whole, part, again = (distillation(pool, teacher, path, steps=3) for _ in range(3))
    whole.run()
    part.run(until=0, checkpoint=tmp_path / "c.safetensors")
    again.resume(tmp_path / "c.safetensors")
    again.run()
    for name, value in whole.student.state_dict().items():
        assert torch.equal(again.student.state_dict()[name], value)
    with pytest.raises(FitError, match="another run"):
        distillation(pool, teacher, steps=3).resume(tmp_path / "c.safetensors")


@pytest.mark.parametrize("start", [False, True])
def test_a_run_on_a_device_gives_the_weights_of_the_cpu(
    pool, few_batches, tmp_path, monkeypatch, start
):
    """On the pretended device: whatever is left on the CPU fails there."""
    first = None
    if start:
        first = tmp_path / "first.safetensors"
        made = distillation(pool, create_backbone("resnet18", weights="random"))
        made.run()
        write_weights(made, first)
    expected = distillation(pool, create_backbone("resnet18", weights="random"), first, steps=2)
    expected.run()
    settings = DistillSettings(**{**SMALL, "steps": 2})
    pretend_cuda(monkeypatch)
    with PretendedCuda():
        teacher = create_backbone("resnet18", weights="random")
        found = Distillation(pool, teacher, settings, first, device="cuda")
        found.run(checkpoint=tmp_path / "run.safetensors")
        network = found.network()
    for name, value in expected.network().state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_fine_textures_are_a_group_of_their_own():
    made = PicturePool([], procedural=2, fine=3)
    assert [len(group) for group in made.groups] == [2, 3]
    assert made.procedural == 5
