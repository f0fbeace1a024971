"""The mechanics of int8: ranges, blocks and quantised graphs, by `onnxruntime.quantization`.

Weights are int8, symmetric, a scale for each output channel; activations uint8, a scale for each
tensor, from the smallest to the largest value seen (Nagel et al. 2021, "A White Paper on Neural
Network Quantization"; Wu et al. 2020, "Integer Quantization for Deep Learning Inference").
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from anomalib_lite.edge.inputs import FRAMES

_ACTIVATIONS = ("Relu", "Clip")
_OPERATORS = ["Conv", *_ACTIVATIONS]
_SMALLEST_WEIGHT = 256


@dataclass(frozen=True)
class Block:
    """What is quantised together or not at all.

    Attributes:
        name: of the node that has the weights.
        nodes: it and the activation behind it, which an engine computes in one step.
    """

    name: str
    nodes: tuple[str, ...]


def blocks_of(model: Any) -> tuple[Block, ...]:
    """Convolutions with constant weights of their own, each with its activation.

    Products stay in float: those of scorers are distances (the neighbour search, Mahalanobis
    products), which rounding would take to what was never learnt.
    """
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    weights = {item.name: item for item in model.graph.initializer}
    outputs = {item.name for item in model.graph.output}
    found = []
    for node in model.graph.node:
        weight = weights.get(node.input[1]) if node.op_type == "Conv" else None
        if weight is None or len(readers[weight.name]) > 1:
            continue
        if int(np.prod(weight.dims)) < _SMALLEST_WEIGHT:
            continue
        names = [node.name]
        after = readers.get(node.output[0], [])
        if len(after) == 1 and after[0].op_type in _ACTIVATIONS and node.output[0] not in outputs:
            names.append(after[0].name)
        found.append(Block(node.name, tuple(names)))
    return tuple(found)


class Quantiser:
    """Quantises chosen blocks of one graph; the ranges are measured once.

    Args:
        model: float `onnx.ModelProto`, unchanged.
        frames: uint8 `(n, h, w, 3)` that span what the activations may be.
    """

    def __init__(self, model: Any, frames: NDArray[np.uint8]) -> None:
        self._model = onnx.shape_inference.infer_shapes(model)
        with quietly():
            self._ranges = _ranges(self._model, frames)

    def __call__(self, blocks: Sequence[Block]) -> Any:
        """The graph with these blocks in int8, the others as they were."""
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        copied = onnx.ModelProto()
        copied.CopyFrom(self._model)
        with quietly():
            quantizer = QDQQuantizer(
                copied,
                True,
                False,
                QuantType.QInt8,
                QuantType.QUInt8,
                self._ranges,
                [name for block in blocks for name in block.nodes],
                [],
                _OPERATORS,
                {},
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
        found = quantizer.model.model
        del found.graph.value_info[:]
        for tensor in found.graph.initializer:
            # Scales as bytes, so that an edge box can judge them before an engine sees them.
            if not tensor.raw_data:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
        return found


def _ranges(model: Any, frames: NDArray[np.uint8]) -> Any:
    """Smallest and largest value of each activation over the frames."""
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    with tempfile.TemporaryDirectory(prefix="anomalib_lite.") as folder:
        path = Path(folder) / "float.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(
            path,
            _OPERATORS,
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={},
        )
        calibrator.collect_data(_Frames(frames))
        ranges = calibrator.compute_data()
        del calibrator
    return ranges


class _Frames:
    """Frames one by one, as the calibrator reads them."""

    def __init__(self, frames: NDArray[np.uint8]) -> None:
        self._rest = iter(frames)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next frame as a batch of one, or None at the end."""
        frame = next(self._rest, None)
        return None if frame is None else {FRAMES: frame[None]}

    def __iter__(self) -> Iterator[dict[str, NDArray[np.uint8]]]:
        while (item := self.get_next()) is not None:
            yield item


@contextmanager
def quietly() -> Iterator[None]:
    """Advice of the library, meant for those who call it by hand, stays unsaid."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
