"""What an ONNX file holds, read without computing or allocating anything of it.

An engine folds constants while it loads a file, so a graph has to be judged before an engine sees
it. The wire format of Protocol Buffers is a list of (field number, value); the numbers are those of
`onnx.proto3` of ONNX 1.17.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10
_MOST_FIELDS = 5_000_000


@dataclass(frozen=True)
class Field:
    """One field of a message.

    Attributes:
        number: which field.
        value: of an integer; else 0.
        data: bytes of a text, a message or a packed list; else empty.
    """

    number: int
    value: int
    data: memoryview

    @property
    def text(self) -> str:
        """The bytes as text; raises `ValueError` when they are none."""
        return bytes(self.data).decode("utf-8")


@dataclass(frozen=True)
class Tensor:
    """A constant of the graph.

    Attributes:
        name: what nodes call it.
        dims: its shape.
        data_type: number of its element type.
        raw: its elements as little-endian bytes; empty where they are written one by one.
        listed_bytes: size of elements written one by one.
        external: whether it says that its elements are in another file.
    """

    name: str
    dims: tuple[int, ...]
    data_type: int
    raw: memoryview
    listed_bytes: int
    external: bool


@dataclass(frozen=True)
class Attribute:
    """An attribute of a node.

    Attributes:
        name: which.
        integers: its integer or integers.
        tensors: its tensor or tensors.
        has_graph: whether it holds a graph, or refers to what is not in the node.
    """

    name: str
    integers: tuple[int, ...]
    tensors: tuple[Tensor, ...]
    has_graph: bool


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        operator: its type.
        domain: which set of operators it is of; empty for the standard's.
        inputs: names of what it reads.
        outputs: names of what it gives.
        attributes: its attributes.
    """

    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file.

    Attributes:
        opsets: set of operators -> version.
        metadata: its key-value pairs.
        nodes: operations of the graph.
        tensors: constants of the graph.
        inputs: names of the graph's inputs.
        outputs: names of the graph's outputs.
        unusual: what it holds that exports never do, in words.
        graph_crc32: checksum of the graph, eight hex digits.
    """

    opsets: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    unusual: list[str] = field(default_factory=list)
    graph_crc32: str = ""


def read_onnx(path: str | Path) -> OnnxFile:
    """The content of a file; it stays mapped as long as what is returned.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no ONNX file.
    """
    with Path(path).open("rb") as stream:
        return _file(memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)))


def fields_of(message: memoryview) -> Iterator[Field]:
    """The fields of a message, in order; raises `ValueError` where it is none."""
    place, count, nothing = 0, 0, message[:0]
    while place < len(message):
        count += 1
        if count > _MOST_FIELDS:
            raise ValueError("a message of millions of fields")
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield Field(number, value, nothing)
        elif kind == _BYTES:
            size, place = _varint(message, place)
            yield Field(number, 0, _slice(message, place, size))
            place += size
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if kind == _EIGHT_BYTES else 4
            yield Field(number, 0, _slice(message, place, size))
            place += size
        else:
            raise ValueError(f"wire type {kind}")


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """An unsigned integer and the place behind it."""
    value = 0
    for index in range(_LONGEST_VARINT):
        if place >= len(message):
            break
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & (2**64 - 1), place
    raise ValueError("an integer without end")


def _slice(message: memoryview, place: int, size: int) -> memoryview:
    if place + size > len(message):
        raise ValueError("a field that reaches beyond its message")
    return message[place : place + size]


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _integers(item: Field) -> tuple[int, ...]:
    """A repeated integer field, packed or not."""
    if not len(item.data):
        return (_signed(item.value),)
    found, place = [], 0
    while place < len(item.data):
        value, place = _varint(item.data, place)
        found.append(_signed(value))
    return tuple(found)


def _file(data: memoryview) -> OnnxFile:
    found = OnnxFile()
    graphs: list[memoryview] = []
    unusual = {20: "training information", 25: "functions of its own"}
    for item in fields_of(data):
        if item.number == 7:
            graphs.append(item.data)
        elif item.number == 8:
            opset = {part.number: part for part in fields_of(item.data)}
            domain = opset[1].text if 1 in opset else ""
            found.opsets[domain] = _signed(opset[2].value) if 2 in opset else 0
        elif item.number == 14:
            pair = {part.number: part.text for part in fields_of(item.data)}
            if pair.get(1, "") in found.metadata:
                found.unusual.append("metadata of one name twice")
            found.metadata[pair.get(1, "")] = pair.get(2, "")
        elif item.number in unusual:
            found.unusual.append(unusual[item.number])
    if len(graphs) != 1:
        raise ValueError(f"{len(graphs)} graphs")
    _read_graph(graphs[0], found)
    checksum = f"{zlib.crc32(graphs[0]):08x}"
    return OnnxFile(**{**vars(found), "graph_crc32": checksum})


def _read_graph(graph: memoryview, found: OnnxFile) -> None:
    for item in fields_of(graph):
        if item.number == 1:
            found.nodes.append(_node(item.data))
        elif item.number == 5:
            found.tensors.append(_tensor(item.data))
        elif item.number in (11, 12):
            names = found.inputs if item.number == 11 else found.outputs
            names.append(next((part.text for part in fields_of(item.data) if part.number == 1), ""))
        elif item.number == 15:
            found.unusual.append("sparse constants")


def _node(data: memoryview) -> Node:
    inputs, outputs, attributes, words = [], [], [], {4: "", 7: ""}
    for item in fields_of(data):
        if item.number == 1:
            inputs.append(item.text)
        elif item.number == 2:
            outputs.append(item.text)
        elif item.number == 5:
            attributes.append(_attribute(item.data))
        elif item.number in words:
            words[item.number] = item.text
    return Node(words[4], words[7], tuple(inputs), tuple(outputs), tuple(attributes))


def _attribute(data: memoryview) -> Attribute:
    name, has_graph = "", False
    integers: list[int] = []
    tensors: list[Tensor] = []
    for item in fields_of(data):
        if item.number == 1:
            name = item.text
        elif item.number in (3, 8):
            integers += _integers(item)
        elif item.number in (5, 10):
            tensors.append(_tensor(item.data))
        elif item.number in (6, 11, 21, 22, 23):
            has_graph = True
    return Attribute(name, tuple(integers), tuple(tensors), has_graph)


def _tensor(data: memoryview) -> Tensor:
    name, data_type, listed, external = "", 0, 0, False
    dims: list[int] = []
    raw = data[:0]
    for item in fields_of(data):
        if item.number == 1:
            dims += _integers(item)
        elif item.number == 2:
            data_type = item.value
        elif item.number == 8:
            name = item.text
        elif item.number == 9:
            raw = item.data
        elif item.number == 13 or (item.number == 14 and item.value):
            external = True
        elif item.number in (4, 5, 6, 7, 10, 11):
            listed += len(item.data) or 1
    return Tensor(name, tuple(dims), data_type, raw, listed, external)
