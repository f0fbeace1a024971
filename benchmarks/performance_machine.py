"""What this machine can do: matrix product, memory, and the preparation of small and large frames.

`performance_machine.py THREADS JPEG` prints one JSON object. Times are the least of many, so that
other work on the machine counts as little as it can.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper

from anomalib_lite.edge import cpu, prepare, read_frame
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.quiet import import_onnxruntime

SIDE = 1024
COPIED_MB = 256
LARGE_HW = (3000, 4096)


def least_ms(call: Callable[[], object], repeats: int = 15) -> float:
    """Least wall time of a call, milliseconds."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return min(times)


def cpu_ms(call: Callable[[], object], repeats: int = 15) -> float:
    """Least processor time of a call over all threads, milliseconds."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append((time.process_time() - start) * 1e3)
    return min(times)


def matrix_product(threads: int) -> float:
    """GFLOP/s of a float32 product of 1024x1024 matrices in ONNX Runtime."""
    shape = [SIDE, SIDE]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "abc"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])], "product", values[:2], values[2:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {name: np.ones(shape, np.float32) for name in "ab"}
    return 2 * SIDE**3 / 1e6 / least_ms(lambda: session.run(None, given), 30)


def preparation(jpeg: str) -> dict[str, float]:
    """Milliseconds of `prepare` for a 1024x1024 and a 4096x3000 frame, and what bounds them."""
    spec, small = InputSpec(), read_frame(jpeg)
    large = cv2.resize(small, LARGE_HW[::-1])
    words = large.reshape(-1).view(np.uint64)
    return {
        "small_ms": least_ms(lambda: prepare(small, spec)),
        "large_ms": least_ms(lambda: prepare(large, spec)),
        "small_cpu_ms": cpu_ms(lambda: prepare(small, spec)),
        "large_cpu_ms": cpu_ms(lambda: prepare(large, spec)),
        "large_mb": large.nbytes / 1e6,
        "read_once_ms": least_ms(words.max),
    }


def main() -> None:
    """Measure and print."""
    threads = int(sys.argv[1])
    cpu.use_threads(threads)
    block = np.ones(COPIED_MB << 17, np.float64)
    copied = np.empty_like(block)
    copy_ms = least_ms(lambda: np.copyto(copied, block), 10)
    found = {
        "gflops": matrix_product(threads),
        "gigabytes_s": 2 * block.nbytes / 1e6 / copy_ms,
        "preparation": preparation(sys.argv[2]),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
