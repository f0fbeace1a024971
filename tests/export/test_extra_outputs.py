"""Extra outputs travel by name: torch, file, engines, parity gate, self-test, result."""

import json

import numpy as np
import onnx
import pytest
import torch

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.edge import ExportError, FrameError, ModelFileError, prepare
from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.engines import OnnxRuntimeEngine, open_engine
from anomalib_lite.edge.model_files.metadata import EdgeMetadata, Probe
from anomalib_lite.edge.outputs import Outputs, extra_difference, kept_values, map_difference
from anomalib_lite.edge.prediction import make_prediction
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.export import onnx_file, parity
from anomalib_lite.scorers import Scorer, Scores
from anomalib_lite.scorers import registry as scorers_by_name


class Told(Scorer):
    """Distance to the mean map; says the count of odd cells, two figures, and a second map."""

    name = "told"

    def __init__(self, also=""):
        super().__init__()
        self.also = also

    def fit(self, stream, context):
        (layer, *_) = self.layout.layers
        maps = torch.cat([batch.features.maps[layer.name] for batch in stream])
        self.register_buffer("mean_", maps.mean(dim=0))

    def forward(self, features):
        (layer, *_) = self.layout.layers
        away = (features.maps[layer.name] - self.mean_).square().mean(dim=1)
        flat = away.flatten(1)
        extra = {
            "zones": away.amax(dim=2),
            "spread": torch.stack([flat.mean(dim=1), flat.amax(dim=1)], dim=1),
            "odd_cells": (flat > 0.5).float().sum(dim=1),
            "second_map": away.square(),
        }
        if self.also:
            extra[self.also] = flat
        return Scores(flat.amax(dim=1), away, extra)


NAMES = ["odd_cells", "second_map", "spread", "zones"]


@pytest.fixture(scope="module")
def told(good_frames):
    """A fitted detector with four extra outputs, known by name while this module runs."""
    scorers_by_name.create_scorer("padim")  # fills the registry before it grows
    scorers_by_name.register_scorer(Told)
    yield Detector("told", backbone="filters", image_size=64).fit(good_frames)
    del scorers_by_name._REGISTRY["told"]


@pytest.fixture(scope="module")
def path(told, tmp_path_factory):
    file = tmp_path_factory.mktemp("told") / "told.onnx"
    told.export(file)
    return file


@pytest.fixture(scope="module")
def prepared(told, good_frames, scratched):
    return np.stack([prepare(frame, told.spec) for frame in (*good_frames[:3], *scratched)])


def test_the_graph_names_them_in_sorted_order_and_any_batch(path):
    outputs = onnx.load(path).graph.output
    assert [item.name for item in outputs] == ["score", "anomaly_map", *NAMES]
    assert [item.type.tensor_type.shape.dim[0].dim_param for item in outputs] == ["N"] * 6
    assert EdgeModel(path).metadata.extra_outputs == tuple(NAMES)


@pytest.mark.parametrize(("engine", "rtol"), [("onnxruntime", 1e-4), ("openvino", 2e-3)])
@pytest.mark.parametrize("batch", [1, 3])
def test_every_engine_returns_what_torch_does(told, path, prepared, engine, rtol, batch):
    pytest.importorskip(engine)
    found = open_engine(path, engine, threads=1).run(prepared[:batch])
    expected = told.run(prepared[:batch])
    assert sorted(found.extra) == sorted(expected.extra) == NAMES
    for name in NAMES:
        assert found.extra[name].shape == expected.extra[name].shape
        np.testing.assert_allclose(
            found.extra[name],
            expected.extra[name],
            rtol=rtol,
            atol=rtol * np.abs(expected.extra[name]).max(),
        )


def test_a_prediction_carries_them_and_json_the_plain_numbers(told, path, good_frames):
    for model in (told, EdgeModel(path)):
        found = model.predict(good_frames[0])
        shapes = {name: values.shape for name, values in found.extra.items()}
        grid = found.network_map.shape
        assert shapes == {"odd_cells": (), "second_map": grid, "spread": (2,), "zones": grid[:1]}
        assert found.extra["spread"][1] == pytest.approx(found.score)
        line = json.loads(json.dumps(found.to_dict()))
        assert sorted(line["extra"]) == ["odd_cells", "spread", "zones"]
        assert line["extra"]["spread"][1] == pytest.approx(found.score)


def test_a_plain_detector_says_nothing_of_them(mvg, mvg_files, good_frames):
    found = EdgeModel(mvg_files[1]).predict(good_frames[0])
    assert found.extra == {}
    assert "extra" not in found.to_dict()
    (entry,) = onnx.load(mvg_files[1]).metadata_props
    document = json.loads(entry.value)
    assert "extra_outputs" not in document
    assert all("extra" not in probe for probe in document["probes"])
    assert "extra_differences" not in document["about"]["parity"]


class Changed:
    """The fitted model with one extra output changed."""

    def __init__(self, model, name, change):
        self.model, self.name, self.change = model, name, change

    def run(self, frames):
        found = self.model.run(frames)
        extra = dict(found.extra)
        extra[self.name] = self.change(extra[self.name])
        return found._replace(extra=extra)


@pytest.mark.parametrize(
    ("name", "change", "passed"),
    [
        ("spread", lambda values: values, True),
        ("spread", lambda values: values * np.float32(1 + 5e-5), True),
        ("spread", lambda values: values * np.float32(1 + 5e-4), False),
        ("spread", lambda values: values[:, ::-1], False),
        ("spread", lambda values: values[:1], False),
        ("spread", lambda values: values * np.nan, False),
        ("odd_cells", lambda values: values + 1, False),
        ("second_map", lambda values: values * np.float32(1 + 5e-5), True),
        ("second_map", lambda values: np.roll(values, 1, axis=2), False),
        ("zones", lambda values: values[..., None], False),
    ],
)
def test_the_gate_sees_every_extra_output(told, name, change, passed):
    frames = parity.probe_frames(told.data.samples, told.spec, seed=0)
    changed = Changed(told, name, change)
    report, _ = parity.compare(
        told, changed, frames, inputs=told.inputs, calibration=told.calibration
    )
    assert report.passed == passed
    assert [other for other in NAMES if report.extra_differences[other] > 0] in ([], [name])
    assert passed or f"{name} " in report.explain()


def test_a_missing_extra_output_fails_the_gate(told):
    class Without:
        def run(self, frames):
            return told.run(frames)._replace(extra={})

    frames = parity.probe_frames(told.data.samples, told.spec, seed=0)
    report, _ = parity.compare(
        told, Without(), frames, inputs=told.inputs, calibration=told.calibration
    )
    assert not report.passed


def test_a_machine_that_computes_one_of_them_differently_is_noticed(path, monkeypatch):
    run = OnnxRuntimeEngine.run

    def wrong(self, frames):
        return Changed(
            type("Plain", (), {"run": lambda _, given: run(self, given)})(),
            "zones",
            lambda values: values * np.float32(1.01),
        ).run(frames)

    monkeypatch.setattr(OnnxRuntimeEngine, "run", wrong)
    with pytest.raises(ModelFileError, match="self-test failed on 5 probe frame"):
        EdgeModel(path)


@pytest.mark.parametrize("name", ["score", "anomaly_map", "frames"])
def test_a_name_that_every_graph_has_is_refused(told, good_frames, tmp_path, name):
    detector = Detector("told", backbone="filters", image_size=64, also=name).fit(good_frames)
    with pytest.raises(ExportError, match=f"an extra output '{name}', which every graph has"):
        detector.export(tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_a_description_of_other_outputs_is_refused(path, tmp_path):
    model = onnx.load(path)
    (entry,) = model.metadata_props
    document = json.loads(entry.value)
    document["extra_outputs"] = ["spread"]
    del document["fields_crc32"]
    metadata = EdgeMetadata.from_json(json.dumps(document), path="x")
    onnx_file._describe(model, metadata)
    file = tmp_path / "x.onnx"
    file.write_bytes(model.SerializeToString())
    onnx_file.seal(file)
    with pytest.raises(ModelFileError, match="names the extra outputs"):
        EdgeModel(file)


@pytest.mark.parametrize(
    ("got", "want", "is_map", "largest", "difference"),
    [
        ([1.0, 2.0], [1.0, 2.0], False, 2.0, 0.0),
        ([1.1, 2.0], [1.0, 2.0], False, 2.0, 0.1),
        ([0.001, 2.0], [0.0, 2.0], False, 2.0, 0.05),  # near zero: a hundredth of the largest
        ([0.0], [0.0], False, 0.0, 0.0),
        ([[0.1, 2.0]], [[0.0, 2.0]], True, 9.0, 0.05),  # a map: relative to its own peak
        ([1.0], [1.0, 2.0], False, 2.0, float("inf")),
        ([float("nan")], [1.0], False, 1.0, float("inf")),
        ([], [], False, 1.0, 0.0),
    ],
)
def test_how_far_two_values_are_apart(got, want, is_map, largest, difference):
    found = extra_difference(np.array(got), np.array(want), is_map=is_map, largest=largest)
    assert found == pytest.approx(difference)


def test_a_map_is_compared_to_its_peak():
    assert map_difference(np.array([[1.0, 4.0]]), np.array([[1.2, 4.0]])) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("size", "count"), [(0, 0), (1, 1), (64, 64), (65, 33), (640, 64), (10_000, 64)]
)
def test_a_probe_remembers_at_most_64_values(size, count):
    kept = kept_values(np.arange(size, dtype=np.float32))
    assert len(kept) == count
    assert kept[:1] == ((0.0,) if size else ())


def test_a_probe_without_extras_reads_as_before():
    probe = Probe("a", "", 1.0, 2.0)
    assert sorted(probe.to_dict()) == ["map_peak", "name", "png", "score"]
    assert Probe.from_dict(probe.to_dict()) == probe
    more = Probe("a", "", 1.0, 2.0, {"b": (1.0, 2.0)})
    assert Probe.from_dict(json.loads(json.dumps(more.to_dict()))) == more


def test_an_extra_output_that_is_not_finite_is_an_unusable_frame():
    calibration = Calibration.from_scores([1.0], [1.0], max_false_reject=0.5, method="made up")
    outputs = Outputs(np.ones(1), np.ones((1, 1, 1)), {"x": np.array([[np.nan]])})
    with pytest.raises(FrameError, match="NaN or infinite"):
        make_prediction(
            1.0,
            outputs.anomaly_map[0],
            (8, 8),
            calibration=calibration,
            spec=InputSpec(),
            extra=outputs.of_frame(0),
        )
