"""Where a graph's milliseconds go, node by node, beside what this machine can multiply."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anomalib_lite.edge.cpu import checked_threads
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.inputs import FRAMES, Prepared
from anomalib_lite.edge.model_files.whole_file import cannot_open
from anomalib_lite.edge.quiet import import_onnxruntime
from anomalib_lite.edge.running.onnxruntime_engine import session_options

TOP = 10
_WARM_UP = 5
_SIDE = 512  # of the square matrices that are multiplied: short enough to run undisturbed
_SUFFIX = "_kernel_time"
_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "NhwcFusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
"""Kinds of convolution and which input their weights are."""
_PRODUCTS = frozenset(
    ("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulInteger", "QLinearMatMul", "QGemm")
)

Shape = Sequence[int]


@dataclass(frozen=True)
class NodeTime:
    """One node of the graph as the engine runs it.

    Attributes:
        name: as in the optimised graph.
        kind: operator.
        output: shape of its first output.
        ms: median time.
        gflops: billions of operations a second, a multiplication and an addition counting as two;
            None where it does not multiply.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    ms: float
    gflops: float | None


@dataclass(frozen=True)
class KindTime:
    """All nodes of a kind together; `share` is that of the sum over all nodes."""

    kind: str
    nodes: int
    ms: float
    share: float


@dataclass(frozen=True)
class GraphProfile:
    """Time of a graph's nodes.

    Attributes:
        kinds: by kind of node, slowest first.
        slowest: the ten slowest nodes.
        nodes_ms: sum of the medians of all nodes.
        gflops: what convolutions and products reached together.
        machine_gflops: the fastest of some products of two 512x512 float32 matrices, same engine
            and threads.
        engine: what ran it.
        threads: inside one inference.
        repeats: timed frames.
    """

    kinds: tuple[KindTime, ...]
    slowest: tuple[NodeTime, ...]
    nodes_ms: float
    gflops: float
    machine_gflops: float
    engine: str
    threads: int
    repeats: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def profile_graph(
    path: str | Path, prepared: Prepared, *, threads: int | None = None, repeats: int = 50
) -> GraphProfile:
    """Run an edge file under ONNX Runtime's profiler.

    The profiler itself costs some microseconds a node: compare shares, and take times from `bench`.

    Args:
        path: edge file.
        prepared: a frame as the graph takes it, or prepared inputs by name.
        threads: inside one inference; None takes what the machine allows.
        repeats: timed frames, after a warm-up.

    Raises:
        ModelFileError: the file cannot be opened.
        SettingsError: fewer than one repeat.
    """
    if repeats < 1:
        raise SettingsError(f"repeats is {repeats}; choose 1 or more")
    onnxruntime = import_onnxruntime()
    count = checked_threads(threads)
    given = prepared if isinstance(prepared, Mapping) else {FRAMES: prepared}
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(onnxruntime, count)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "nodes"))
        try:
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise cannot_open(path, f"ONNX Runtime {onnxruntime.__version__}", error) from error
        for _ in range(_WARM_UP + repeats):
            session.run(None, given)
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    nodes, work = nodes_of(events, skipped=_WARM_UP)
    total = sum(node.ms for node in nodes)
    busy = sum(node.ms for node in nodes if node.gflops is not None)
    return GraphProfile(
        kinds=_by_kind(nodes, total),
        slowest=tuple(nodes[:TOP]),
        nodes_ms=total,
        gflops=work / 1e6 / busy if busy else 0.0,
        machine_gflops=machine_gflops(count),
        engine=f"onnxruntime {onnxruntime.__version__}",
        threads=count,
        repeats=repeats,
    )


def nodes_of(events: Sequence[Mapping[str, Any]], skipped: int) -> tuple[list[NodeTime], float]:
    """Median time of each node, slowest first, and the operations of all that multiply.

    Args:
        events: ONNX Runtime's profile.
        skipped: runs of each node to leave out, the first ones.
    """
    runs: dict[tuple[str, str], list[float]] = defaultdict(list)
    shapes: dict[tuple[str, str], tuple[list[Shape], Shape]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") != "Node" or not name.endswith(_SUFFIX):
            continue
        told = event["args"]
        key = (str(told["op_name"]), name.removesuffix(_SUFFIX))
        runs[key].append(float(event["dur"]) / 1e3)
        outputs = _shapes(told.get("output_type_shape", []))
        shapes[key] = (_shapes(told.get("input_type_shape", [])), outputs[0] if outputs else ())
    nodes, work = [], 0.0
    for key, times in runs.items():
        kind, name = key
        inputs, output = shapes[key]
        ms = float(np.median(times[skipped:] or times))
        operations = operations_of(kind, inputs, output)
        work += operations or 0
        gflops = None if operations is None else operations / 1e6 / max(ms, 1e-6)
        nodes.append(NodeTime(name, kind, tuple(output), ms, gflops))
    return sorted(nodes, key=lambda node: -node.ms), work


def operations_of(kind: str, inputs: Sequence[Shape], output: Shape) -> int | None:
    """Multiplications and additions of a node, None for kinds that are no product.

    Args:
        kind: operator.
        inputs: shapes, weights included.
        output: shape.
    """
    weights = _CONVOLUTIONS.get(kind)
    if weights is not None and len(inputs) > weights:
        return 2 * math.prod(output) * math.prod(inputs[weights][1:])
    if kind in _PRODUCTS and inputs and len(output) >= 2 and output[-2]:
        # Right for a transposed first factor, too.
        return 2 * math.prod(output) * (math.prod(inputs[0][-2:]) // output[-2])
    return None


def machine_gflops(threads: int, *, repeats: int = 50) -> float:
    """What two float32 matrices of 512x512 multiply at in ONNX Runtime, at best, GFLOP/s."""
    onnxruntime = import_onnxruntime()
    session = onnxruntime.InferenceSession(
        _product_model(_SIDE),
        session_options(onnxruntime, threads),
        providers=["CPUExecutionProvider"],
    )
    one = np.random.default_rng(0).standard_normal((_SIDE, _SIDE), dtype=np.float32)
    best = math.inf
    for _ in range(repeats):
        started = time.perf_counter()
        session.run(None, {"a": one, "b": one})
        best = min(best, time.perf_counter() - started)
    return 2 * _SIDE**3 / best / 1e9


def _by_kind(nodes: Sequence[NodeTime], total: float) -> tuple[KindTime, ...]:
    times: dict[str, list[float]] = defaultdict(list)
    for node in nodes:
        times[node.kind].append(node.ms)
    kinds = [
        KindTime(kind, len(each), sum(each), sum(each) / total if total else 0.0)
        for kind, each in times.items()
    ]
    return tuple(sorted(kinds, key=lambda item: -item.ms))


def _shapes(told: Sequence[Mapping[str, Sequence[int]]]) -> list[Shape]:
    """`[{"float": [1, 3]}, ...]` -> `[[1, 3], ...]`."""
    return [next(iter(item.values()), ()) for item in told]


def _product_model(side: int) -> bytes:
    """An ONNX model `c = MatMul(a, b)` of square matrices, written by hand: no onnx at the edge."""
    dimension = _message(1, _number(1, side))
    tensor = _message(2, _message(1, _number(1, 1) + _message(2, dimension * 2)))
    node = _text(1, "a") + _text(1, "b") + _text(2, "c") + _text(4, "MatMul")
    values = [_text(1, name) + tensor for name in "abc"]
    graph = _message(1, node) + _text(2, "product")
    graph += _message(11, values[0]) + _message(11, values[1]) + _message(12, values[2])
    return _number(1, 8) + _message(7, graph) + _message(8, _text(1, "") + _number(2, 13))


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())
