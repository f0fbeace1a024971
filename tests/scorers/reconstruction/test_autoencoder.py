"""The plain autoencoder: its map, its training, its files."""

import numpy as np
import pytest
import torch
from helpers.reconstruction_references import ssim_of_a_channel
from torch.utils.flop_counter import FlopCounterMode

from anomalib_lite import Detector
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers import create_scorer
from anomalib_lite.scorers.reconstruction.autoencoder import PictureAutoencoder

SIDE = 32


def detector(**settings):
    settings = {"image_size": SIDE, "steps": 3, "batch_size": 4, **settings}
    return Detector("reconstruction", **settings)


@pytest.fixture(scope="module")
def fitted(good_frames):
    return detector().fit(good_frames)


def pictures_of(made, frames):
    return next(iter(made._stream(frames))).features.pixels


def test_the_map_is_the_difference_and_half_of_what_ssim_lacks(fitted, good_frames):
    scorer, pixels = fitted.scorer, pictures_of(fitted, good_frames[:2])
    drawn = scorer.network(pixels).double().numpy()
    features = next(iter(fitted._stream(good_frames[:2]))).features
    given, found = pixels.double().numpy(), scorer(features).map
    for n in range(2):
        unlike = [
            (1 - ssim_of_a_channel(one, other)) / 2
            for one, other in zip(given[n], drawn[n], strict=True)
        ]
        expected = np.mean(np.abs(given[n] - drawn[n]) + np.array(unlike), axis=0)
        np.testing.assert_allclose(found[n], expected, rtol=1e-3, atol=1e-4)


def test_the_loss_is_the_mean_of_the_map_on_held_out_images(fitted, good_frames):
    from anomalib_lite.scorers.training.loop import held_back

    learnt = [index for index, record in enumerate(fitted.data.records) if record.learnt]
    _, watched = held_back(learnt, 0.1, fitted.seed)
    maps = [
        fitted.scorer(batch.features).map
        for batch in fitted._stream(good_frames).batches(1, watched)
    ]
    expected = float(torch.cat(maps).mean())
    assert float(fitted.scorer.held_out_loss_[-1, 1]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("size_hw", [(32, 32), (45, 70), (64, 32)])
def test_nothing_passes_but_the_bottleneck(size_hw, rng):
    network = PictureAutoencoder(size_hw, 7)
    pictures = torch.from_numpy(rng.random((2, 3, *size_hw))).float()
    passed = []
    network.squeeze.register_forward_hook(lambda _, __, made: passed.append(made.shape))
    assert network(pictures).shape == pictures.shape
    assert passed == [(2, 7, 1, 1)]


def test_it_is_the_smallest_that_there_is():
    with torch.device("meta"), FlopCounterMode(display=False) as counted:
        network = PictureAutoencoder((256, 256), 100)
        network(torch.zeros(1, 3, 256, 256))
    assert counted.get_total_flops() / 2e9 < 0.5
    assert sum(item.numel() for item in network.parameters()) < 1.1e6


@pytest.mark.parametrize("size_hw", [(32, 64), (45, 70)])
def test_the_numbers_of_a_step_are_counted(size_hw):
    network, found = PictureAutoencoder(size_hw, 5), []
    for module in (*network.encoder, *network.decoder, network.head):
        module.register_forward_hook(lambda _, __, made: found.append(made.numel()))
    network(torch.zeros(1, 3, *size_hw))
    assert network.numbers() >= sum(found)
    assert network.numbers() <= 2 * sum(found)


def test_a_spot_is_where_the_map_is_highest(good_frames):
    made = detector(image_size=(45, 70), steps=5).fit(good_frames)
    frame = np.ascontiguousarray(good_frames[0][:45, :70])
    calm = made.run(frame[None])
    for row, column in ((6, 60), (38, 9), (22, 35)):
        spotted = frame.copy()
        spotted[row - 2 : row + 3, column - 2 : column + 3] = (255, 0, 255)
        found = made.run(spotted[None])
        peak = np.unravel_index((found.anomaly_map - calm.anomaly_map)[0].argmax(), (45, 70))
        assert np.abs(np.subtract(peak, (row, column))).max() <= 3


def test_training_lowers_the_held_out_loss(good_frames):
    curve = detector(steps=40).fit(good_frames).scorer.held_out_loss_
    assert int(curve[-1, 0]) == 40
    assert float(curve[-1, 1]) < 0.8 * float(curve[0, 1])


def test_bfloat16_is_for_the_training_alone(good_frames):
    half = detector(steps=10, bf16=True).fit(good_frames).scorer
    exact = detector(steps=10).fit(good_frames).scorer
    assert torch.allclose(half.held_out_loss_[:, 1], exact.held_out_loss_[:, 1], rtol=0.05)
    assert {item.dtype for item in half.network.parameters()} == {torch.float32}


@pytest.mark.parametrize("size", [SIDE, (45, 70)])
def test_files_and_the_exported_graph_keep_the_score(good_frames, scratched, size, tmp_path):
    made = detector(image_size=size).fit(good_frames)
    again = Detector.load(made.save(tmp_path / "part.safetensors"))
    assert again.scorer.settings() == made.scorer.settings()
    assert again.predict(scratched[0]).score == made.predict(scratched[0]).score
    assert made.export(tmp_path / "part.onnx").parity.passed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bottleneck": 0}, "bottleneck is 0"),
        ({"batch_size": 0}, "choose 1 or more"),
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": -1.0}, "learning_rate"),
    ],
)
def test_settings_without_sense_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        create_scorer("reconstruction", **settings)


def test_the_budget_defaults_to_two_hundred_passes():
    assert create_scorer("reconstruction")._budget(209).steps == 5225
    assert create_scorer("reconstruction", minutes=3)._budget(209).minutes == 3
