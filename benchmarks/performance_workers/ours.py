"""anomalib_lite: `ours.py FILE.onnx ENGINE THREADS JPEG`, the edge model as its users call it."""

import sys

import cv2
from serve import serve

from anomalib_lite.edge import EdgeModel, cpu, prepare, read_frame


def main():
    path, engine, threads, jpeg = sys.argv[1:]
    cpu.use_threads(int(threads))
    model = EdgeModel(path, engine=engine, threads=int(threads))
    frame = read_frame(jpeg)
    large = cv2.resize(frame, (4096, 3000))
    prepared = prepare(frame, model.spec)[None]
    serve(
        {
            "frame": lambda: model.predict(frame),
            "jpeg": lambda: model.predict(jpeg),
            "large": lambda: model.predict(large),
            "network": lambda: model.run(prepared),
        }
    )


if __name__ == "__main__":
    main()
