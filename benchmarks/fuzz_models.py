"""Damaged and forged model files for `fuzz.py`, both kinds, drawn from a seed.

*Damaged* files are changed somewhere and get a new seal, as a tool would give them that knows where
the seal is. *Forged* ones get every checksum anew, as somebody would who has read the source.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from anomalib_lite.edge.model_files.descriptions import FIELDS_KEY, fields_crc32
from anomalib_lite.edge.model_files.integrity import UNSEALED, seal

KEY = "anomalib_lite"
NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3.7, 1e9, 1e308, -1e308, 10**25, 10**400, 2**31, 2**63),
    *(float("nan"), float("inf"), "", "x", "\ud800", "\x1b[2J", "A" * 5000, "../../etc/passwd"),
    *([], {}, [[]], [None], ["x"], {"x": 1}, list(range(50)), 1e-320, 4096, 100_000),
)
ATTRIBUTE_NASTY = (-(2**63), -1, 0, 1, 7, 1000, 100_000, 2**31, 2**40, 2**63 - 1)
OPERATORS = ("Loop", "If", "Scan", "RandomNormal", "Identity", "NonZero", "Det", "Nonsense", "")


def damaged_onnx(source: Path, target: Path, rng: np.random.Generator, forged: bool) -> str:
    """Write a damaged copy; returns what was done."""
    kinds: list[Callable[..., str]] = [_describe, _describe, _constant, _node, _graph]
    if not forged:
        kinds.append(_raw)
    change = kinds[int(rng.integers(len(kinds)))]
    if change is _raw:
        return _raw(source, target, rng)
    model = onnx.load(str(source))
    document = json.loads(model.metadata_props[0].value)
    told = change(model, document, rng)
    document = _resealed(document)
    if forged and isinstance(document, dict):
        graph = model.graph.SerializeToString(deterministic=True)
        document["graph_crc32"] = f"{zlib.crc32(graph):08x}"
        document[FIELDS_KEY] = fields_crc32(document)
    if len(model.metadata_props):
        text = json.dumps(document)
        model.metadata_props[0].value = text
    target.write_bytes(model.SerializeToString(deterministic=True))
    _seal(target)
    return told


def damaged_detector(source: Path, target: Path, rng: np.random.Generator, forged: bool) -> str:
    """As `damaged_onnx`, for a `.safetensors` file."""
    import torch
    from safetensors.torch import load_file, save_file

    from anomalib_lite.detector.file_tensors import tensors_crc32
    from anomalib_lite.edge.model_files.headers import read_header

    kinds = ["header", "header", "tensor", *([] if forged else ["raw", "table"])]
    kind = kinds[int(rng.integers(len(kinds)))]
    if kind == "raw":
        return _raw(source, target, rng)
    if kind == "table":
        return _table(source, target, rng)
    header, tensors = read_header(source), load_file(source)
    if kind == "header":
        told = _mutate_json(header, rng)
    else:
        name = sorted(tensors)[int(rng.integers(len(tensors)))]
        told = f"{name}: " + _tensor(tensors, name, rng, torch)
    header = _resealed(header)
    if forged and isinstance(header, dict):
        header["tensors_crc32"] = tensors_crc32(tensors)
        header[FIELDS_KEY] = fields_crc32(header)
    save_file(tensors, target, metadata={KEY: json.dumps(header)})
    _seal(target)
    return told


def _resealed(document: Any) -> Any:
    if isinstance(document, dict) and "seal" in document:
        document["seal"] = UNSEALED
    return document


def _seal(path: Path) -> None:
    if UNSEALED.encode() in path.read_bytes():
        seal(path)


def _raw(source: Path, target: Path, rng: np.random.Generator) -> str:
    """Any bytes changed; the seal is put anew where its place is still there."""
    data = bytearray(source.read_bytes())
    told = mutate_bytes(data, rng)
    mark = UNSEALED.encode()[:-8]
    start = data.find(mark)
    if start >= 0 and start + len(mark) + 8 <= len(data):
        data[start + len(mark) : start + len(mark) + 8] = b"0" * 8
    target.write_bytes(data)
    _seal(target)
    return told


def mutate_bytes(data: bytearray, rng: np.random.Generator) -> str:
    """Flip, cut, overwrite, repeat or take out bytes in place; returns what was done."""
    at = int(rng.integers(len(data)))
    # Half of all damage near the start: that is where sizes and types stand.
    if rng.random() < 0.5:
        at = min(at, int(rng.integers(1, 600)) - 1, len(data) - 1)
    size = int(rng.integers(1, 1 + min(200, len(data) - at)))
    kind = int(rng.integers(6))
    if kind == 0:
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        data[at : at + size] = rng.bytes(size)
    elif kind == 3:
        data[at:at] = data[at : at + size]
    elif kind == 4:
        del data[at : at + size]
    else:
        fill = (b"\xff", b"\x00", b"\x7f")[int(rng.integers(3))]
        width = (2, 4, 8)[int(rng.integers(3))]
        data[at : at + width] = fill * width
    return f"bytes {kind} at {at}"


def _table(source: Path, target: Path, rng: np.random.Generator) -> str:
    """The table of tensors in front of a `.safetensors` file changed."""
    data = source.read_bytes()
    length = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + length])
    inner = json.loads(table["__metadata__"][KEY])
    table["__metadata__"][KEY] = json.dumps(_resealed(inner))
    names = [name for name in table if name != "__metadata__"]
    name = names[int(rng.integers(len(names)))]
    told = _mutate_json(table[name], rng)
    head = json.dumps(table).encode()
    target.write_bytes(len(head).to_bytes(8, "little") + head + data[8 + length :])
    _seal(target)
    return f"table {name}: {told}"


def _mutate_json(document: Any, rng: np.random.Generator) -> str:
    """Replace, remove or move one value somewhere in a document."""
    place, path = document, []
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[int(rng.integers(len(keys)))]
        path.append(key)
        below = place[key]
        if not isinstance(below, dict | list) or not below or rng.random() < 0.25:
            break
        place = below
    kind = int(rng.integers(8))
    if kind == 0:
        del place[key]
    elif kind == 1 and isinstance(below, int | float) and abs(below) < 1e300:
        place[key] = below * float(rng.choice([0.5, 1.01, -1, 10, 1e6]))
    elif kind == 2 and isinstance(below, str) and below:
        at = int(rng.integers(len(below)))
        place[key] = below[:at] + chr(int(rng.integers(32, 127))) + below[at + 1 :]
    elif kind == 3:
        nested: Any = 1
        for _ in range(int(rng.choice([20, 900]))):
            nested = [nested]
        place[key] = nested
    else:
        place[key] = NASTY[int(rng.integers(len(NASTY)))]
    return f"{'.'.join(map(str, path))}, {kind}"


def _describe(model: Any, document: Any, rng: np.random.Generator) -> str:
    return "description: " + _mutate_json(document, rng)


def _constant(model: Any, document: Any, rng: np.random.Generator) -> str:
    tensors = [*model.graph.initializer]
    tensors += [a.t for n in model.graph.node for a in n.attribute if a.HasField("t")]
    tensor = tensors[int(rng.integers(len(tensors)))]
    kind = int(rng.integers(6))
    if kind == 0 and len(tensor.raw_data):
        raw = bytearray(tensor.raw_data)
        raw[int(rng.integers(len(raw)))] ^= 1 << int(rng.integers(8))
        tensor.raw_data = bytes(raw)
    elif kind == 1 and len(tensor.raw_data):
        values = numpy_helper.to_array(tensor).copy()
        values = values * values.dtype.type(3)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    elif kind == 2:
        tensor.dims.append(int(rng.choice(ATTRIBUTE_NASTY)))
    elif kind == 3 and len(tensor.dims):
        tensor.dims[0] = int(rng.choice(ATTRIBUTE_NASTY))
    elif kind == 4:
        tensor.data_type = int(rng.integers(0, 25))
    else:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "/etc/passwd"
    return f"constant {tensor.name[:30]}, {kind}"


def _node(model: Any, document: Any, rng: np.random.Generator) -> str:
    node = model.graph.node[int(rng.integers(len(model.graph.node)))]
    kind = int(rng.integers(6))
    numbers = [a for a in node.attribute if a.type in (onnx.AttributeProto.INT, 7)]
    if kind == 0 and numbers:
        attribute = numbers[int(rng.integers(len(numbers)))]
        value = int(rng.choice(ATTRIBUTE_NASTY))
        if len(attribute.ints):
            attribute.ints[0] = value
        else:
            attribute.i = value
    elif kind == 1:
        node.op_type = str(rng.choice(OPERATORS))
    elif kind == 2:
        node.domain = str(rng.choice(["com.microsoft", "evil", "ai.onnx.ml"]))
    elif kind == 3 and len(node.input):
        other = model.graph.node[int(rng.integers(len(model.graph.node)))]
        node.input[0] = other.output[0] if len(other.output) else "nowhere"
    elif kind == 4 and len(node.attribute):
        del node.attribute[int(rng.integers(len(node.attribute)))]
    else:
        model.graph.node.remove(node)
        return f"node {node.op_type} removed"
    return f"node {node.op_type}, {kind}"


def _graph(model: Any, document: Any, rng: np.random.Generator) -> str:
    kind = int(rng.integers(8))
    graph = model.graph
    if kind == 0:
        graph.output[0].name = "other"
    elif kind == 1:
        graph.input[0].type.tensor_type.elem_type = int(rng.integers(0, 20))
    elif kind == 2:
        graph.input[0].type.tensor_type.shape.dim[1].dim_value = int(rng.choice(ATTRIBUTE_NASTY))
    elif kind == 3:
        model.opset_import[0].version = int(rng.choice([0, 1, 8, 13, 99]))
    elif kind == 4:
        model.ir_version = int(rng.choice([0, 1, 3, 99]))
    elif kind == 5:
        del graph.initializer[int(rng.integers(len(graph.initializer)))]
    elif kind == 6:
        graph.node.insert(0, endless_loop())
        graph.initializer.append(numpy_helper.from_array(np.int64(2**62), "many"))
        graph.initializer.append(numpy_helper.from_array(np.bool_(True), "go"))
    else:
        del model.metadata_props[:]
    return f"graph, {kind}"


def endless_loop() -> Any:
    """A node that never ends, of constants alone, so that loading the file would run it."""
    helper, boolean, whole = onnx.helper, onnx.TensorProto.BOOL, onnx.TensorProto.INT64
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", whole, []),
            helper.make_tensor_value_info("c", boolean, []),
        ],
        [helper.make_tensor_value_info("c_out", boolean, [])],
    )
    return helper.make_node("Loop", ["many", "go"], [], body=body)


def _tensor(tensors: dict[str, Any], name: str, rng: np.random.Generator, torch: Any) -> str:
    tensor = tensors[name].clone()
    kind = int(rng.integers(7))
    if kind == 0 and tensor.numel():
        flat = tensor.reshape(-1).view(torch.uint8)
        flat[int(rng.integers(len(flat)))] ^= 1 << int(rng.integers(7))
    elif kind == 1:
        del tensors[name]
        return "removed"
    elif kind == 2:
        tensor = tensor.reshape(-1)[: max(0, tensor.numel() - 1)].contiguous()
    elif kind == 3:
        tensor = tensor.to(torch.float64 if rng.random() < 0.5 else torch.int32)
    elif kind == 4 and tensor.is_floating_point():
        tensor = torch.full_like(tensor, float(rng.choice([np.nan, np.inf, 1e30, 0])))
    elif kind == 5:
        tensor = tensor[None].contiguous()
    else:
        tensors["further." + name] = tensor
        return "a further one"
    tensors[name] = tensor
    return f"{kind}"
