"""Which graphs an edge box computes: a list of operators, bounded constants, nothing outside.

A graph is a program. These rules keep out loops, code and files from elsewhere, random numbers, and
constants that blow up; they do not make a stranger's model trustworthy (docs/security.md).
"""

from __future__ import annotations

import math
import struct

from anomalib_lite.edge.model_files.onnx_wire import Node, OnnxFile, Tensor

_NAMES = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift
Cast CastLike Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos
Cosh CumSum DepthToSpace DequantizeLinear Det Div Dropout DynamicQuantizeLinear Einsum Elu Equal
Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid
HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Less
LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean
MeanVarianceNormalization Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow QLinearConv
QLinearMatMul QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize RoiAlign
Round ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax
Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK
Transpose Trilu Unsqueeze Where Xor
"""
OPERATORS = frozenset(_NAMES.split())
"""Standard operators that compute tensors from tensors, the same each time, in one go. Left out are
If, Loop, Scan and sequences (they hold graphs and may never end), random numbers, texts, decoders,
and recurrent layers. An export that needs another one says so; then the list has to grow."""

ITEM_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""Element types of constants -> bytes of an element: numbers and truth values."""

_INT64 = 7
_STANDARD_DOMAINS = ("", "ai.onnx")
_MOST_ELEMENTS = 2**28
_SHAPE_INPUTS = {
    "ConstantOfShape": 0,
    "Expand": 1,
    "OneHot": 1,
    "Pad": 1,
    "Resize": 3,
    "Tile": 1,
}
"""Operators whose result is as large as a number says -> which input says it."""
_LARGEST_STEP = 4096
_STEPS = ("dilations", "kernel_shape", "output_padding", "output_shape", "pads", "strides")
_SHAPE_LENGTH = 64
_LARGEST_INDEX = 2**28
_OPEN_ENDS = (2**63 - 1, -(2**63), 1 - 2**63)
"""What a slice to the end is written as."""


_QUANTISED = ("QuantizeLinear", "DequantizeLinear")
_FLOAT, _ZERO_POINTS = 1, (2, 3, 6)
_SMALLEST_SCALE, _LARGEST_SCALE = 1e-30, 1e30


def check_graph(file: OnnxFile) -> None:
    """Raise `ValueError` for a graph that is not of the kind that exports write."""
    if file.unusual:
        raise ValueError(f"it holds {file.unusual[0]}")
    foreign = sorted(set(file.opsets) - set(_STANDARD_DOMAINS))
    if foreign:
        raise ValueError(f"it uses operators of {foreign[0][:40]!r}")
    known: dict[str, Tensor] = {}
    for tensor in file.tensors:
        _check_tensor(tensor)
        known[tensor.name] = tensor
    for node in file.nodes:
        _check_node(node)
        for attribute in node.attributes:
            for tensor in attribute.tensors:
                _check_tensor(tensor)
                if node.operator == "Constant" and node.outputs:
                    known[node.outputs[0]] = tensor
    for node in file.nodes:
        _check_result_size(node, known)
        if node.operator in _QUANTISED:
            _check_scale(node, known)


def _check_node(node: Node) -> None:
    if node.domain not in _STANDARD_DOMAINS or node.operator not in OPERATORS:
        name = f"{node.domain}.{node.operator}" if node.domain else node.operator
        raise ValueError(f"it uses the operator {name[:60]!r}, which no export writes")
    for attribute in node.attributes:
        if attribute.has_graph:
            raise ValueError(f"{node.operator} holds a graph of its own")
        far = any(abs(value) > _LARGEST_STEP for value in attribute.integers)
        if far and attribute.name in _STEPS:
            raise ValueError(f"{node.operator} has {attribute.name} above {_LARGEST_STEP}")


def _check_tensor(tensor: Tensor) -> None:
    name = f"constant {tensor.name[:60]!r}"
    if tensor.external:
        raise ValueError(f"{name} is in another file; an edge file is one file")
    if tensor.data_type not in ITEM_BYTES:
        raise ValueError(f"{name} holds elements of type {tensor.data_type}, expected numbers")
    if any(side < 0 for side in tensor.dims):
        raise ValueError(f"{name} has the shape {list(tensor.dims)[:8]}")
    elements = math.prod(tensor.dims)
    wanted = elements * ITEM_BYTES[tensor.data_type]
    held = len(tensor.raw)
    # An element that is written by itself takes a byte at least.
    fits = held == wanted if held else elements <= tensor.listed_bytes
    if not fits:
        raise ValueError(
            f"{name} of shape {list(tensor.dims)[:8]} should have {wanted} bytes, the file holds "
            f"{held or tensor.listed_bytes}"
        )
    _check_short_list(tensor)


def _check_short_list(tensor: Tensor) -> None:
    """Few whole numbers are sides, places or widths of a border: none is astronomical."""
    for value in _few_integers(tensor):
        if abs(value) > _LARGEST_INDEX and value not in _OPEN_ENDS:
            raise ValueError(f"constant {tensor.name[:60]!r} holds the number {value}")


def _check_result_size(node: Node, known: dict[str, Tensor]) -> None:
    """Where a result's size is written in the file, it must be one that a box can hold."""
    place = _SHAPE_INPUTS.get(node.operator)
    if place is None or place >= len(node.inputs):
        return
    tensor = known.get(node.inputs[place])
    sides = () if tensor is None else _few_integers(tensor)
    if node.operator == "Pad":
        too_large = any(abs(side) > _LARGEST_STEP for side in sides)
    else:
        too_large = math.prod(max(1, abs(side)) for side in sides) > _MOST_ELEMENTS
    if too_large:
        raise ValueError(f"{node.operator} is asked for {list(sides)[:8]}, more than fits a box")


def _check_scale(node: Node, known: dict[str, Tensor]) -> None:
    """Scales of int8 are written in the file, above zero and finite, each with its zero point."""
    names = node.inputs[1:]
    scale = known.get(names[0]) if names else None
    zero = known.get(names[1]) if len(names) > 1 else None
    if scale is None or scale.data_type != _FLOAT or len(scale.raw) != 4 * math.prod(scale.dims):
        raise ValueError(f"{node.operator} has a scale that is no constant of the file")
    for (value,) in struct.iter_unpack("<f", scale.raw):
        if not _SMALLEST_SCALE <= value <= _LARGEST_SCALE:
            raise ValueError(f"{node.operator} has the scale {value:g}")
    if zero is None:
        if len(names) > 1:
            raise ValueError(f"{node.operator} has a zero point that is no constant of the file")
    elif zero.data_type not in _ZERO_POINTS or zero.dims != scale.dims:
        raise ValueError(f"{node.operator} has a zero point of another kind than its scale")


def _few_integers(tensor: Tensor) -> tuple[int, ...]:
    """The values of a short list of whole numbers; nothing for other constants."""
    if tensor.data_type != _INT64 or len(tensor.raw) > 8 * _SHAPE_LENGTH:
        return ()
    return struct.unpack(f"<{len(tensor.raw) // 8}q", tensor.raw)
