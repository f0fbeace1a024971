"""anomavision: `anomavision_peer.py padim onnxruntime THREADS JPEG GOOD FOLDER`, its ONNX path.

Fitted and exported here with the layers and channels of ours; runs in an environment of its own.
"""

import logging
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from serve import serve

sys.path.append(str(Path(__file__).resolve().parents[1]))
from anomalib_child import TORCHVISION

exec(TORCHVISION)

SIDE = 256


def exported(good, folder):
    """Its ONNX file, written once."""
    from torchvision import models

    # Random weights are as quick, and nothing is fetched.
    models._api.WeightsEnum.get_state_dict = lambda *_, **__: models.resnet18().state_dict()
    from anomavision import Padim, to_batch
    from anomavision.export import ModelExporter

    path = Path(folder) / "anomavision"
    if (path / "model.onnx").is_file():
        return path / "model.onnx"
    path.mkdir(exist_ok=True)
    files = sorted(Path(good).iterdir())
    frames = [cv2.resize(cv2.imread(str(file))[:, :, ::-1], (SIDE, SIDE)) for file in files]
    batch = to_batch(frames, resize=(SIDE, SIDE))
    model = Padim(backbone="resnet18", layer_indices=[0, 1, 2], feat_dim=100)
    model.fit(torch.utils.data.DataLoader(batch, batch_size=8))
    torch.save(model, path / "model.pt")
    exporter = ModelExporter(path / "model.pt", path, logging.getLogger(), device="cpu")
    written = exporter.export_onnx(input_shape=(1, 3, SIDE, SIDE))
    if written is None:
        raise RuntimeError("anomavision's export failed; its log says why")
    return written


def main():
    _, _, threads, jpeg, good, folder = sys.argv[1:]
    torch.set_num_threads(int(threads))
    cv2.setNumThreads(int(threads))
    os.chdir(folder)
    from anomavision import to_batch
    from anomavision.inference.model.wrapper import ModelWrapper

    model = ModelWrapper(str(exported(good, folder)), "cpu")
    frame = np.ascontiguousarray(cv2.imread(jpeg)[:, :, ::-1])
    large = cv2.resize(frame, (4096, 3000))

    def judge(pixels):
        return model.predict(to_batch([pixels], resize=(SIDE, SIDE)))

    serve(
        {
            "frame": lambda: judge(frame),
            "jpeg": lambda: judge(np.ascontiguousarray(cv2.imread(jpeg)[:, :, ::-1])),
            "large": lambda: judge(large),
        }
    )


if __name__ == "__main__":
    main()
