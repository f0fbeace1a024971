"""EfficientAD from good images to files: training, interruption, ablations, the detector around."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from anomalib_lite import Detector
from anomalib_lite.edge.engines import OnnxRuntimeEngine
from anomalib_lite.edge.errors import FitError
from anomalib_lite.scorers import FitContext
from anomalib_lite.scorers.student_teacher.efficientad_losses import augmented
from anomalib_lite.scorers.student_teacher.efficientad_training import Lesson
from anomalib_lite.scorers.training.loop import step_seed

SIDE, STEPS = 64, 8


def detector(size="edge", **settings):
    settings = {"steps": STEPS, **settings}
    return Detector("efficientad", size=size, weights="random", image_size=SIDE, **settings)


@pytest.fixture(scope="module")
def fitted(good_frames):
    return detector().fit(good_frames)


def lesson_of(made, frames):
    made.scorer._allocate(0)
    return Lesson(made.scorer.networks, made.scorer.course, made._stream(frames), FitContext())


def test_teacher_statistics_are_those_of_all_places_of_the_trained_images(good_frames):
    made = detector()
    lesson = lesson_of(made, good_frames)
    frames = np.stack([good_frames[index] for index in lesson.trained])
    batches = list(made._stream(list(frames)))
    maps = torch.cat([batch.features.maps["local"] for batch in batches]).double()
    maps = maps[..., 1:-1, 1:-1]  # the outer cells do not count
    torch.testing.assert_close(lesson.mean.double(), maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    expected = maps.var((0, 2, 3), correction=0).sqrt()
    torch.testing.assert_close(lesson.std.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", ["edge", "S"])
def test_a_step_descends_the_papers_loss(good_frames, size):
    made = detector(size)
    lesson = lesson_of(made, good_frames)
    scorer, step = made.scorer, 3
    inner = slice(1, -1) if size == "edge" else slice(None)
    hard_share = 0.99 if size == "edge" else 0.999
    with torch.no_grad():
        got = lesson.step_loss(step)
    index = lesson._order[step]
    batch = next(iter(made._stream([good_frames[index]])))
    frame = batch.features
    layer, channels = scorer.teacher.name, scorer.teacher.channels

    def normal(features):
        return (features.maps[layer] - lesson.mean[:, None, None]) / lesson.std[:, None, None]

    rng = np.random.default_rng(step_seed(0, step, "augment"))
    changed = made.backbone.normalise(augmented(batch.frames, rng))
    picture = made.backbone.normalise(torch.from_numpy(lesson.pictures[step])[None])
    generator = torch.Generator().manual_seed(step_seed(0, step, "drop"))
    with torch.no_grad():
        squares = (normal(frame) - scorer.student.network(frame.pixels)[:, :channels]) ** 2
        squares = squares[..., inner, inner]
        hard = squares[squares >= torch.quantile(squares, hard_share)].mean()
        silent = (scorer.student.network(picture)[:, :channels] ** 2)[..., inner, inner].mean()
        predicted = scorer.autoencoder_net(changed, generator)
        errors = (normal(made.backbone(changed)) - predicted) ** 2
        toward_teacher = errors[..., inner, inner].mean()
        second = scorer.student.network(changed)[:, channels:]
        toward_student = ((predicted - second) ** 2)[..., inner, inner].mean()
    expected = hard + silent + toward_teacher + toward_student
    assert float(got) == pytest.approx(float(expected), rel=1e-4)


def test_both_networks_learn_and_the_teacher_does_not(good_frames):
    made = detector()
    teacher = {name: item.clone() for name, item in made.backbone.state_dict().items()}
    lesson = lesson_of(made, good_frames)
    training = lesson.training()
    before = [item.detach().clone() for item in training.module.parameters()]
    with torch.enable_grad():
        training.step(0)
    moved = [
        not torch.equal(a, b) for a, b in zip(before, training.module.parameters(), strict=True)
    ]
    assert all(moved)
    assert all(
        torch.equal(item, teacher[name]) for name, item in made.backbone.state_dict().items()
    )


def test_the_second_student_loss_reaches_the_autoencoder(good_frames):
    made = detector()
    lesson = lesson_of(made, good_frames)
    lesson.training()
    _, frames = next(lesson._frames(iter(lesson.trained)))
    pixels = lesson._pixels(frames)
    with torch.enable_grad():
        predicted = made.scorer.autoencoder_net(pixels)
        second = made.scorer.student.one_half(pixels, second=True)
        (predicted - second).square().mean().backward()
    assert all(item.grad is not None for item in made.scorer.autoencoder_net.parameters())


def test_training_lowers_the_held_out_loss(good_frames):
    made = detector(steps=40).fit(good_frames)
    curve = made.scorer.held_out_loss_
    assert float(curve[-1, 1]) < 0.9 * float(curve[0, 1])
    assert int(curve[-1, 0]) == 40


def test_training_in_bfloat16_learns_the_same_to_its_precision(fitted, good_frames, tmp_path):
    made = detector(bf16=True).fit(good_frames)
    assert all(
        item.dtype == torch.float32
        for item in made.scorer.state_dict().values()
        if item.is_floating_point() and item.numel() and item.dtype != torch.float64
    )
    rough, exact = made.scorer.held_out_loss_[:, 1], fitted.scorer.held_out_loss_[:, 1]
    assert not torch.equal(rough, exact)
    assert torch.allclose(rough, exact, rtol=0.02)
    assert torch.equal(made.scorer.teacher_mean_, fitted.scorer.teacher_mean_)
    again = detector(bf16=True).fit(good_frames)
    first, second = made.save(tmp_path / "a.safetensors"), again.save(tmp_path / "b.safetensors")
    assert first.read_bytes() == second.read_bytes()


def test_a_fitted_detector_survives_its_file_and_the_export(fitted, good_frames, tmp_path):
    saved = fitted.save(tmp_path / "part.safetensors")
    again = Detector.load(saved)
    assert again.scorer.settings() == fitted.scorer.settings()
    assert again.predict(good_frames[0]).score == fitted.predict(good_frames[0]).score
    report = fitted.export(tmp_path / "part.onnx")
    assert report.parity.passed
    frames = np.stack([frame[:SIDE, :SIDE] for frame in good_frames[:2]])
    score = OnnxRuntimeEngine(tmp_path / "part.onnx", threads=1).run(frames).score
    assert score == pytest.approx(fitted.run(frames)[0], rel=1e-4)


def test_the_same_seed_gives_the_same_bytes_and_leaves_torchs_randomness_alone(
    fitted, good_frames, tmp_path
):
    torch.manual_seed(12345)
    before = torch.get_rng_state()
    again = detector().fit(good_frames)
    assert torch.equal(torch.get_rng_state(), before)
    first, second = fitted.save(tmp_path / "a.safetensors"), again.save(tmp_path / "b.safetensors")
    assert first.read_bytes() == second.read_bytes()


KILLED = """
import os, signal, sys
import numpy as np, torch
torch.set_num_threads(1)
from anomalib_lite import Detector
from anomalib_lite.scorers.training import loop as training
training.CHECKPOINT_SECONDS = 0.0
frames = list(np.load(sys.argv[1]))
def die(stage, done, total):
    if stage.startswith("training") and done == 5:
        os.kill(os.getpid(), signal.SIGKILL)
made = Detector("efficientad", size="edge", weights="random", image_size=64, steps=8)
made.fit(frames, progress=die, checkpoint=sys.argv[2])
"""


def test_a_killed_fit_resumes_to_the_bytes_of_an_uninterrupted_one(fitted, good_frames, tmp_path):
    np.save(tmp_path / "frames.npy", np.stack(good_frames))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "frames.npy", tmp_path / "checkpoint"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    steps = []

    def count(stage, done, total):
        if stage.startswith("training"):
            steps.append(done)

    resumed = detector().fit(
        good_frames, progress=count, checkpoint=tmp_path / "checkpoint", resume=True
    )
    assert steps == [5, 6, 7, 8]  # it told of step 5 when it was killed, before its checkpoint
    first = fitted.save(tmp_path / "whole.safetensors")
    second = resumed.save(tmp_path / "resumed.safetensors")
    assert first.read_bytes() == second.read_bytes()


def test_ctrl_c_leaves_a_working_detector(good_frames, tmp_path):
    def press(stage, done, total):
        if stage.startswith("training") and done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    made = detector().fit(good_frames, progress=press, checkpoint=tmp_path / "checkpoint")
    assert made.scorer.stopped_early
    assert int(made.scorer.held_out_loss_[-1, 0]) == 3
    assert Detector.load(made.save(tmp_path / "part.safetensors")).predict(good_frames[0]).score > 0


def test_resuming_with_other_settings_is_refused(good_frames, tmp_path):
    detector().fit(good_frames, checkpoint=tmp_path)
    with pytest.raises(FitError, match="another fit"):
        detector(steps=9).fit(good_frames, checkpoint=tmp_path, resume=True)


@pytest.mark.parametrize(
    "settings",
    [
        {"hard_quantile": 0},
        {"penalty": False},
        {"autoencoder": False},
        {"map_normalisation": False},
    ],
)
def test_each_ablation_gives_another_working_detector(fitted, good_frames, scratched, settings):
    made = detector(steps=2, **settings).fit(good_frames)
    scores = made.run(np.stack([frame[:SIDE, :SIDE] for frame in scratched]))[0]
    assert np.isfinite(scores).all()
    others = fitted.run(np.stack([frame[:SIDE, :SIDE] for frame in scratched]))[0]
    assert not np.allclose(scores, others)


def test_pixels_outside_the_region_of_interest_change_nothing(good_frames):
    from anomalib_lite.edge.prepare import InputSpec

    mask = np.zeros((96, 96), np.uint8)
    mask[16:80, 16:80] = 255
    spec = InputSpec(height=SIDE, width=SIDE).with_roi(mask)

    def fit(frames):
        made = Detector("efficientad", weights="random", image_size=spec, steps=2)
        return made.fit(frames).predict(good_frames[0]).score

    painted = [frame.copy() for frame in good_frames]
    for index, frame in enumerate(painted):
        frame[:10] = 20 * index
    assert fit(painted) == fit(good_frames)


def test_unreadable_images_are_left_out(good_frames, tmp_path):
    import cv2

    for index, frame in enumerate(good_frames[:8]):
        cv2.imwrite(str(tmp_path / f"{index}.png"), frame)
    (tmp_path / "3.png").write_bytes(b"torn")
    made = detector(steps=2, calibration="holdout").fit(str(tmp_path))
    assert made.data.images == 7
    assert len(made.data.skipped) == 1


def test_too_few_images_are_refused(good_frames):
    with pytest.raises(FitError, match="at least"):
        detector(steps=1).fit(good_frames[:2])


def test_training_frames_may_lie_on_the_disk(good_frames, monkeypatch):
    from anomalib_lite.detector import prepared_frames

    made = detector()
    kept = list(made._stream(good_frames).batches(5, [7, 2, 2, 11]))
    monkeypatch.setattr(prepared_frames, "_IN_MEMORY", 0)
    mapped = list(made._stream(good_frames).batches(5, [7, 2, 2, 11]))
    assert mapped[0].indices.tolist() == [7, 2, 2, 11]
    assert torch.equal(kept[0].frames, mapped[0].frames)


def test_batches_in_reading_order_equal_the_plain_pass(good_frames):
    stream = detector()._stream(good_frames)
    plain, ordered = list(stream), list(stream.batches(len(next(iter(stream)).indices)))
    for one, other in zip(plain, ordered, strict=True):
        assert one.indices.tolist() == other.indices.tolist()
        assert torch.equal(one.features.maps["local"], other.features.maps["local"])
