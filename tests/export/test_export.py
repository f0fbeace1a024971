"""The exported file: its interface, its operators, and the gate that proves it."""

import copy
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.edge import Calibration, ExportError, ModelFileError, SettingsError, prepare
from anomalib_lite.edge.engines import OnnxRuntimeEngine, open_engine
from anomalib_lite.edge.model_files.metadata import METADATA_KEY, EdgeMetadata, Probe
from anomalib_lite.edge.outputs import Outputs, same_side
from anomalib_lite.export import onnx_file, parity

# Known to ONNX Runtime, OpenVINO and TensorRT at opset 17.
KNOWN_OPERATORS = {
    *("Add", "Sub", "Mul", "Div", "Sqrt", "Pow", "Exp", "Erf", "Neg", "Abs", "Clip", "Max", "Min"),
    *("MatMul", "Gemm", "Conv", "AveragePool", "MaxPool", "GlobalAveragePool", "Pad", "Resize"),
    *("Relu", "Sigmoid", "HardSwish", "HardSigmoid", "Tanh", "Softmax", "LayerNormalization"),
    *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceL2", "BatchNormalization"),
    *("Reshape", "Transpose", "Concat", "Split", "Slice", "Gather", "Expand", "Unsqueeze"),
    *("Squeeze", "Flatten", "Shape", "Cast", "Constant", "ConstantOfShape", "Identity", "Where"),
    *("Equal", "Range", "Tile"),
}
NETWORKS = [
    ("padim", "filters", (72, 100)),
    ("mvg", "filters", (64, 64)),
    ("padim", "resnet18", (64, 96)),
    ("mvg", "mobilenetv2_100", (64, 64)),
    ("padim", "vit_tiny_patch16_224", (64, 96)),
]


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda case: "-".join(map(str, case[:2])))
def exported(request, good_frames, tmp_path_factory):
    """A detector on one of several networks (random weights), its report and its file."""
    name, backbone, size = request.param
    options = {} if backbone == "filters" else {"weights": "random"}
    if name == "padim":
        options["num_features"] = 24
    detector = Detector(name, backbone=backbone, image_size=size, **options).fit(good_frames[:6])
    path = tmp_path_factory.mktemp("export") / "part.onnx"
    return detector, detector.export(path), path


def test_the_interface_is_the_same_for_every_scorer(exported):
    detector, _, path = exported
    model = onnx.load(path)
    (frames,), outputs = model.graph.input, model.graph.output

    def shape(value):
        return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]

    height, width = detector.spec.size_hw
    assert (frames.name, frames.type.tensor_type.elem_type) == ("frames", TensorProto.UINT8)
    assert shape(frames) == ["N", height, width, 3]
    assert [item.name for item in outputs] == ["score", "anomaly_map"]
    assert {item.type.tensor_type.elem_type for item in outputs} == {TensorProto.FLOAT}
    assert shape(outputs[0]) == ["N"]
    assert shape(outputs[1])[0] == "N"
    assert len(shape(outputs[1])) == 3
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 17)]
    onnx.checker.check_model(model)


def test_only_operators_that_every_engine_knows(exported):
    model = onnx.load(exported[2])
    used = {node.op_type for node in model.graph.node}
    assert used <= KNOWN_OPERATORS
    assert {node.domain for node in model.graph.node} == {""}


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_any_batch_gives_the_fitted_models_numbers(exported, batch, good_frames, scratched):
    detector, _, path = exported
    frames = np.stack([prepare(f, detector.spec) for f in (*scratched, *good_frames)][:batch])
    engine = OnnxRuntimeEngine(path)
    score, anomaly_map, extra = engine.run(frames)
    expected_score, expected_map, _ = detector.run(frames)
    assert extra == {}
    np.testing.assert_allclose(score, expected_score, rtol=1e-4)
    np.testing.assert_allclose(anomaly_map, expected_map, rtol=0, atol=1e-4 * expected_map.max())
    assert score.shape == (batch,)
    assert score.dtype == anomaly_map.dtype == np.float32


def test_the_file_says_what_it_is_and_how_well_it_matches(exported):
    detector, report, path = exported
    (entry,) = onnx.load(path).metadata_props
    assert entry.key == METADATA_KEY
    document = json.loads(entry.value)
    about = document["about"]
    assert document["format"] == "anomalib_lite.edge"
    assert document["format_version"] == 1
    assert document["input_spec"] == detector.spec.to_dict()
    assert document["calibration"] == detector.calibration.to_dict()
    assert document["localises"] == detector.localises
    assert about["backbone"]["weights_sha256"] == detector.backbone.weights_sha256
    assert about["data"]["fingerprint"] == detector.data.fingerprint
    assert about["opset"] == 17
    assert {"anomalib_lite", "torch", "onnxruntime"} <= set(about["versions"])
    assert about["parity"] == report.parity.to_dict()
    assert report.parity.passed
    assert report.parity.batches == (1, 3)
    assert report.parity.tolerance == 1e-4
    assert report.size_bytes == path.stat().st_size
    names = [probe["name"] for probe in document["probes"]]
    assert names == ["good 0", "good 1", "noise", "black", "grey"]


def test_openvino_computes_the_same(exported, good_frames, scratched):
    pytest.importorskip("openvino")
    detector, _, path = exported
    frames = np.stack([prepare(f, detector.spec) for f in (*scratched, *good_frames[:2])])
    score, anomaly_map, _ = open_engine(path, "openvino", threads=1).run(frames)
    expected_score, expected_map, _ = detector.run(frames)
    np.testing.assert_allclose(score, expected_score, rtol=2e-3)
    np.testing.assert_allclose(anomaly_map, expected_map, rtol=0, atol=2e-3 * expected_map.max())


def test_the_edge_model_gives_the_detectors_verdicts(padim, padim_files, good_frames, scratched):
    edge = EdgeModel(padim_files[1])
    frames = [*good_frames, *scratched]
    for one, other in zip(edge.predict_batch(frames), padim.predict_batch(frames), strict=True):
        assert one.score == pytest.approx(other.score, rel=1e-4)
        assert (one.is_anomalous, one.p_value) == (other.is_anomalous, other.p_value)
        np.testing.assert_allclose(
            one.anomaly_map, other.anomaly_map, rtol=0, atol=1e-4 * other.score
        )


def test_another_false_reject_rate_is_taken_from_the_stored_scores(padim, padim_files):
    edge = EdgeModel(padim_files[1], max_false_reject=0.5)
    assert edge.calibration.threshold == padim.calibration.with_rate(0.5).threshold
    with pytest.raises(SettingsError, match="between 0 and 1"):
        EdgeModel(padim_files[1], max_false_reject=2)


@pytest.mark.parametrize("name", ["tensor-rt", "", "ONNXRUNTIME"])
def test_an_unknown_engine_is_refused(padim_files, name):
    with pytest.raises(SettingsError, match="unknown engine"):
        EdgeModel(padim_files[1], engine=name)


def _halved(model):
    """One constant of the graph is halved."""
    weight = next(
        item
        for item in model.graph.initializer
        if item.data_type == TensorProto.FLOAT and onnx.numpy_helper.to_array(item).size > 50
    )
    values = onnx.numpy_helper.to_array(weight) * np.float32(0.5)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))


def _nan(model):
    weight = model.graph.initializer[0]
    values = np.full_like(onnx.numpy_helper.to_array(weight), np.nan)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))


@pytest.mark.parametrize("tamper", [_halved, _nan])
@pytest.mark.parametrize("old", [None, b"the old file"])
def test_the_gate_refuses_another_graph_and_leaves_everything_as_it_was(
    padim, tmp_path, monkeypatch, tamper, old
):
    trace = onnx_file.trace

    def tampered(detector, **options):
        model = trace(detector, **options)
        tamper(model)
        return model

    monkeypatch.setattr(onnx_file, "trace", tampered)
    path = tmp_path / "part.onnx"
    if old:
        path.write_bytes(old)
    with pytest.raises(ExportError) as caught:
        padim.export(path)
    assert "was not written: the exported graph differs from the fitted model" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [item.read_bytes() for item in tmp_path.iterdir()] == ([old] if old else [])


class Shifted:
    """A detector whose outputs are changed a little."""

    def __init__(self, detector, change):
        self.detector, self.change = detector, change

    def run(self, frames):
        found = self.detector.run(frames)
        return Outputs(*self.change(found.score.copy(), found.anomaly_map.copy()), found.extra)


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        (lambda score, maps: (score, maps), True),
        (lambda score, maps: (score * np.float32(1 + 5e-5), maps), True),
        (lambda score, maps: (score * np.float32(1 + 5e-4), maps), False),
        (lambda score, maps: (score, maps * np.float32(1 + 5e-4)), False),
        (lambda score, maps: (score, np.roll(maps, 1, axis=2)), False),
        (lambda score, maps: (score, maps[:, :-1]), False),
        (lambda score, maps: (score, maps * np.nan), False),
        (lambda score, maps: (score + np.where(len(score) == 3, 1, 0), maps), False),
    ],
    ids=["same", "5e-5", "5e-4", "map", "moved", "shape", "nan", "batch only"],
)
def test_the_gate_sees_scores_maps_places_and_batches(padim, change, passed):
    frames = parity.probe_frames(padim.data.samples, padim.spec, seed=0)
    report, probes = parity.compare(
        padim, Shifted(padim, change), frames, inputs=padim.inputs, calibration=padim.calibration
    )
    assert report.passed == passed
    assert [probe.name for probe in probes] == list(frames)


@pytest.mark.parametrize(
    ("threshold", "change", "flips"),
    [
        (1.0, 3e-5, 0),  # the probe is the image that the threshold was taken from
        (1 + 1e-5, 3e-5, 0),
        (1 + 1e-5, 3e-4, 0),  # within the tolerance of the threshold: either side will do
        (1 + 2e-4, 3e-4, 1),
        (1 - 2e-4, -3e-4, 1),
    ],
)
def test_a_verdict_flips_only_beyond_the_tolerance_of_the_threshold(
    padim, threshold, change, flips
):
    frames = parity.probe_frames(padim.data.samples, padim.spec, seed=0)
    noise = padim.predict(frames["noise"]).score
    calibration = type(padim.calibration).from_scores(
        [noise * threshold] * 3, [1.0] * 3, max_false_reject=0.3, method="made up"
    )
    nudged = Shifted(padim, lambda score, maps: (score * np.float32(1 + change), maps))
    report, _ = parity.compare(padim, nudged, frames, inputs=padim.inputs, calibration=calibration)
    assert report.verdict_flips == flips
    assert report.passed == (abs(change) < parity.TOLERANCE)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("probe", [0, 1])
def test_a_model_whose_probe_is_the_threshold_image_is_exported_and_opens(
    padim, tmp_path, engine, probe
):
    """The score of the stored sample is the threshold, to the last bit of one engine only."""
    if engine == "openvino":
        pytest.importorskip("openvino")
    tied = copy.copy(padim)
    score = padim.predict(padim.data.samples[probe]).score
    for place, value in enumerate((score, np.nextafter(np.float32(score), np.float32(0)))):
        tied._calibration = Calibration.from_scores(
            [value] * 3, [1.0] * 3, max_false_reject=0.3, method="made up"
        )
        path = tmp_path / f"{place}.onnx"
        assert tied.export(path).parity.passed
        assert all(result.passed for result in EdgeModel(path, engine=engine).check())


@pytest.mark.parametrize(
    ("got", "want", "tolerance", "same"),
    [
        (1.2, 1.1, 1e-4, True),
        (0.8, 0.9, 1e-4, True),
        (0.9, 1.1, 1e-4, False),
        (1.1, 0.9, 1e-4, False),
        (0.99995, 1.00005, 1e-4, True),
        (0.99995, 1.0002, 1e-4, False),
        (0.99995, 1.0002, 1e-3, True),
        (1.1, 1.0, 1e-4, True),  # a difference of its own that the tolerance of scores refuses
    ],
)
def test_the_same_side_of_a_threshold_of_one(got, want, tolerance, same):
    assert same_side(np.array([got]), np.array([want]), 1.0, tolerance).tolist() == [same]


def test_the_self_test_reruns_the_probes(padim_files):
    results = EdgeModel(padim_files[1]).check()
    assert [result.name for result in results] == ["good 0", "good 1", "noise", "black", "grey"]
    assert all(result.passed for result in results)
    assert max(result.relative_difference for result in results) < 1e-4


def test_a_machine_that_computes_differently_is_noticed(padim_files, monkeypatch):
    run = OnnxRuntimeEngine.run

    def wrong(self, frames):
        found = run(self, frames)
        return found._replace(score=found.score * np.float32(1.01))

    monkeypatch.setattr(OnnxRuntimeEngine, "run", wrong)
    with pytest.raises(ModelFileError, match="self-test failed on 5 probe frame"):
        EdgeModel(padim_files[1])
    checked = EdgeModel(padim_files[1], self_test=False).check()
    assert not any(result.passed for result in checked)


def test_a_foreign_onnx_file_is_refused(tmp_path):
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "foreign",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
    )
    opset = onnx.helper.make_opsetid("", 17)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(ModelFileError, match="but not one exported by anomalib_lite"):
        EdgeModel(tmp_path / "x.onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "format version 2, this program reads up to 1; update"),
        ({"format": "other"}, "format is 'other', expected 'anomalib_lite.edge'"),
        ({"calibration": {}}, "its description is damaged (calibration has no 'scores'"),
        ({"input_spec": None}, "its description is damaged (input_spec is None"),
        ({"tolerance": "x"}, "its description is damaged (tolerance is 'x'"),
        ({"probes": [{}]}, "its description is damaged (probes[0] has no 'name'"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused_in_one_line(padim_files, change, message):
    (entry,) = onnx.load(padim_files[1]).metadata_props
    document = {**json.loads(entry.value), **change}
    with pytest.raises(ModelFileError) as caught:
        EdgeMetadata.from_json(json.dumps(document), path="part.onnx")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"x"'])
def test_descriptions_of_another_shape_are_refused(text):
    with pytest.raises(ModelFileError):
        EdgeMetadata.from_json(text, path="part.onnx")


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((9, 7), np.uint8),
        ((9, 7, 3), np.uint8),
        ((9, 7, 4), np.uint8),
        ((9, 7), np.uint16),
        ((9, 7, 3), np.uint16),
    ],
)
def test_probe_frames_travel_without_loss(rng, shape, dtype):
    frame = rng.integers(0, np.iinfo(dtype).max + 1, shape, dtype)
    probe = Probe.from_frame("x", frame, 0.1, 1 / 3)
    again = Probe.from_dict(json.loads(json.dumps(probe.to_dict())))
    np.testing.assert_array_equal(again.frame, frame)
    assert again.frame.dtype == dtype
    assert (again.name, again.score, again.map_peak) == ("x", 0.1, 1 / 3)


def test_a_coarser_engine_gets_a_wider_self_test_but_no_other_verdict(padim_files, monkeypatch):
    edge = EdgeModel(padim_files[1])
    exact = edge.run

    def coarse(share):
        return lambda frames: Outputs(*((1 + share) * item for item in exact(frames)[:2]), {})

    monkeypatch.setattr(edge, "run", coarse(5e-3))
    assert not any(result.passed for result in edge.check())
    monkeypatch.setattr(edge._engine, "rounding", 20.0)
    same = [result for result in edge.check() if result.passed]
    assert same
    monkeypatch.setattr(edge, "run", coarse(5e-2))
    assert not any(result.passed for result in edge.check())
