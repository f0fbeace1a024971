"""A fusion through the detector: images, file, exported graph, command line."""

import copy
import sys

import numpy as np
import pytest
import torch
from scorer_references import assert_same_state, state_of

from anomalib_lite import Detector, InputSpec
from anomalib_lite.cli import main as cli_main
from anomalib_lite.data.parts import render
from anomalib_lite.edge import SettingsError
from anomalib_lite.edge.engines import OnnxRuntimeEngine
from anomalib_lite.edge.prepare import prepare
from anomalib_lite.scorers import CrossFit, Scores


@pytest.fixture(scope="module")
def fused(good_frames):
    """A fitted fusion with earned weights; do not change it."""
    settings = {"patchcore.rows": 100, "image_size": 64, "max_false_reject": 0.2}
    return Detector("patchcore+mvg", **settings).fit(good_frames)


def test_weights_are_earned_on_images_and_the_same_seed_earns_the_same(fused, good_frames):
    weight = fused.scorer.weight_.numpy()
    assert weight.sum() == pytest.approx(1)
    assert (weight > 0).all()
    assert weight[0] != weight[1]
    settings = {"patchcore.rows": 100, "image_size": 64, "max_false_reject": 0.2}
    again = Detector("patchcore+mvg", **settings).fit(good_frames)
    assert_same_state(state_of(fused.scorer), state_of(again.scorer), rtol=0, atol=0)


def test_a_blind_part_loses_its_weight():
    frames = [render("flange", seed=0, index=index, size=64).image for index in range(16)]
    seeing = Detector("knn+patchcore", image_size=64, **{"patchcore.rows": 200}).fit(frames)
    blind = Detector("knn+patchcore", image_size=64, **{"patchcore.rows": 200})
    blind.scorer.members["knn"].forward = _constant
    blind.fit(frames)
    assert float(blind.scorer.weight_[0]) < 0.2 < float(seeing.scorer.weight_[0])


def test_pixels_outside_the_region_of_interest_earn_nothing(good_frames, rng):
    mask = np.zeros((96, 96), np.uint8)
    mask[21:77, 13:58] = 255
    spec = InputSpec(64, 64).with_roi(mask)
    changed = [
        np.where(mask[:, :, None] > 0, frame, rng.integers(0, 256, frame.shape, np.uint8))
        for frame in good_frames
    ]
    one, other = (
        Detector("knn+mvg", image_size=spec).fit(frames).scorer.weight_
        for frames in (good_frames, changed)
    )
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert one[0] != one[1]


def _constant(features):
    ones = torch.ones(len(features))
    return Scores(ones, ones[:, None, None])


def test_a_held_out_share_calibrates_a_fusion_too(good_frames):
    detector = Detector("padim+mvg", image_size=64, calibration="holdout", max_false_reject=0.3)
    detector.fit(good_frames)
    assert detector.calibration.operating.samples == 2
    assert np.isfinite(detector.predict(good_frames[0]).score)


def test_a_saved_fusion_loads_with_the_same_scores_and_settings(fused, good_frames, tmp_path):
    loaded = Detector.load(fused.save(tmp_path / "part.safetensors"))
    assert loaded.scorer.settings() == fused.scorer.settings()
    assert loaded.scorer.can(CrossFit)
    frames = np.stack([prepare(frame, fused.spec) for frame in good_frames[:3]])
    for one, other in zip(loaded.run(frames)[:2], fused.run(frames)[:2], strict=True):
        np.testing.assert_array_equal(one, other)
    copied = copy.deepcopy(fused.scorer)
    assert_same_state(state_of(copied), state_of(fused.scorer), rtol=0, atol=0)


def test_the_exported_fusion_computes_the_same(fused, good_frames, scratched, tmp_path):
    report = fused.export(tmp_path / "part.onnx")
    assert report.parity.passed
    frames = np.stack([prepare(frame, fused.spec) for frame in (*scratched, *good_frames[:2])])
    score, anomaly_map, _ = OnnxRuntimeEngine(tmp_path / "part.onnx").run(frames)
    expected_score, expected_map, _ = fused.run(frames)
    np.testing.assert_allclose(score, expected_score, rtol=1e-4)
    np.testing.assert_allclose(anomaly_map, expected_map, atol=1e-4 * expected_map.max())


def test_a_fusion_of_two_maps_exports_within_the_gate(good_frames, tmp_path):
    settings = {"patchcore.rows": 60, "padim.num_features": 16, "trust": "equal"}
    detector = Detector("padim+patchcore+mvg", image_size=64, **settings).fit(good_frames)
    assert detector.export(tmp_path / "part.onnx").parity.passed


def test_a_fusion_learns_on_through_the_detector(fused, good_frames, tmp_path):
    detector = Detector.load(fused.save(tmp_path / "part.safetensors"))
    more = [np.ascontiguousarray(frame[:, ::-1]) for frame in good_frames[:3]]
    detector.partial_fit(more)
    assert detector.data.images == len(good_frames) + 3
    with pytest.raises(SettingsError, match="cannot forget"):
        detector.forget(more)


def test_the_command_line_joins_detectors_and_sets_a_part(good_folder, tmp_path, monkeypatch):
    out = tmp_path / "part.safetensors"
    words = ["fit", good_folder, "--out", out, "--detector", "padim+mvg", "--image-size", 64]
    words += ["--set", "padim.num_features=16", "--set", "trust=equal", "--max-false-reject", 0.2]
    monkeypatch.setattr(sys, "argv", ["anomalib-lite", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli_main.run()
    assert not stop.value.code
    settings = Detector.load(out).scorer.settings()
    assert (settings["padim.num_features"], settings["trust"]) == (16, "equal")
