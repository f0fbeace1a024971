"""A backbone alone: `bare.py FILE.onnx ENGINE THREADS JPEG`, with the same preparation."""

import sys

from serve import serve

from anomalib_lite.edge import cpu, prepare, read_frame
from anomalib_lite.edge.prepare import InputSpec


def opened(path, engine, threads):
    """A call that runs the graph, with the options that the edge model's engines have."""
    if engine == "onnxruntime":
        from anomalib_lite.edge.quiet import import_onnxruntime

        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda frames: session.run(None, {"frames": frames})
    from anomalib_lite.edge.quiet import import_openvino

    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "bf16" if engine.endswith("bf16") else "f32",
    }
    request = import_openvino().Core().compile_model(path, "CPU", config).create_infer_request()
    return lambda frames: request.infer({"frames": frames})


def main():
    path, engine, threads, jpeg = sys.argv[1:]
    cpu.use_threads(int(threads))
    run, spec, frame = opened(path, engine, int(threads)), InputSpec(), read_frame(jpeg)
    prepared = prepare(frame, spec)[None]
    serve(
        {
            "frame": lambda: run(prepare(frame, spec)[None]),
            "jpeg": lambda: run(prepare(read_frame(jpeg), spec)[None]),
            "network": lambda: run(prepared),
        }
    )


if __name__ == "__main__":
    main()
