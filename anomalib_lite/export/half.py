"""Half precision for what a file holds: what is exact in it, or, if asked, what is rounded to it.

Engines compute in single precision all the same.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

_SMALLEST = 1024
_SUFFIX = "_half"


def store_half(model: Any) -> None:
    """Halve the large constants of an ONNX model whose every value is exact in half precision.

    Each gets a cast back to single precision, which engines fold when they load the file: the
    network computes the same numbers at the same speed.

    Args:
        model: `onnx.ModelProto`, changed in place.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < _SMALLEST or not _is_half(values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + _SUFFIX))
        casts.append(
            onnx.helper.make_node(
                "Cast", [name + _SUFFIX], [name], name=name + "_cast", to=onnx.TensorProto.FLOAT
            )
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def large_constants(model: Any) -> tuple[str, ...]:
    """Names of the constants that rounding to half precision would change and not overflow."""
    found = []
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            fits = np.abs(values).max(initial=0) < np.finfo(np.float16).max
            if values.size >= _SMALLEST and fits and not _is_half(values):
                found.append(tensor.name)
    return tuple(found)


def rounded_to_half(model: Any, names: Collection[str]) -> Any:
    """A copy of a model with some constants rounded to what half precision holds."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    for tensor in copied.graph.initializer:
        if tensor.name in names:
            values = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return copied


def _is_half(values: np.ndarray[Any, Any]) -> bool:
    with np.errstate(over="ignore"):
        halved = values.astype(np.float16).astype(np.float32)
    return bool(np.array_equal(halved, values))
