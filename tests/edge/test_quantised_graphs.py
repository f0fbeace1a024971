"""What an edge box accepts of quantised graphs, judged before an engine sees them."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_hostile_models import forged, refusal

from anomalib_lite.edge.model import EdgeModel
from anomalib_lite.edge.model_files.graph_rules import check_graph
from anomalib_lite.edge.model_files.onnx_wire import read_onnx

MVG = Path(__file__).parents[1] / "fixtures" / "mvg.onnx"


def written(tmp_path, scale, zero, *, operator="DequantizeLinear", by_one=False):
    """A graph of one node with these constants."""
    constants = [("s", scale), ("z", zero)]
    tensors = [
        numpy_helper.from_array(np.asarray(values), name)
        for name, values in constants
        if values is not None
    ]
    if by_one:
        values = np.asarray(scale)
        tensors[0] = helper.make_tensor("s", TensorProto.FLOAT, values.shape, values.ravel())
    names = ["x", *(name for name, values in constants if values is not None)]
    node = helper.make_node(operator, names, ["y"])
    graph = helper.make_graph([node], "g", [], [], tensors)
    path = tmp_path / "x.onnx"
    onnx.save(helper.make_model(graph), path)
    return path


FLOAT, INT8 = np.float32, np.int8


@pytest.mark.parametrize("operator", ["QuantizeLinear", "DequantizeLinear"])
@pytest.mark.parametrize(
    ("scale", "zero"),
    [
        (FLOAT(0.1), INT8(0)),
        (FLOAT([0.1, 1e-20, 9]), INT8([0, -1, 3])),
        (FLOAT(0.1), np.uint8(128)),
        (FLOAT([0.1, 0.2]), np.int32([0, 0])),
        (FLOAT(0.1), None),
    ],
)
def test_scales_that_exports_write_are_accepted(tmp_path, operator, scale, zero):
    check_graph(read_onnx(written(tmp_path, scale, zero, operator=operator)))


@pytest.mark.parametrize(
    ("scale", "zero", "words"),
    [
        (FLOAT(0), INT8(0), "has the scale 0"),
        (FLOAT(-0.1), INT8(0), "has the scale -0.1"),
        (FLOAT([0.1, np.inf]), INT8([0, 0]), "has the scale inf"),
        (FLOAT([0.1, np.nan]), INT8([0, 0]), "has the scale nan"),
        (FLOAT(1e38), INT8(0), "has the scale 1e+38"),
        (np.float64(0.1), INT8(0), "no constant of the file"),
        (FLOAT([0.1, 0.2]), INT8(0), "of another kind than its scale"),
        (FLOAT(0.1), FLOAT(0), "of another kind than its scale"),
        (FLOAT(0.1), np.int64(0), "of another kind than its scale"),
    ],
)
def test_scales_out_of_bounds_are_refused(tmp_path, scale, zero, words):
    with pytest.raises(ValueError, match=words.replace("+", r"\+")):
        check_graph(read_onnx(written(tmp_path, scale, zero)))


def test_scales_written_number_by_number_cannot_be_judged_and_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no constant of the file"):
        check_graph(read_onnx(written(tmp_path, FLOAT([0.1]), INT8([0]), by_one=True)))


def test_a_scale_that_is_computed_is_refused(tmp_path):
    path = written(tmp_path, FLOAT(0.1), INT8(0))
    model = onnx.load(path)
    del model.graph.initializer[0]
    onnx.save(model, path)
    with pytest.raises(ValueError, match="scale that is no constant"):
        check_graph(read_onnx(path))


def lowered(**changes):
    """A description that says it is int8."""

    def change(model, document):
        pair = [0.9, 0.9]
        said = {
            "name": "int8",
            "engine": "",
            "float_nodes": [],
            "lowered_nodes": ["a"],
            "drift": {
                "good": 9,
                "defects": 9,
                "score_drift": 0.1,
                "map_drift": 0.1,
                "auroc": pair,
                "misses": pair,
                "false_rejects": pair,
            },
            "calibration": {"way": "moved", "images": 9},
        }
        document["about"]["precision"] = {**said, **changes.get("precision", {})}
        document["tolerance"] = changes.get("tolerance", 1e-3)

    return change


@pytest.mark.parametrize("tolerance", [1e-3, 0.05])
def test_a_file_in_a_lower_precision_may_be_tested_less_strictly(tmp_path, tolerance):
    path = forged(MVG, tmp_path / "x.onnx", lowered(tolerance=tolerance))
    model = EdgeModel(path)
    assert model.metadata.tolerance == tolerance
    assert model.metadata.calibrated_for == ""


def test_a_float_file_may_not(tmp_path):
    def loose(model, document):
        document["tolerance"] = 0.05

    assert "tolerance is 0.05" in refusal(forged(MVG, tmp_path / "x.onnx", loose))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tolerance": 0.06}, "tolerance is 0.06"),
        ({"precision": {"name": "int2"}}, "about.precision.name is 'int2'"),
        ({"precision": {"engine": "rm -rf"}}, "about.precision.engine is"),
        ({"precision": {"float_nodes": "all"}}, "about.precision.float_nodes is 'all'"),
        ({"precision": {"drift": {}}}, "about.precision.drift has no"),
        ({"precision": {"calibration": {"way": "guessed", "images": 1}}}, "expected one of held"),
        ({"precision": {"engines": {"x": -1}}}, "about.precision.engines.x is -1"),
    ],
)
def test_what_a_file_says_of_its_precision_is_bounded(tmp_path, changes, words):
    assert words in refusal(forged(MVG, tmp_path / "x.onnx", lowered(**changes)))


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_a_file_that_belongs_to_an_engine_is_opened_with_no_other(tmp_path, factor):
    """Even where the other would pass the self-test: the threshold is not its own."""

    def change(model, document):
        lowered(precision={"name": "bf16", "engine": "openvino-bf16"})(model, document)
        for probe in document["probes"]:
            probe["score"] *= factor

    words = refusal(forged(MVG, tmp_path / "x.onnx", change))
    assert "it was calibrated for the engine openvino-bf16, open it with that" in words
    assert json.loads(EdgeModel(MVG).metadata.to_json())["about"].get("precision") is None
