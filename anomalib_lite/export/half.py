"""Store in half precision what half precision holds exactly. Nothing is rounded here."""

from __future__ import annotations

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


def _is_half(values: np.ndarray[Any, Any]) -> bool:
    with np.errstate(over="ignore"):
        halved = values.astype(np.float16).astype(np.float32)
    return bool(np.array_equal(halved, values))
