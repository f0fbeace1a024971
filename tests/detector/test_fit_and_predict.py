"""`Detector`: fit, predict, and what happens with few, bad or odd images."""

from dataclasses import replace

import numpy as np
import pytest

from anomalib_lite import Detector, InputSpec
from anomalib_lite.detector import image_stream as streams_module
from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.detector.out_of_fold import assign_folds
from anomalib_lite.detector.training_record import digest_ids
from anomalib_lite.edge import FitError, FrameError, SettingsError, SourceError
from anomalib_lite.edge.resize import shrink
from anomalib_lite.edge.sources import Job
from anomalib_lite.system import memory

SIDE = 64
BAD = np.zeros((5, 5, 2), np.uint8)


def small(name="padim", **options):
    settings = {"num_features": 12} if name == "padim" else {}
    return Detector(name, image_size=SIDE, **settings, **options)


def test_a_scratched_part_scores_above_good_ones(padim, good_frames, scratched):
    good = [item.score for item in padim.predict_batch(good_frames)]
    bad = [item.score for item in padim.predict_batch(scratched)]
    assert min(bad) > max(good)
    assert not any(item.is_anomalous for item in padim.predict_batch(good_frames))


def test_one_frame_equals_the_same_frame_in_a_batch(padim, good_frames):
    together = padim.predict_batch(good_frames[:3])
    for frame, expected in zip(good_frames[:3], together, strict=True):
        alone = padim.predict(frame)
        assert alone.score == pytest.approx(expected.score, rel=1e-5)
        np.testing.assert_allclose(
            alone.anomaly_map, expected.anomaly_map, rtol=1e-4, atol=1e-4 * expected.score
        )


def test_arrays_bytes_and_files_are_the_same_frame(padim, good_frames, good_folder):
    path = good_folder / "000.png"
    scores = {padim.predict(item).score for item in (good_frames[0], path.read_bytes(), path)}
    assert scores == {padim.predict(str(path)).score}


def test_a_folder_and_its_arrays_give_the_same_detector(padim, good_folder):
    from_files = Detector("padim", backbone="filters", image_size=SIDE, num_features=16).fit(
        good_folder
    )
    assert from_files.calibration == padim.calibration
    assert from_files.data.fingerprint == padim.data.fingerprint
    for name, value in padim.scorer.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), from_files.scorer.state_dict()[name].numpy())


def test_no_frames_give_no_predictions(padim):
    assert padim.predict_batch([]) == []


@pytest.mark.parametrize("frame", [3, None, [1, 2], 2.5])
def test_what_is_no_frame_is_refused(padim, frame):
    with pytest.raises(FrameError, match="expected an array, bytes or a path"):
        padim.predict(frame)


@pytest.mark.parametrize("name", ["padim", "mvg"])
@pytest.mark.parametrize("calibration", ["auto", "folds", "holdout"])
def test_every_way_to_calibrate(name, calibration, good_frames):
    fitted = small(name, calibration=calibration, max_false_reject=0.2).fit(good_frames)
    count = 2 if calibration == "holdout" else 12
    words = "held out, 20%" if calibration == "holdout" else "out-of-fold, 5 folds"
    assert len(fitted.calibration.scores) == count
    assert fitted.calibration.method.startswith(words)
    assert fitted.calibration.operating.samples == count
    assert (fitted.calibration.reference != {}) == (name == "mvg")


def test_out_of_fold_scores_are_not_those_of_the_fitted_images(padim, good_frames):
    """A threshold from training scores would promise too much."""
    resubstituted = np.sort([item.score for item in padim.predict_batch(good_frames)])
    assert (np.array(padim.calibration.scores) > resubstituted).all()


def test_the_mvg_reference_reports_what_it_realises(mvg):
    reference = mvg.calibration.reference
    assert reference["requested_false_reject"] == 0.01
    assert set(reference["layers"]) == {"octave1", "octave2", "octave3"}
    for layer in reference["layers"].values():
        assert 0 <= layer["realised_false_reject"] <= 1
    total = sum(layer["threshold"] for layer in reference["layers"].values())
    assert reference["sum"]["threshold"] == pytest.approx(total)


@pytest.mark.parametrize(("images", "folds"), [(3, 3), (12, 5), (13, 5), (100, 5)])
def test_folds_are_even_seeded_and_shuffled(images, folds):
    assigned = assign_folds(images, folds, seed=1)
    sizes = np.bincount(assigned, minlength=folds)
    assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(assigned, assign_folds(images, folds, seed=1))
    if images > 10:
        assert (assigned != assign_folds(images, folds, seed=2)).any()
        assert (assigned != np.arange(images) % folds).any()


@pytest.mark.parametrize("name", ["padim", "mvg"])
@pytest.mark.parametrize("images", [1, 2])
def test_one_or_two_images_are_too_few(name, images, good_frames):
    with pytest.raises(FitError) as caught:
        small(name).fit(good_frames[:images])
    assert str(caught.value).startswith(
        f"{images} usable good image(s) given; at least 3 are needed"
    )


def test_three_images_are_enough_for_padim_and_four_for_mvg(good_frames):
    fitted = small().fit(good_frames[:3])
    assert fitted.calibration.operating.explain() == (
        "1 % needs at least 99 good images; you have 3: 25 % of good frames rejected on average, "
        "at most 63 % with 95 % confidence; measured out-of-fold: empirical, not guaranteed"
    )
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    assert fitted.predict(noise).p_value == 0.25
    with pytest.raises(FitError, match="give at least 4"):
        small("mvg").fit(good_frames[:3])
    assert small("mvg").fit(good_frames[:4]).data.images == 4


@pytest.mark.parametrize("name", ["padim", "mvg"])
@pytest.mark.parametrize("calibration", ["folds", "holdout"])
def test_images_that_cannot_be_used_are_left_out_counted_and_listed(
    name, calibration, good_frames, tmp_path
):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    frames = [*good_frames[:4], BAD, *good_frames[4:]]
    fitted = small(name, calibration=calibration).fit(frames)
    assert fitted.data.images == 12
    assert list(fitted.data.skipped) == ["arrays#000004"]
    assert "(5, 5, 2)" in fitted.data.skipped["arrays#000004"]
    if calibration == "folds":
        assert len(fitted.calibration.scores) == 12
        without = small(name).fit(good_frames)
        assert fitted.data.fingerprint == without.data.fingerprint


@pytest.mark.parametrize("name", ["padim", "mvg"])
def test_nothing_usable_is_one_line(name):
    with pytest.raises(FitError) as caught:
        small(name).fit([BAD] * 6)
    assert "\n" not in str(caught.value)


class Stated:
    """A source that misstates its length, as video containers do."""

    rereadable = True
    name = "stated"

    def __init__(self, frames, length):
        self.frames, self.length = frames, length

    def __len__(self):
        return self.length

    def jobs(self):
        for index, frame in enumerate(self.frames):
            yield Job(str(index), lambda frame=frame: frame)


@pytest.mark.parametrize("length", [0, 5, 12, 40])
@pytest.mark.parametrize("calibration", ["folds", "holdout"])
def test_a_source_may_misstate_its_length(length, calibration, good_frames):
    fitted = small(calibration=calibration).fit(Stated(good_frames, length))
    assert fitted.data.images == 12
    expected = small(calibration=calibration).fit(good_frames)
    assert fitted.calibration.scores == expected.calibration.scores


def test_a_live_source_cannot_be_learnt_from():
    class Live(Stated):
        rereadable = False

    with pytest.raises(SourceError, match="cannot be read twice; record the frames"):
        small().fit(Live([], 0))


def test_a_fit_that_needs_too_much_memory_is_refused_before_it_starts(monkeypatch, good_frames):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    fresh = small()
    with pytest.raises(FitError) as caught:
        fresh.fit(good_frames)
    message = str(caught.value)
    assert "GB are free" in message
    assert message.endswith("choose a smaller image size or backbone or num_features")
    with pytest.raises(FitError, match="not fitted yet"):
        _ = fresh.calibration


@pytest.mark.parametrize("use", ["calibration", "data"])
def test_an_unfitted_detector_says_so(use, tmp_path, good_frames):
    fresh = small()
    with pytest.raises(FitError, match="not fitted yet; call fit"):
        getattr(fresh, use)
    for call in (
        lambda: fresh.save(tmp_path / "x.safetensors"),
        lambda: fresh.export(tmp_path / "x.onnx"),
        lambda: fresh.recalibrate(0.1),
    ):
        with pytest.raises(FitError, match="not fitted yet"):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"detector": "svm"}, "unknown detector 'svm'; choose from "),
        ({"backbone": "resnet81"}, "unknown backbone 'resnet81'"),
        ({"calibration": "none"}, "calibration is 'none'; choose auto, folds or holdout"),
        ({"max_false_reject": 0}, "max_false_reject is 0; choose between 0 and 1"),
        ({"image_size": 8}, "input height is 8 px; choose 16 to 4096"),
        ({"image_size": (64, 9999)}, "input width is 9999 px"),
        ({"bogus": 1}, "patchcore has no setting 'bogus'"),
        ({"layers": ["octave7"]}, "pdn_edge has no layer ['octave7']"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(arguments, message):
    with pytest.raises(SettingsError) as caught:
        Detector(**arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_progress_goes_forward_to_the_end(good_frames):
    calls = []
    small().fit(good_frames, progress=lambda *call: calls.append(call))
    reading = [done for stage, done, _ in calls if stage == "reading good images"]
    assert reading == sorted(reading)
    assert reading[-1] == 12
    assert all(0 < done <= total for _, done, total in calls)


def test_recalibration_changes_the_threshold_only(good_frames):
    fitted = small(max_false_reject=0.1).fit(good_frames)
    before = fitted.predict(good_frames[0])
    threshold = fitted.calibration.threshold
    fitted.recalibrate(0.5)
    after = fitted.predict(good_frames[0])
    assert fitted.calibration.threshold < threshold
    assert (after.score, after.p_value) == (before.score, before.p_value)


@pytest.mark.parametrize(
    ("spec", "convert"),
    [
        (InputSpec(64, 96), lambda f: f),
        (InputSpec(72, 100, colour="grey"), lambda f: f),
        (InputSpec(64, 64), lambda f: f[:, :, 1]),
        (InputSpec(64, 64), lambda f: f[:, :, :1]),
        (InputSpec(64, 64, bit_depth=12), lambda f: f.astype(np.uint16) * 16),
        (InputSpec(64, 64, bit_depth=16), lambda f: f[:, :, 0].astype(np.uint16) * 257),
        (InputSpec(64, 64), lambda f: np.dstack([f, np.full(f.shape[:2], 255, np.uint8)])),
        (
            InputSpec(64, 64, alpha="ignore"),
            lambda f: np.dstack([f, np.full(f.shape[:2], 9, np.uint8)]),
        ),
    ],
    ids=["rectangle", "odd grey", "grey", "H W 1", "12 bits", "16 bits", "rgba", "holed"],
)
def test_every_kind_of_frame_goes_all_the_way(spec, convert, good_frames, tmp_path):
    """Fit, save, load, export, score: the same numbers from each."""
    frames = [convert(frame) for frame in good_frames[:6]]
    fitted = Detector("padim", image_size=spec, num_features=12).fit(frames)
    expected = fitted.predict(frames[0])
    assert expected.anomaly_map.shape == frames[0].shape[:2]
    loaded = Detector.load(fitted.save(tmp_path / "x.safetensors"))
    assert loaded.predict(frames[0]).score == expected.score
    report = loaded.export(tmp_path / "x.onnx")
    assert report.parity.passed


def test_a_sample_larger_than_needed_is_shrunk_in_its_shape(padim):
    side = streams_module._SAMPLE_SIDE
    frame = np.full((2 * side, side, 3), (90, 80, 70), np.uint8)
    frame[: side // 2] = (200, 190, 180)
    stream = ImageStream(Stated([frame], 1), padim.backbone, replace(padim.spec, aspect=None))
    list(stream)
    assert stream.samples[0].shape == (side, side // 2, 3)
    assert (stream.samples[0][: side // 4] == (200, 190, 180)).all()
    assert (stream.samples[0][side // 4 :] == (90, 80, 70)).all()


@pytest.mark.parametrize("shape", [(640, 500), (640, 500, 1), (640, 500, 3), (640, 500, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_shrinking_keeps_the_kind_of_a_frame(shape, dtype):
    shrunk = shrink(np.full(shape, 77, dtype), 320)
    assert shrunk.shape == (320, 250, *shape[2:])
    assert shrunk.dtype == dtype
    assert (shrunk == 77).all()


def test_a_fingerprint_does_not_depend_on_order_but_on_pixels(padim, good_frames):
    def fingerprint(frames):
        stream = ImageStream(Stated(frames, len(frames)), padim.backbone, padim.spec)
        list(stream)
        return digest_ids(stream.fingerprints.values())

    assert fingerprint(good_frames) == fingerprint(good_frames[::-1]) == padim.data.fingerprint
    assert fingerprint(good_frames[1:]) != padim.data.fingerprint


def test_a_fit_that_fails_leaves_no_old_threshold_on_a_new_model(good_frames):
    detector = small("padim").fit(good_frames)
    with pytest.raises(FitError, match="same picture"):
        detector.fit([good_frames[0]] * 5)
    with pytest.raises(FitError, match="not fitted yet"):
        detector.predict(good_frames[0])
