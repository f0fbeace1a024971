"""Model files of others: judged before anything of them is computed, refused in one line."""

import base64
import json
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.edge import ModelFileError
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.model_files.arrays_in_text import inflate, pack_array, unpack_array
from anomalib_lite.edge.model_files.descriptions import FIELDS_KEY, fields_crc32
from anomalib_lite.edge.model_files.integrity import UNSEALED, seal
from anomalib_lite.edge.model_files.schema import (
    Fields,
    Flag,
    Many,
    Named,
    Number,
    OrNull,
    Plain,
    Row,
    Text,
)

FIXTURES = Path(__file__).parents[1] / "fixtures"


def forged(source, target, change):
    """A copy changed by somebody who renews every checksum; `change(model, document)`."""
    model = onnx.load(str(source))
    document = json.loads(model.metadata_props[0].value)
    change(model, document)
    document["seal"] = UNSEALED
    graph = model.graph.SerializeToString(deterministic=True)
    document["graph_crc32"] = f"{zlib.crc32(graph):08x}"
    document[FIELDS_KEY] = fields_crc32(document)
    model.metadata_props[0].value = json.dumps(document)
    target.write_bytes(model.SerializeToString(deterministic=True))
    seal(target)
    return target


def refusal(path, load=EdgeModel):
    with pytest.raises(ModelFileError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert len(message) < 700
    return message


def bomb(size):
    return base64.b64encode(zlib.compress(b"\0" * size, 9)).decode()


def set_in(*path, value):
    def change(model, document):
        place = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


DESCRIPTIONS = {
    "no probes": (("probes",), [], "probes has 0 entries"),
    "any tolerance": (("tolerance",), 1e9, "tolerance is 1000000000.0"),
    "no tolerance": (("tolerance",), float("nan"), "tolerance is nan"),
    "roi of 20 MB": (("input_spec", "roi"), bomb(20 << 20), "region of interest"),
    "huge input": (("input_spec", "height"), 2**40, "input_spec.height is"),
    "side in words": (("input_spec", "height"), "64", "input_spec.height is '64'"),
    "unknown colour": (("input_spec", "colour"), "cmyk", "expected one of rgb, grey"),
    "no good image": (("calibration", "scores"), [], "calibration.scores has 0 entries"),
    "other threshold": (("calibration", "threshold"), 1e6, "calibration.threshold is 1e+06"),
    "infinite score": (("calibration", "scores"), [1e39], "calibration.scores[0] is 1e+39"),
    "rate of 2": (("calibration", "max_false_reject"), 2, "calibration.max_false_reject is 2"),
    "a huge integer": (("calibration", "max_false_reject"), 10**400, "a number of many digits"),
    "probe without pixels": (("probes", 0, "png"), "", "a probe frame cannot be used"),
    "probe of no picture": (("probes", 0, "png"), "AAAA", "a probe frame cannot be used"),
    "probe of no base64": (("probes", 0, "png"), "§", "a probe frame cannot be used"),
    "nested": (("about", "x"), [[[[[[[[[[[[[[1]]]]]]]]]]]]]], "nested too deeply"),
    "about nothing": (("about",), [], "about is a list of 0"),
    "settings as text": (("about", "detector", "settings"), "x", "about.detector.settings"),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_descriptions_out_of_bounds_are_refused(name, tmp_path):
    path, value, words = DESCRIPTIONS[name]
    changed = forged(FIXTURES / "mvg.onnx", tmp_path / "x.onnx", set_in(*path, value=value))
    assert words in refusal(changed)


def loop(model, document):
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("d", TensorProto.BOOL, [])],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.int64(2**27), "many"))
    model.graph.initializer.append(numpy_helper.from_array(np.bool_(True), "go"))
    model.graph.node.insert(0, helper.make_node("Loop", ["many", "go"], [], body=body))


def operator(name, domain=""):
    def change(model, document):
        model.graph.node[-1].op_type, model.graph.node[-1].domain = name, domain

    return change


def external(model, document):
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def shape(model, document):
    model.graph.initializer[0].dims[0] = 2**40


def inflated(model, document):
    model.graph.initializer.append(numpy_helper.from_array(np.array([60000, 60000]), "large"))
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["large"], ["blown"]))


def functions(model, document):
    model.functions.add().name = "f"


def foreign_set(model, document):
    model.opset_import.add().domain = "com.microsoft"


def subgraph(model, document):
    graph = helper.make_graph([], "g", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("body", graph))


def wide_border(model, document):
    conv = next(node for node in model.graph.node if node.op_type == "AveragePool")
    for attribute in conv.attribute:
        if attribute.name in ("pads", "kernel_shape"):
            attribute.ints[0] = 2**31


GRAPHS = {
    "endless loop": (loop, "operator 'Loop'"),
    "branch": (operator("If"), "operator 'If'"),
    "random numbers": (operator("RandomNormal"), "operator 'RandomNormal'"),
    "custom domain": (operator("Relu", "evil"), "operator 'evil.Relu'"),
    "foreign set": (foreign_set, "operators of 'com.microsoft'"),
    "another file": (external, "is in another file"),
    "shape beyond the file": (shape, "should have"),
    "from nothing": (inflated, "more than fits a box"),
    "functions": (functions, "functions of its own"),
    "graph inside": (subgraph, "holds a graph of its own"),
    "wide border": (wide_border, "above 4096"),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_that_no_export_writes_are_refused_before_an_engine_sees_them(name, tmp_path):
    change, words = GRAPHS[name]
    changed = forged(FIXTURES / "mvg.onnx", tmp_path / "x.onnx", change)
    message = refusal(changed)
    assert "its graph is refused" in message
    assert words in message


def test_a_graph_that_is_allowed_and_cannot_run_is_one_line(tmp_path):
    def change(model, document):
        document["input_spec"].update(height=80, width=64)
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"

    refusal(forged(FIXTURES / "mvg.onnx", tmp_path / "x.onnx", change))


def test_a_graph_of_another_file_is_not_the_one_described(padim_files, tmp_path):
    model = onnx.load(str(padim_files[1]))
    document = json.loads(model.metadata_props[0].value)
    assert document["graph_crc32"]
    tensor = model.graph.initializer[-1]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 1, tensor.name + "x"))
    document["seal"] = UNSEALED
    model.metadata_props[0].value = json.dumps(document, sort_keys=True, separators=(",", ":"))
    target = tmp_path / "x.onnx"
    target.write_bytes(model.SerializeToString(deterministic=True))
    seal(target)
    refusal(target)


@pytest.mark.parametrize("kind", [0, 1], ids=["detector", "edge file"])
def test_info_verifies_the_seal(kind, padim_files, tmp_path):
    from anomalib_lite.edge.describe import describe_file

    path = tmp_path / padim_files[kind].name
    data = bytearray(padim_files[kind].read_bytes())
    place = len(data) - 20 if kind == 0 else data.index(b'"tolerance":0.001') + 14
    data[place] ^= 1
    path.write_bytes(data)
    assert describe_file(padim_files[kind])["kind"]
    refusal(path, describe_file)


def test_a_pinned_file_is_opened_and_another_refused(padim_files):
    import hashlib

    path = padim_files[1]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert EdgeModel(path, sha256=digest.upper()).threshold == EdgeModel(path).threshold
    assert f"its sha256 is {digest}" in refusal(path, lambda p: EdgeModel(p, sha256="0" * 64))
    with pytest.raises(SettingsError, match="64 hex digits"):
        EdgeModel(path, sha256="abc")


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "anomalib_lite.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_signatures(padim_files, tmp_path, monkeypatch):
    cryptography = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from anomalib_lite.system.signatures import require_signature

    model, key = tmp_path / "x.onnx", tmp_path / "public.pem"
    model.write_bytes(padim_files[1].read_bytes())
    private = cryptography.Ed25519PrivateKey.generate()
    encoded = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    key.write_bytes(encoded)
    with pytest.raises(ModelFileError, match="has no signature"):
        require_signature(model, key)
    signature = private.sign(model.read_bytes())
    for written in (signature, base64.b64encode(signature) + b"\n"):
        Path(f"{model}.sig").write_bytes(written)
        require_signature(model, key)
    model.write_bytes(model.read_bytes() + b"x")
    with pytest.raises(ModelFileError, match="is not the file that was signed"):
        require_signature(model, key)
    Path(f"{model}.sig").write_bytes(b"short")
    with pytest.raises(ModelFileError, match="is no Ed25519 signature"):
        require_signature(model, key)
    with pytest.raises(SettingsError, match="is no PEM file"):
        require_signature(model, model)


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (Number(0, 1), [0, 1, 0.5], [-1, 2, True, "1", None, float("nan"), 10**400, [1]]),
        (Number(0, 9, whole=True), [0, 9], [1.0, 10, False]),
        (Text(3), ["", "abc"], ["abcd", 3, None]),
        (Text(choices=("a", "b")), ["a"], ["c", ""]),
        (Flag(), [True, False], [0, 1, "true", None]),
        (OrNull(Flag()), [None, True], [0]),
        (Many(Flag(), 1, 2), [[True]], [[], [True] * 3, [1], "x", {}]),
        (Row((Flag(), Text(1)), 1), [[True], [True, "a"]], [[], [True, "a", 1], ["a"]]),
        (Named(Flag(), 1, 3), [{}, {"abc": True}], [{"a": 1}, {"abcd": True}, [], {3: True}]),
        (Plain(1), [1, "x", None, [1], {"a": 1}], [[[1]], {"a": {}}, 2**70]),
        (Fields({"a": Flag()}, {"b": Flag()}), [{"a": True, "c": 3}], [{}, {"a": True, "b": 0}]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_rules(rule, good, bad):
    for value in good:
        rule.check(value, "x")
    for value in bad:
        with pytest.raises(ValueError, match=r"."):
            rule.check(value, "x")


def test_arrays_in_text_come_back_and_are_never_larger_than_agreed():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(unpack_array(pack_array(values)), values)
    assert inflate(bomb(100), 100) == b"\0" * 100
    for text, most in ((bomb(101), 100), (bomb(100)[:-8], 100), ("%", 9), ("", 9)):
        with pytest.raises(ValueError, match=r"."):
            inflate(text, most)
    for text in (bomb(70 << 20), bomb(10), pack_array(np.array(["x"]))):
        with pytest.raises(ModelFileError, match="measured input is damaged"):
            unpack_array(text)


def test_detectors_whose_tensors_do_not_fit_are_refused_when_loaded(padim_files, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    from anomalib_lite.detector.file_tensors import tensors_crc32
    from anomalib_lite.edge.model_files.headers import HEADER_KEY, read_header

    source, target = padim_files[0], tmp_path / "x.safetensors"
    name = next(key for key in load_file(source) if key.startswith("scorer.") and "mean" in key)
    for change in (
        lambda tensors: tensors.pop(name),
        lambda tensors: tensors.update({name: torch.full_like(tensors[name], float("nan"))}),
        lambda tensors: tensors.update({name: tensors[name].double()}),
        lambda tensors: tensors.update({name: tensors[name].reshape(-1)[:-1].clone()}),
        lambda tensors: tensors.update({"sample.0": torch.zeros(3)}),
        lambda tensors: tensors.update({"else": torch.zeros(3)}),
    ):
        tensors, header = load_file(source), read_header(source)
        change(tensors)
        header.update(seal=UNSEALED, tensors_crc32=tensors_crc32(tensors))
        header[FIELDS_KEY] = fields_crc32(header)
        save_file(tensors, target, metadata={HEADER_KEY: json.dumps(header)})
        seal(target)
        refusal(target, Detector.load)


def test_a_fit_that_went_wrong_is_not_saved(good_frames, tmp_path):
    from anomalib_lite.edge import FitError

    detector = Detector("mvg", backbone="filters", image_size=64).fit(good_frames)
    name = next(name for name, _ in detector.scorer.named_buffers() if "mean" in name)
    getattr(detector.scorer, name)[0] = float("inf")
    with pytest.raises(FitError, match="NaN or infinity"):
        detector.save(tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []
