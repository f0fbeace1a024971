"""Node times of a graph: operations counted by hand, the profile read, the command."""

import json

import numpy as np
import onnxruntime
import pytest

from anomalib_lite.edge import SettingsError
from anomalib_lite.edge.profiling import (
    _product_model,
    machine_gflops,
    nodes_of,
    operations_of,
    profile_graph,
)


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "operations"),
    [
        ("Conv", [[1, 3, 8, 8], [16, 3, 3, 3], [16]], [1, 16, 8, 8], 2 * 16 * 64 * 27),
        ("Conv", [[2, 8, 4, 4], [8, 1, 5, 5]], [2, 8, 4, 4], 2 * 2 * 8 * 16 * 25),
        ("QLinearConv", [[1, 3, 4, 4], [], [], [5, 3, 1, 1]], [1, 5, 4, 4], 2 * 5 * 16 * 3),
        ("MatMul", [[1, 10, 7], [7, 3]], [1, 10, 3], 2 * 10 * 3 * 7),
        ("MatMul", [[32, 16], [4, 9, 16, 5]], [4, 9, 32, 5], 2 * 4 * 9 * 32 * 5 * 16),
        ("FusedMatMul", [[1, 7, 10], [7, 3]], [1, 10, 3], 2 * 10 * 3 * 7),
        ("Gemm", [[4, 6], [9, 6], [9]], [4, 9], 2 * 4 * 9 * 6),
        ("ReduceMin", [[4, 6]], [4], None),
        ("MatMul", [[7], [7]], [], None),
    ],
)
def test_operations_of_a_node(kind, inputs, output, operations):
    assert operations_of(kind, inputs, output) == operations


def event(name, kind, microseconds, inputs, output):
    shapes = {
        "input_type_shape": [{"float": shape} for shape in inputs],
        "output_type_shape": [{"float": output}],
    }
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "dur": microseconds,
        "args": {"op_name": kind, **shapes},
    }


def test_a_profile_is_read_without_its_first_runs():
    events = [{"cat": "Session", "name": "model_run", "dur": 9}]
    for times in ((900, 90), (20, 5), (40, 5), (30, 5)):
        events.append(event("dot", "MatMul", times[0], [[2, 5], [5, 3]], [2, 3]))
        events.append(event("sum", "Add", times[1], [[2, 3], [3]], [2, 3]))
    nodes, work = nodes_of(events, skipped=1)
    assert [(node.name, node.kind, node.output) for node in nodes] == [
        ("dot", "MatMul", (2, 3)),
        ("sum", "Add", (2, 3)),
    ]
    assert [node.ms for node in nodes] == [0.030, 0.005]
    assert work == 60
    assert nodes[0].gflops == pytest.approx(60 / 30e-6 / 1e9)
    assert nodes[1].gflops is None


def test_the_product_that_measures_the_machine_is_a_product():
    session = onnxruntime.InferenceSession(_product_model(300))
    one, other = np.random.default_rng(0).standard_normal((2, 300, 300), dtype=np.float32)
    (found,) = session.run(None, {"a": one, "b": other})
    np.testing.assert_allclose(found, one @ other, rtol=1e-3, atol=1e-3)
    assert machine_gflops(1, repeats=1) > 0


def test_bench_profiles_the_nodes_of_an_edge_file(run, padim_files):
    status, out, _ = run("bench", padim_files[1], "--profile", "--frames", 5, "--json")
    assert status == 0
    document = json.loads(out)
    kinds = document["kinds"]
    assert sum(item["share"] for item in kinds) == pytest.approx(1)
    assert sum(item["ms"] for item in kinds) == pytest.approx(document["nodes_ms"])
    assert [item["ms"] for item in kinds] == sorted((item["ms"] for item in kinds), reverse=True)
    assert "Conv" in {item["kind"] for item in kinds}
    assert 1 <= len(document["slowest"]) <= 10
    assert document["slowest"][0]["ms"] >= document["slowest"][-1]["ms"]
    assert document["gflops"] > 0
    assert document["machine_gflops"] > 0
    assert document["repeats"] == 5
    status, out, _ = run("bench", padim_files[1], "--profile", "--frames", 5)
    assert status == 0
    for words in ("kind of node", "slowest nodes", "GFLOP/s", "matrix product"):
        assert words in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{detector}"], "export it"),
        (["{edge}", "--engine", "openvino"], "ONNX Runtime"),
        (["{edge}", "--frame-size", "64x64"], "--frame-size"),
    ],
)
def test_what_cannot_be_profiled_is_told(run, padim_files, words, told):
    files = {"{detector}": padim_files[0], "{edge}": padim_files[1]}
    given = [files.get(word, word) for word in words]
    status, _, err = run("bench", *given, "--profile")
    assert status == 2
    assert told in err.replace("\n", " ")


def test_no_repeats_are_refused(padim_files):
    with pytest.raises(SettingsError, match="repeats is 0"):
        profile_graph(padim_files[1], np.zeros((1, 64, 64, 3), np.uint8), repeats=0)
