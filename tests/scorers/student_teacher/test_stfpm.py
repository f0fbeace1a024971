"""STFPM against its equations, and from good images to files."""

import os
import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from anomalib_lite import Detector
from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.scorers import create_scorer
from anomalib_lite.scorers.student_teacher.stfpm import direction_distance
from anomalib_lite.scorers.training.loop import held_back

SIDE, STEPS = 64, 4


def detector(backbone="pdn_edge", **settings):
    settings = {"steps": STEPS, "batch_size": 4, **settings}
    return Detector("stfpm", backbone=backbone, weights="random", image_size=SIDE, **settings)


@pytest.fixture(scope="module")
def fitted(good_frames):
    return detector().fit(good_frames)


def test_a_teacher_with_damaged_weights_is_named_at_once(good_frames):
    made = detector()
    made.backbone.net.trunk.stem.conv.weight.data.fill_(float("nan"))
    with pytest.raises(FitError, match="of pdn_edge gives NaN or infinity; the weights"):
        made.fit(good_frames)


def test_bfloat16_is_for_the_training_alone(good_frames):
    half = detector(steps=10, bf16=True).fit(good_frames)
    assert half.scorer.settings()["bf16"] is True
    curve = half.scorer.held_out_loss_
    assert float(curve[-1, 1]) < 0.9 * float(curve[0, 1])
    assert {p.dtype for p in half.scorer.student_net.parameters()} == {torch.float32}


def test_the_distance_is_one_minus_the_cosine():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 2, 7, 3, 4, generator=generator)
    expected = 1 - F.cosine_similarity(one, other, dim=1)
    torch.testing.assert_close(direction_distance(one, other), expected, rtol=1e-4, atol=1e-6)
    assert float(direction_distance(one, 5 * one).abs().max()) < 1e-6


def test_the_map_is_the_product_of_the_enlarged_layers(fitted, good_frames):
    features = next(iter(fitted._stream(good_frames[:2]))).features
    student = fitted.scorer.student_net.extract(features.pixels)
    expected = torch.ones(2, SIDE, SIDE)
    for name, teacher in features.maps.items():
        distance = 1 - F.cosine_similarity(teacher, student[name], dim=1)
        size = (SIDE, SIDE)
        expected *= F.interpolate(distance[:, None], size, mode="bilinear")[:, 0]
    scores = fitted.scorer(features)
    torch.testing.assert_close(scores.map, expected, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(scores.image, expected.amax(dim=(1, 2)), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("backbone", ["pdn_edge", "resnet10t"])
def test_training_lowers_the_held_out_loss_and_files_keep_the_score(
    backbone, good_frames, tmp_path
):
    made = detector(backbone, steps=10).fit(good_frames)
    curve = made.scorer.held_out_loss_
    assert float(curve[-1, 1]) < 0.9 * float(curve[0, 1])
    again = Detector.load(made.save(tmp_path / "part.safetensors"))
    assert again.scorer.settings() == made.scorer.settings()
    assert again.scorer.student_net.name == backbone
    assert again.predict(good_frames[0]).score == made.predict(good_frames[0]).score
    assert made.export(tmp_path / "part.onnx").parity.passed


def test_an_interrupted_fit_resumes_to_the_same_bytes(good_frames, tmp_path):
    backbone = "resnet10t"

    def press(stage, done, total):
        if stage.startswith("training") and done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    whole = detector(backbone).fit(good_frames)
    torch.manual_seed(77)
    before = torch.get_rng_state()
    stopped = detector(backbone).fit(good_frames, progress=press, checkpoint=tmp_path / "state")
    assert stopped.scorer.stopped_early
    resumed = detector(backbone).fit(good_frames, checkpoint=tmp_path / "state", resume=True)
    assert torch.equal(torch.get_rng_state(), before)
    first, second = whole.save(tmp_path / "a.safetensors"), resumed.save(tmp_path / "b.safetensors")
    assert first.read_bytes() == second.read_bytes()


def test_a_checkpoint_of_another_normalisation_is_refused(good_frames, tmp_path):
    detector("pdn_edge").fit(good_frames, checkpoint=tmp_path / "state")
    other = detector("pdn_edge", backbone_options={"mean": [0.4, 0.4, 0.4]})
    with pytest.raises(FitError, match="another fit"):
        other.fit(good_frames, checkpoint=tmp_path / "state", resume=True)


def test_the_budget_defaults_to_a_hundred_passes():
    assert create_scorer("stfpm", batch_size=32)._budget(209).steps == 654
    assert create_scorer("stfpm", minutes=3)._budget(209).minutes == 3


def test_the_last_held_out_loss_is_that_of_the_saved_student(fitted, good_frames):
    learnt = [index for index, record in enumerate(fitted.data.records) if record.learnt]
    _, watched = held_back(learnt, 0.1, fitted.seed)
    stream = fitted._stream(good_frames).subset(watched)
    (batch,) = list(stream)
    maps = fitted.scorer.student_net.extract(batch.features.pixels)
    expected = sum(
        float((1 - F.cosine_similarity(teacher, maps[name], dim=1)).mean())
        for name, teacher in batch.features.maps.items()
    )
    assert float(fitted.scorer.held_out_loss_[-1, 1]) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 1}, "batch_size"),
        ({"steps": 0}, "steps"),
        ({"learning_rate": -1}, "learning_rate"),
    ],
)
def test_settings_without_sense_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        create_scorer("stfpm", **settings)


@pytest.mark.parametrize(
    ("backbone", "student", "message"),
    [("filters", None, "nothing to train"), ("resnet10t", "pdn_edge", "no layer")],
)
def test_a_student_that_cannot_follow_is_refused(backbone, student, message, good_frames):
    with pytest.raises(SettingsError, match=message):
        Detector(
            "stfpm", backbone=backbone, weights="random", image_size=SIDE, student=student
        ).fit(good_frames[:4])


def test_the_region_of_interest_bounds_loss_and_map(good_frames):
    from anomalib_lite.edge.prepare import InputSpec

    mask = np.zeros((96, 96), np.uint8)
    mask[16:80, 16:80] = 255
    spec = InputSpec(height=SIDE, width=SIDE).with_roi(mask)
    made = Detector("stfpm", backbone="pdn_edge", weights="random", image_size=spec, steps=2)
    made.fit(good_frames)
    anomaly_map = made.run(np.stack([frame[:SIDE, :SIDE] for frame in good_frames[:1]])).anomaly_map
    assert (anomaly_map[0][~spec.roi] == 0).all()
