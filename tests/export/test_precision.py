"""Lower precision: chosen by measurement, judged, calibrated anew and proven, or refused."""

import json
import re
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.data.parts import render
from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import ExportError, ModelFileError, SettingsError
from anomalib_lite.edge.outputs import Outputs
from anomalib_lite.export.half import large_constants, rounded_to_half
from anomalib_lite.export.lowering import GoodFrame, GoodFrames, Limits, lower
from anomalib_lite.export.lowering.choose import choose_parts
from anomalib_lite.export.lowering.drift import _on_grid, drift_report, map_drift
from anomalib_lite.export.lowering.recalibrate import moved_scores, recalibrate

LOOSE = {"auroc": 1.0, "aupro": 1.0, "misses": 1.0}


@pytest.fixture(scope="module")
def frames():
    """Good parts: twelve to fit, twenty-four that the fit never sees."""
    return [render("flange", seed=0, index=index, size=96).image for index in range(36)]


@pytest.fixture(scope="module")
def fitted(frames):
    return Detector("padim", backbone="filters", image_size=64, num_features=16).fit(frames[:12])


@pytest.fixture(scope="module")
def searched(frames):
    """A bank on a network with convolutions to quantise; keeps its pictures."""
    detector = Detector("patchcore", backbone="pdn_edge", image_size=64, rows=60)
    return detector.fit(frames[:12])


@pytest.fixture(scope="module", autouse=True)
def few_blocks():
    """Four of the network's convolutions are candidates, the first two of which are sensitive."""
    all_of = lower.blocks_of
    lower.blocks_of = lambda model: all_of(model)[:2] + all_of(model)[-2:]
    yield
    lower.blocks_of = all_of


@pytest.fixture(scope="module")
def quantised(searched, few_blocks, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "part.onnx"
    return searched.export(path, precision="int8", limits=LOOSE), path


def test_an_int8_file_holds_int8_weights_and_says_what_stayed_in_float(quantised):
    report, path = quantised
    graph = onnx.load(path).graph
    kinds = {item.data_type for item in graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in graph.node}
    (entry,) = onnx.load(path).metadata_props
    said = json.loads(entry.value)["about"]["precision"]
    assert said["name"] == "int8"
    choice = report.lowered.choice
    assert said["float_nodes"] == list(choice.kept)
    assert said["lowered_nodes"] == list(choice.lowered)
    assert choice.lowered
    assert set(said["drift_alone"]) == set(choice.kept)
    drifts = [said["drift_alone"][name] for name in choice.kept]
    assert drifts == sorted(drifts, reverse=True)


def test_the_probes_of_an_int8_file_hold_what_it_gives_itself(quantised):
    _, path = quantised
    model = EdgeModel(path)
    assert max(result.relative_difference for result in model.check()) < 1e-5
    assert 1e-3 <= model.metadata.tolerance <= 0.05
    measured = model.about["precision"]["engines"]
    within = [value for value in measured.values() if 2 * value <= 0.05]
    assert model.metadata.tolerance == max(1e-3, 2 * max(within))


def test_an_int8_file_has_a_threshold_and_p_values_of_its_own(quantised, searched):
    report, path = quantised
    model = EdgeModel(path)
    assert model.calibration == report.lowered.calibration
    assert model.calibration.scores != searched.calibration.scores
    assert len(model.calibration.scores) == len(searched.calibration.scores)
    assert model.calibration.method.endswith("moved to int8")
    assert not json.loads(model.metadata.to_json())["calibration"]["guaranteed"]


def test_the_same_export_gives_the_same_bytes(quantised, searched, tmp_path):
    searched.export(tmp_path / "again.onnx", precision="int8", limits=LOOSE)
    assert (tmp_path / "again.onnx").read_bytes() == quantised[1].read_bytes()


def test_frames_that_the_fit_has_not_seen_earn_a_guarantee(fitted, frames, tmp_path):
    report = fitted.export(
        tmp_path / "part.onnx", precision="fp16", frames=frames[12:], limits=LOOSE
    )
    found = report.lowered.recalibrated
    model = EdgeModel(tmp_path / "part.onnx")
    assert found.way == "held out"
    assert found.images == 16  # eight of twenty-four chose
    assert model.calibration.operating.empirical is False
    assert model.calibration.operating.parts == 16
    scores = sorted(float(model.predict(frame).score) for frame in frames[12:])
    for score in model.calibration.scores:
        assert min(abs(score - one) for one in scores) < 1e-4 * score


def test_frames_that_the_fit_has_seen_never_count_as_held_out(fitted, frames, tmp_path):
    report = fitted.export(
        tmp_path / "part.onnx", precision="fp16", frames=frames[:12], limits=LOOSE
    )
    assert report.lowered.recalibrated.way == "moved"
    assert "0 of them not learnt" in report.lowered.request.good.source


def test_fp16_halves_the_file_and_computes_nearly_the_same(fitted, frames, tmp_path):
    plain = fitted.export(tmp_path / "plain.onnx")
    half = fitted.export(tmp_path / "half.onnx", precision="fp16", frames=frames, limits=LOOSE)
    assert half.size_bytes < plain.size_bytes
    assert half.lowered.drift.map_drift < 0.002
    one, other = EdgeModel(tmp_path / "plain.onnx"), EdgeModel(tmp_path / "half.onnx")
    for frame in frames[:3]:
        assert other.predict(frame).score == pytest.approx(one.predict(frame).score, rel=0.01)


@pytest.mark.skipif(not find_spec("openvino"), reason="OpenVINO is not installed")
def test_a_bf16_file_belongs_to_its_engine(fitted, frames, tmp_path):
    path = tmp_path / "part.onnx"
    try:
        fitted.export(path, precision="bf16", frames=frames, limits=LOOSE)
    except SettingsError as error:
        pytest.skip(str(error))
    assert EdgeModel(path, engine="openvino-bf16").about["precision"]["engine"] == "openvino-bf16"
    with pytest.raises(ModelFileError, match="calibrated for the engine openvino-bf16, open it"):
        EdgeModel(path, self_test=False)


@pytest.mark.parametrize("old", [None, b"the old file"])
def test_a_loss_beyond_the_limits_writes_nothing(searched, tmp_path, old, monkeypatch):
    monkeypatch.setattr(lower, "map_drift", lambda got, want: 0.0)  # nothing stays in float
    monkeypatch.setattr(lower, "_ALLOWED_DRIFT", {"int8": (1.0,)})
    monkeypatch.setattr(lower, "drift_report", _lossy(lower.drift_report))
    path = tmp_path / "part.onnx"
    if old:
        path.write_bytes(old)
    with pytest.raises(ExportError, match=r"int8 loses too much .*auroc loses 0\.3000") as told:
        searched.export(path, precision="int8")
    assert "\n" not in str(told.value)
    assert [item.read_bytes() for item in tmp_path.iterdir()] == ([old] if old else [])


def _lossy(report):
    return lambda *args, **options: replace(report(*args, **options), auroc=(0.9, 0.6))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"precision": "int4"}, "precision is 'int4' (did you mean int8?)"),
        ({"precision": "int8"}, "keeps none of 64x64 pixels; give a folder"),
        ({"precision": "int8", "frames": 5}, "5 good frames are too few"),
        ({"precision": "int8", "frames": 12, "limits": {"auroc": 2}}, "choose between 0 and 1"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    fitted, frames, tmp_path, asked, said
):
    if "frames" in asked:
        asked = {**asked, "frames": frames[: asked["frames"]]}
    with pytest.raises(SettingsError, match=re.escape(said)):
        fitted.export(tmp_path / "part.onnx", **asked)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("drifts", "allowed", "kept"),
    [
        ({"a": 1, "b": 2, "c": 4}, 7, ()),
        ({"a": 1, "b": 2, "c": 4}, 6, ("c",)),
        ({"a": 1, "b": 2, "c": 4}, 3, ("c",)),
        ({"a": 1, "b": 2, "c": 4}, 2, ("c", "b")),
        ({"a": 1, "b": 2, "c": 4}, 0, ("c", "b", "a")),
        ({}, 0, ()),
    ],
)
def test_the_fewest_of_the_most_sensitive_parts_stay_in_float(drifts, allowed, kept):
    choice = choose_parts(drifts, list, sum, allowed)
    assert choice.kept == kept
    assert sorted(choice.kept + choice.lowered) == sorted(drifts)
    assert choice.drift <= allowed
    assert choice.alone == (drifts if kept else {})


@given(
    st.lists(st.integers(0, 9), max_size=9).map(lambda values: dict(enumerate(values))),
    st.integers(0, 40),
)
@settings(max_examples=60, deadline=None)
def test_what_is_lowered_never_drifts_more_than_allowed(drifts, allowed):
    choice = choose_parts(drifts, list, sum, allowed)
    left = sum(drifts[name] for name in choice.lowered)
    assert left <= allowed
    if choice.kept:  # one fewer would have been too few
        assert left + drifts[choice.kept[-1]] > allowed


def test_held_out_scores_move_by_the_change_of_frames_that_score_alike():
    before = np.concatenate([np.full(16, 1.0), np.full(16, 5.0)])
    after = np.concatenate([np.full(16, 1.5), np.full(16, 5.1)])
    found = moved_scores(np.array([0.9, 4.0, 9.0]), before, after)
    np.testing.assert_allclose(found, [1.4, 4.1, 9.1])


def test_noise_moves_by_its_upper_quartile():
    change = np.linspace(-1, 1, 16)
    found = moved_scores(np.array([2.0]), np.full(16, 2.0), 2.0 + change)
    np.testing.assert_allclose(found, [2.0 + np.quantile(change, 0.75)])


def made_up_outputs(scores):
    scores = np.asarray(scores, np.float32)
    return Outputs(scores, scores[:, None, None] * np.ones((1, 2, 2), np.float32), {})


@pytest.mark.parametrize(
    ("learnt", "same_part", "way", "parts"),
    [
        (0, False, "held out", 10),
        (10, False, "moved", 5),
        (6, False, "moved", 5),  # four could promise less than the fit's five
        (5, False, "held out", 5),
        (0, True, "moved", 5),
    ],
)
def test_a_threshold_is_held_out_where_that_promises_as_much(learnt, same_part, way, parts):
    fit = Calibration.from_scores(
        [1.0, 2, 3, 4, 5], [1.0, 2, 3, 4, 5], max_false_reject=0.01, method="out-of-fold, 5 folds"
    )
    pixels = np.zeros((4, 4, 3), np.uint8)
    frames = [
        GoodFrame(pixels, "one" if same_part else str(index), index < learnt) for index in range(10)
    ]
    exact, coarse = (made_up_outputs(np.arange(10) + shift) for shift in (0.0, 0.5))
    found = recalibrate(fit, frames, (exact, coarse), [], "int8", fresh=range(10))
    assert (found.way, found.after.operating.parts) == (way, parts)
    assert found.after.operating.empirical is (way == "moved")
    assert found.after.threshold == found.before.threshold + 0.5


def test_views_of_a_part_stay_with_their_scores_when_these_change_order():
    fit = Calibration.from_scores(
        [1.0, 2.0, 3.0],
        [1.0, 2.0, 3.0],
        max_false_reject=0.5,
        method="out-of-fold",
        origins=["a", "a", "b"],
    )
    exact, coarse = made_up_outputs([1.0] * 16 + [3.0] * 16), made_up_outputs([9.0] * 16 + [3] * 16)
    frames = [GoodFrame(np.zeros((4, 4, 3), np.uint8), str(i), True) for i in range(32)]
    found = recalibrate(fit, frames, (exact, coarse), [], "int8", fresh=[]).after
    assert found.scores[0] == 3.0
    assert found.views[0] == 1
    assert found.views[1:] == (2, 2)


def test_the_drift_report_of_an_unchanged_graph_is_nothing():
    fit = Calibration.from_scores([1.0, 2, 3], [1.0, 2, 3], max_false_reject=0.3, method="x")
    good, bad = made_up_outputs([1.0, 2.0]), made_up_outputs([2.5, 9.0])
    mask = np.zeros((4, 4), np.float32)
    mask[:2, :2] = 1
    report = drift_report((good, good), (bad, bad), [mask, mask], (fit, fit), localises=True)
    assert report.lost() == {"auroc": 0.0, "misses": 0.0, "aupro": 0.0}
    assert report.too_much(Limits(0, 0, 0)) == ""
    assert (report.map_drift, report.score_drift, report.verdicts_changed) == (0.0, 0.0, 0.0)
    assert report.misses == (0.5, 0.5)
    assert report.auroc == (5 / 6, 5 / 6)


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.0, 0.0), (1.1, 0.1), (0.5, 0.5), (np.nan, float("inf"))]
)
def test_drift_is_relative_to_the_float_map(factor, expected):
    exact = made_up_outputs([1.0, 4.0])
    coarse = Outputs(exact.score * factor, exact.anomaly_map * factor, {})
    assert map_drift([coarse], [exact]) == pytest.approx(expected)


def test_a_mask_marks_the_cells_that_it_covers_by_half_or_the_one_it_covers_most():
    mask = np.zeros((8, 8), np.float32)
    mask[0, 0] = 0.3
    assert _on_grid(mask, (2, 2)).tolist() == [[True, False], [False, False]]
    mask[4:, :] = 1
    assert _on_grid(mask, (2, 2)).tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize(("learnt", "expected"), [(0, 0), (24, 8), (8, 8), (20, 8)])
def test_learnt_frames_choose_so_that_the_others_may_calibrate(learnt, expected):
    pixels = np.zeros((4, 4, 3), np.uint8)
    frames = tuple(GoodFrame(pixels, str(index), index < learnt) for index in range(24))
    choosing, judging = GoodFrames(frames, "made up").split()
    assert (len(choosing), len(judging)) == (8, 16)
    assert sum(frame.learnt for frame in choosing) == expected
    assert {id(frame) for frame in (*choosing, *judging)} == {id(frame) for frame in frames}


def test_rounding_to_half_leaves_what_overflows_and_what_is_exact():
    values = {
        "large": np.full(2000, 1e6, np.float32),
        "exact": np.full(2000, 0.5, np.float32),
        "rounded": np.full(2000, 0.1, np.float32),
        "small": np.full(3, 0.1, np.float32),
    }
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [], "g", [], [], [onnx.numpy_helper.from_array(v, k) for k, v in values.items()]
        )
    )
    assert large_constants(model) == ("rounded",)
    found = rounded_to_half(model, ["rounded"])
    half = onnx.numpy_helper.to_array(found.graph.initializer[2])
    assert half[0] == np.float32(np.float16(0.1))
    assert large_constants(found) == ()
