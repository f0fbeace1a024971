"""The page of `benchmarks/performance.py`, from figures that are made up."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from performance_models import work
from performance_page import write_page
from performance_plot import Machine, Network, write_roofline


def judge(name, engine, frame, **kinds):
    times = {"frame": frame, **kinds}
    least = {kind: ms - 1 for kind, ms in times.items()}
    return {"name": name, "engine": engine, "ms": times, "least_ms": least}


@pytest.fixture
def figures():
    return {
        "threads": 2,
        "rounds": 3,
        "frames": 5,
        "judges": [
            judge("default", "onnxruntime", 12.0, network=10.0),
            judge("padim resnet18", "openvino", 20.0),
            judge("bare pdn_edge", "onnxruntime", 6.0),
            judge("anomalib padim", "torch", 50.0),
            judge("anomalib padim", "openvino", 30.0),
            judge("anomavision padim", "onnxruntime", 40.0),
        ],
        "machine": {
            "gflops": 100.0,
            "gigabytes_s": 10.0,
            "preparation": {
                "small_ms": 1.0,
                "large_ms": 21.0,
                "small_cpu_ms": 1.0,
                "large_cpu_ms": 40.0,
                "large_mb": 40.0,
                "read_once_ms": 2.5,
            },
        },
        "start": {
            "import_s": 0.1,
            "load_and_self_test_s": 0.2,
            "first_verdict_s": 0.05,
            "total_s": 0.35,
            "process_s": 0.4,
            "resident_mib": 100.0,
        },
        "install": {"anomalib-lite": {"mb": 300.0, "packages": 9, "largest": {"numpy": 70.0}}},
        "load": [0.1, 1.5],
        "margin_ms": 4.0,
    }


def test_times_ratios_and_reasons_stand_on_the_page(tmp_path, figures):
    write_page(tmp_path / "page.md", figures, [Network("default", 2.0, 100.0, 40.0)])
    text = (tmp_path / "page.md").read_text()
    for line in (
        "| default | onnxruntime | 12.0 (11.0) | 10.0 (9.0) | – | – |",
        "| default | onnxruntime | 2.00 | – |",
        "| padim resnet18 | openvino | – | 1.5 (anomalib padim on openvino) |",
        "| default | 2.00 | 100 | 40.0 | 50 | 50 % |",
        "| anomalib-lite | 9 | 300 | numpy 70 |",
        "20.0 ms more",
        "The bar of 4 ms is **missed**",
        "1.00 ns a byte",
        "20.0 ms at best on 2 cores",
        "**0.35 s**",
    ):
        assert line in text
    assert "busy" not in text


def test_a_busy_machine_and_a_bar_that_is_kept_are_said(tmp_path, figures):
    figures["load"] = [1e6, 1.0]
    figures["machine"]["preparation"]["large_ms"] = 5.0
    write_page(tmp_path / "page.md", figures, [])
    text = (tmp_path / "page.md").read_text()
    assert "**The machine was busy**" in text
    assert "4.0 ms more. The bar is 4 ms." in text


def test_the_roofline_is_a_picture_with_every_network(tmp_path):
    networks = [Network("bare pdn_edge", 1.0, 50.0, 20.0), Network("default", 2.6, 140.0, 30.0)]
    assert (networks[0].intensity, networks[0].reached) == (20.0, 50.0)
    write_roofline(tmp_path / "roof.svg", Machine(186.0, 12.0), networks)
    root = ElementTree.parse(tmp_path / "roof.svg").getroot()
    words = " ".join("".join(item.itertext()) for item in root.iter() if item.tag.endswith("text"))
    assert all(word in words for word in ("186 GFLOP/s", "bare pdn_edge", "default 30.0 ms"))


def test_work_counts_convolutions_and_products(tmp_path):
    """1x256x256x3 -> 3x3 convolution with stride 256 to 2 channels -> (1, 2) -> product to 5."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2, 3, 3, 3], [0.0] * 54)
    second = helper.make_tensor("m", TensorProto.FLOAT, [2, 5], [0.0] * 10)
    nodes = [
        helper.make_node("Cast", ["frames"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["c"], strides=[256, 256]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", 256, 256, 3])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", 5])],
        [weights, second],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "small.onnx")
    gflop, megabytes = work(tmp_path / "small.onnx")
    assert gflop * 1e9 == pytest.approx(2 * 2 * 27 + 2 * 5 * 2)
    pixels = 256 * 256 * 3
    moved = pixels * (1 + 4) + pixels * 8 + pixels * 4 + 54 * 4 + 8 + (8 + 8) + (8 + 40 + 20)
    assert megabytes * 1e6 == pytest.approx(moved)
