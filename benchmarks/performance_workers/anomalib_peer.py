"""anomalib 2.7: `anomalib_peer.py MODEL ENGINE THREADS JPEG GOOD FOLDER`, fitted here, then served.

ENGINE is `torch` or `openvino`, its two inferencers. Runs in an environment of its own.
"""

import os
import sys
from pathlib import Path

os.environ["TRUST_REMOTE_CODE"] = "1"  # the file that its torch inferencer reads is written here

import cv2
import numpy as np
import torch
from serve import serve

sys.path.append(str(Path(__file__).resolve().parents[1]))
from anomalib_child import TORCHVISION

exec(TORCHVISION)


def fitted(name, good):
    """Engine and model, fitted on good pictures; weights are random, which is as quick."""
    from anomalib.data import Folder
    from anomalib.engine import Engine
    from anomalib.models import Padim, Patchcore

    data = Folder(
        name="part",
        normal_dir=good,
        test_split_mode="synthetic",
        val_split_mode="same_as_test",
        train_batch_size=8,
        eval_batch_size=8,
        num_workers=0,
    )
    options = {"backbone": "resnet18", "pre_trained": False, "evaluator": False}
    options["visualizer"] = False
    if name == "padim":
        model = Padim(layers=["layer1", "layer2", "layer3"], **options)
    else:
        model = Patchcore(layers=["layer2", "layer3"], coreset_sampling_ratio=0.1, **options)
    engine = Engine(
        accelerator="cpu", devices=1, logger=False, default_root_dir=Path(good).parent / name
    )
    engine.fit(model, datamodule=data)
    return engine, model


def opened(name, kind, threads, good, folder):
    """The inferencer of an exported model; the file is written once."""
    from anomalib.deploy import OpenVINOInferencer, TorchInferencer

    weights = Path(folder) / f"anomalib {name}"
    done = weights / "done"
    if not done.exists():
        engine, model = fitted(name, good)
        for export in ("torch", "openvino"):
            engine.export(model, export, export_root=weights, input_size=(256, 256))
        done.touch()
    suffix = ".pt" if kind == "torch" else ".xml"
    (path,) = weights.rglob(f"*{suffix}")
    if kind == "torch":
        return TorchInferencer(path, device="cpu")
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    config["INFERENCE_PRECISION_HINT"] = "f32"
    return OpenVINOInferencer(path, device="CPU", config=config)


def main():
    name, kind, threads, jpeg, good, folder = sys.argv[1:]
    torch.set_num_threads(int(threads))
    cv2.setNumThreads(int(threads))
    os.chdir(folder)
    inferencer = opened(name, kind, int(threads), good, folder)
    frame = np.ascontiguousarray(cv2.imread(jpeg)[:, :, ::-1])
    large = cv2.resize(frame, (4096, 3000))
    with torch.no_grad():
        serve(
            {
                "frame": lambda: inferencer.predict(frame),
                "jpeg": lambda: inferencer.predict(jpeg),
                "large": lambda: inferencer.predict(large),
            }
        )


if __name__ == "__main__":
    main()
