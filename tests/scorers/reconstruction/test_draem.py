"""DRAEM against slow float64 references, and from good images to files."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from helpers.reconstruction_references import (
    LiteralDraem,
    after_one_step_of_adam,
    focal_of_a_pixel,
    literal_loss,
    peak_of_means,
    ssim_of_a_channel,
)
from torch.utils.flop_counter import FlopCounterMode

from anomalib_lite import Detector
from anomalib_lite.data.simulate import paste_textures, procedural_textures
from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.scorers import FitContext, create_scorer
from anomalib_lite.scorers.reconstruction import draem
from anomalib_lite.scorers.reconstruction.draem_networks import (
    Discriminative,
    DraemNetworks,
    Reconstructive,
    initialise,
)
from anomalib_lite.scorers.reconstruction.likeness import StructuralSimilarity, focal_loss
from anomalib_lite.scorers.reconstruction.trained import drawn
from anomalib_lite.scorers.training.loop import held_back, step_seed
from anomalib_lite.system import memory
from anomalib_lite.system.seeding import seeded

SIDE, STEPS, BATCH = 32, 4, 2


def detector(**settings):
    settings = {"steps": STEPS, "batch_size": BATCH, **settings}
    return Detector("draem", **{"image_size": SIDE, **settings})


@pytest.fixture(scope="module")
def fitted(good_frames):
    return detector().fit(good_frames)


@pytest.mark.parametrize(
    ("network", "channels", "parameters", "giga"),
    [(Reconstructive, 3, 69_048_579, 159.9), (Discriminative, 6, 28_374_146, 38.05)],
)
def test_the_full_width_is_the_published_network(network, channels, parameters, giga):
    with torch.device("meta"):
        made = network((256, 256), 1.0)
        with FlopCounterMode(display=False) as counted:
            found = made(torch.zeros(1, channels, 256, 256))
    assert found.shape == (1, 3 if network is Reconstructive else 2, 256, 256)
    assert sum(item.numel() for item in made.parameters()) == parameters
    assert counted.get_total_flops() / 2e9 == pytest.approx(giga, abs=0.05)


def test_each_narrower_width_is_about_a_quarter_of_the_work():
    found = []
    for width in draem.WIDTHS:
        with torch.device("meta"), FlopCounterMode(display=False) as counted:
            DraemNetworks((64, 64), width)(torch.zeros(1, 3, 64, 64))
        found.append(counted.get_total_flops())
    assert all(3.8 < one / other < 4 for one, other in pairwise(found))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size_hw", [(32, 64), (64, 32)])
def test_both_networks_compute_what_the_paper_says(training, size_hw, rng):
    with seeded(3):
        networks = DraemNetworks(size_hw, 0.125)
        initialise(networks)
    networks.double().train(training)
    state = {name: item.detach().clone() for name, item in networks.state_dict().items()}
    pictures = torch.from_numpy(rng.random((2, 3, *size_hw)))
    with torch.no_grad():
        found = networks(pictures)
        expected = LiteralDraem(state, training=training)(pictures)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


def test_weights_begin_as_the_authors_draw_them():
    with seeded(0):
        networks = DraemNetworks((64, 64), 0.25)
        initialise(networks)
    named = {name: item.detach() for name, item in networks.named_parameters()}
    kernels = torch.cat([item.flatten() for item in named.values() if item.ndim == 4])
    gains = torch.cat([item for name, item in named.items() if name.endswith("norm.weight")])
    offsets = [item for name, item in named.items() if name.endswith("norm.bias")]
    assert (float(kernels.mean()), float(kernels.std())) == pytest.approx((0, 0.02), abs=1e-4)
    assert (float(gains.mean()), float(gains.std())) == pytest.approx((1, 0.02), abs=2e-3)
    assert not any(item.any() for item in offsets)


@pytest.mark.parametrize("size_hw", [(13, 9), (16, 23)])
def test_ssim_is_that_of_every_pixel(size_hw, rng):
    one, other = rng.random((2, 2, 3, *size_hw))
    found = StructuralSimilarity(size_hw)(*(torch.from_numpy(x).float() for x in (one, other)))
    for place in np.ndindex(2, 3):
        expected = ssim_of_a_channel(one[place], other[place])
        np.testing.assert_allclose(found[place], expected, rtol=1e-3, atol=1e-5)
    same = StructuralSimilarity(size_hw)(*2 * (torch.from_numpy(one).float(),))
    torch.testing.assert_close(same, torch.ones_like(same))


def test_a_larger_range_of_values_changes_no_ssim(rng):
    one, other = torch.from_numpy(rng.random((2, 1, 3, 12, 12))).float()
    found = StructuralSimilarity((12, 12), 255.0)(255 * one, 255 * other)
    torch.testing.assert_close(found, StructuralSimilarity((12, 12))(one, other))


def test_the_focal_loss_is_that_of_every_pixel(rng):
    likely = torch.from_numpy(rng.normal(0, 3, (2, 2, 4, 5))).softmax(1)
    mask = torch.from_numpy(rng.integers(0, 2, (2, 4, 5))).double()
    found = focal_loss(likely, mask)
    for n, row, column in np.ndindex(2, 4, 5):
        good, defective = likely[n, :, row, column].tolist()
        expected = focal_of_a_pixel(good, defective, bool(mask[n, row, column]))
        assert float(found[n, row, column]) == pytest.approx(expected, rel=1e-9)
    assert float(focal_loss(torch.tensor([[1.0, 0.0]])[..., None, None], torch.zeros(1, 1, 1))) == 0


def test_the_image_score_is_the_largest_mean_of_21_pixels(rng):
    maps = rng.random((2, 30, 26))
    maps[0, 0, 0] = 40
    found = draem.peak_of_means(torch.from_numpy(maps))
    assert found.tolist() == pytest.approx([peak_of_means(one) for one in maps])
    spot = torch.zeros(1, 8, 8)
    spot[0, 3, 3] = 1
    assert float(draem.peak_of_means(spot)) == pytest.approx(1 / 441)


def test_one_step_goes_where_the_literal_loss_descends(good_frames):
    """Both networks by the gradient of the whole loss; the segmentation reaches the first."""
    made = detector(steps=1, batch_size=4)
    scorer, stream = made.scorer, made._stream(good_frames)
    scorer.fit(stream, FitContext())
    after = scorer.network.state_dict()

    with seeded(step_seed(0, 0, "weights")):
        fresh = scorer._fresh()
    values = {name: item.detach().double() for name, item in fresh.named_parameters()}
    trained, _ = held_back(range(len(good_frames)), 0.1, 0)
    order = drawn(trained, 4, 0, 0)
    (batch,) = stream.batches(4, [next(order) for _ in range(4)])
    rng = np.random.default_rng(step_seed(0, 0, "picture"))
    bank = procedural_textures((SIDE, SIDE), seed=0)
    pasted = paste_textures(rng, batch.frames.numpy(), bank)
    assert pasted.masks.any()
    clean, changed = (
        torch.from_numpy(item).permute(0, 3, 1, 2).double() / 255
        for item in (pasted.clean, pasted.frames)
    )
    leaves = {name: item.clone().requires_grad_(True) for name, item in values.items()}
    with torch.enable_grad():
        networks = LiteralDraem(leaves, training=True)
        loss = literal_loss(networks, clean, changed, torch.from_numpy(pasted.masks).double())
        gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    expected = after_one_step_of_adam(values, gradients, scorer.rate)
    compared = same = 0
    for name, gradient in gradients.items():
        # A bias in front of a batch norm has no slope; what is left of one is rounding. Adam takes
        # a whole step for any slope, so that those near zero may go the other way in float32.
        largest = float(gradient.abs().max())
        clear = gradient.abs() > 0.05 * largest
        if largest > 1e-7:
            compared += int(clear.sum())
            away = (after[name].double() - expected[name])[clear].abs()
            same += int((away < 2e-6).sum())
    assert same > 0.98 * compared
    assert compared > 0.5 * sum(item.numel() for item in values.values())


def test_the_segmentation_loss_alone_reaches_the_reconstructive_network(rng):
    with seeded(0):
        networks = DraemNetworks((SIDE, SIDE), 0.125)
        initialise(networks)
    pictures = torch.from_numpy(rng.random((2, 3, SIDE, SIDE))).float()
    with torch.enable_grad():
        _, logits = networks.train()(pictures)
        focal_loss(logits.softmax(1), torch.ones(2, SIDE, SIDE)).mean().backward()
    weights = [p for n, p in networks.reconstructive.named_parameters() if p.ndim == 4]
    assert all(float(item.grad.abs().max()) > 0 for item in weights)


@pytest.mark.parametrize(
    ("spent", "factor"),
    [(0, 1), (0.79, 1), (0.8, 0.2), (0.89, 0.2), (0.9, 0.04), (0.999, 0.04)],
)
def test_the_learning_rate_falls_twice(spent, factor):
    assert draem.fall_twice(7, spent) == factor


@pytest.mark.parametrize(
    ("settings", "steps", "rate"),
    [({"width": 1.0}, 18_288, 1e-4), ({}, 2_613, 8e-4), ({"width": 0.5}, 2_613, 2e-4)],
)
def test_the_published_course_is_that_of_the_full_width(settings, steps, rate):
    scorer = create_scorer("draem", **settings)
    assert scorer._budget(209).steps == steps
    assert scorer.rate == pytest.approx(rate)
    assert create_scorer("draem", minutes=3)._budget(209).minutes == 3


def test_training_lowers_the_held_out_loss(good_frames):
    curve = detector(steps=25, batch_size=4).fit(good_frames).scorer.held_out_loss_
    assert int(curve[-1, 0]) == 25
    assert float(curve[-1, 1]) < 0.85 * float(curve[0, 1])


def test_bfloat16_is_for_the_training_alone(good_frames):
    half = detector(steps=3, bf16=True).fit(good_frames)
    exact = detector(steps=3).fit(good_frames)
    rough, fine = half.scorer.held_out_loss_[:, 1], exact.scorer.held_out_loss_[:, 1]
    assert not torch.equal(rough, fine)
    assert torch.allclose(rough, fine, rtol=0.1)
    assert {item.dtype for item in half.scorer.network.parameters()} == {torch.float32}


@pytest.mark.parametrize("size", [SIDE, (45, 70)])
def test_files_and_the_exported_graph_keep_the_score(good_frames, scratched, size, tmp_path):
    made = detector(image_size=size).fit(good_frames)
    again = Detector.load(made.save(tmp_path / "part.safetensors"))
    assert again.scorer.settings() == made.scorer.settings()
    assert again.predict(scratched[0]).score == made.predict(scratched[0]).score
    assert made.export(tmp_path / "part.onnx").parity.passed
    rows, columns = made.spec.size_hw
    outputs = made.run(np.stack([frame[:rows, :columns] for frame in good_frames[:2]]))
    assert outputs.anomaly_map.shape == (2, rows, columns)
    assert ((outputs.anomaly_map > 0) & (outputs.anomaly_map < 1)).all()
    expected = [peak_of_means(one) for one in outputs.anomaly_map.astype(np.float64)]
    assert outputs.score.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size_hw", [(32, 64), (45, 70)])
@pytest.mark.parametrize("place", [(3, 5), (20, 33), (30, 30)])
def test_a_place_of_the_map_looks_at_that_place(size_hw, place, rng):
    """Where the slope of a pixel's score lies, by its absolute value, is around that pixel."""
    with seeded(1):
        networks = DraemNetworks(size_hw, 0.125)
        initialise(networks)
    pictures = torch.from_numpy(rng.random((1, 3, *size_hw))).float().requires_grad_(True)
    with torch.enable_grad():
        _, logits = networks.eval()(pictures)
        likely = logits.softmax(1)[0, 1][place]
        (slope,) = torch.autograd.grad(likely, pictures)
    weight = slope[0].abs().sum(0).numpy()
    peak = np.unravel_index(weight.argmax(), size_hw)
    assert np.abs(np.subtract(peak, place)).max() <= 4


@pytest.mark.parametrize("changed", [{"width": 0.25}, {"learning_rate": 1e-4}, {"batch_size": 3}])
def test_a_checkpoint_of_other_settings_is_refused(good_frames, tmp_path, changed):
    detector(steps=1).fit(good_frames, checkpoint=tmp_path)
    with pytest.raises(FitError, match="another fit"):
        detector(steps=1, **changed).fit(good_frames, checkpoint=tmp_path, resume=True)


def test_the_picture_is_the_same_whatever_a_backbone_does_with_it(fitted, good_frames):
    other = detector(backbone="filters").fit(good_frames)
    found, expected = (made.scorer.held_out_loss_ for made in (other, fitted))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_textures_may_come_from_a_folder(fitted, good_frames, rng, tmp_path):
    folder = tmp_path / "materials"
    folder.mkdir()
    for index in range(3):
        noise = rng.integers(0, 256, (40, 50, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), noise)
    (folder / "notes.txt").write_text("not a picture")
    made = detector(textures=str(folder)).fit(good_frames)
    assert made.scorer.settings()["textures"] == "materials"
    assert not torch.equal(made.scorer.held_out_loss_, fitted.scorer.held_out_loss_)


@pytest.mark.parametrize("content", [None, "nothing", "torn"])
def test_a_folder_without_textures_is_one_line(good_frames, tmp_path, content):
    folder = tmp_path / "materials"
    if content is not None:
        folder.mkdir()
    if content == "torn":
        (folder / "one.png").write_bytes(b"torn")
    with pytest.raises(SettingsError, match=r"^textures: .*materials.*") as told:
        detector(textures=str(folder)).fit(good_frames)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0.3}, "choose 1.0, 0.5, 0.25 or 0.125"),
        ({"width": 0}, "choose 1.0, 0.5, 0.25 or 0.125"),
        ({"batch_size": 1}, "choose 2 or more"),
        ({"steps": 0}, "steps is 0"),
        ({"minutes": -1.0}, "minutes is -1"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_settings_without_sense_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        create_scorer("draem", **settings)


def test_a_training_that_does_not_fit_in_memory_is_refused(good_frames, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1 << 20)
    with pytest.raises(FitError, match=r"the fit needs about .* choose a smaller .*width or batch"):
        detector().fit(good_frames)


def test_the_memory_of_a_training_grows_with_what_it_holds():
    def needed(**settings):
        return detector(**settings).memory_bytes()

    plain = needed()
    assert needed(batch_size=2 * BATCH) > plain
    assert needed(image_size=2 * SIDE) > plain
    assert needed(bf16=True) < plain
    assert needed(width=0.25) > 2 * plain


@pytest.mark.parametrize("size_hw", [(32, 64), (45, 70)])
def test_the_numbers_of_a_step_are_counted(size_hw):
    with torch.device("meta"):
        networks = DraemNetworks(size_hw, 0.125)
        found = []
        for module in networks.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(lambda _, __, made: found.append(made.numel()))
        networks(torch.zeros(1, 3, *size_hw))
    last = 5 * size_hw[0] * size_hw[1]  # the pictures and logits themselves
    assert networks.numbers() == sum(found) - last
