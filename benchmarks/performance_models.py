"""What `performance.py` times of ours: fitted and exported detectors, and backbones alone."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from safetensors.torch import save_file

from anomalib_lite import Detector

DETECTORS = {
    "default": ("patchcore", "pdn_edge"),
    "padim pdn_edge": ("padim", "pdn_edge"),
    "padim resnet18": ("padim", "resnet18"),
    "patchcore resnet18": ("patchcore", "resnet18"),
}
BARE = ("pdn_edge", "resnet18")
SIDE = 256


class Bare(torch.nn.Module):
    """A backbone from uint8 frames to its maps."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Frames uint8 `(N, h, w, 3)` -> maps."""
        pixels = self.backbone.normalise(frames)
        return tuple(self.backbone.extract(pixels).values())


def pictures(source: Path, folder: Path, count: int) -> tuple[Path, Path]:
    """Good pictures of two shapes, so that no shape is declared, and a 1024x1024 JPEG."""
    good = folder / "parts" / "good"
    good.mkdir(parents=True, exist_ok=True)
    found = sorted(source.iterdir())
    for index in range(count):
        picture = cv2.imread(str(found[index % len(found)]))
        size = (256, 256) if index % 2 else (256, 192)
        cv2.imwrite(str(good / f"{index:03d}.png"), cv2.resize(picture, size))
    large = cv2.resize(cv2.imread(str(found[0])), (1024, 1024), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).normal(0, 3, large.shape)
    jpeg = folder / "frame.jpg"
    pixels = np.clip(large + noise, 0, 255).astype(np.uint8)
    cv2.imwrite(str(jpeg), pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return good, jpeg


def resnet18(folder: Path) -> Path:
    """Weights: the real ones where they are, else random ones, which are as quick."""
    given = Path(os.environ.get("ANOMALIB_LITE_WEIGHTS", "/")) / "resnet18.safetensors"
    if given.is_file():
        return given
    import timm

    torch.manual_seed(0)
    path = folder / "resnet18.safetensors"
    save_file(timm.create_model("resnet18", pretrained=False).state_dict(), path)
    return path


def export_all(good: Path, folder: Path) -> None:
    """Fit and export what is not there yet."""
    weights = {"resnet18": {"weights": str(resnet18(folder))}, "pdn_edge": {}}
    for name, (detector, backbone) in DETECTORS.items():
        if (folder / f"{name}.onnx").is_file():
            continue
        fitted = Detector(detector, backbone=backbone, image_size=SIDE, **weights[backbone])
        fitted.fit(good)
        fitted.export(folder / f"{name}.onnx")
    for name in BARE:
        used = Detector("padim", backbone=name, image_size=SIDE, **weights[name]).backbone
        torch.onnx.export(
            Bare(used).eval(),
            (torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8),),
            folder / f"bare {name}.onnx",
            dynamo=False,
            opset_version=17,
            input_names=["frames"],
        )


def work(path: Path) -> tuple[float, float]:
    """GFLOP of one frame, and MB that its nodes read and write, each on its own.

    Every tensor of the graph is computed once to learn its shape.
    """
    model = onnx.load(path)
    known = {item.name for item in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name not in known]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    frames = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    outputs = [item.name for item in session.get_outputs()]
    found = dict(zip(outputs, session.run(outputs, {"frames": frames}), strict=True))
    tensors = {"frames": frames, **found}
    for item in model.graph.initializer:
        tensors[item.name] = onnx.numpy_helper.to_array(item)
    flops = sum(_flops(node, tensors) for node in model.graph.node)
    heavy = [node for node in model.graph.node if node.op_type != "Constant"]
    moved = sum(
        tensors[name].nbytes for node in heavy for name in (*node.input, *node.output) if name
    )
    return flops / 1e9, moved / 1e6


def _flops(node: onnx.NodeProto, tensors: dict[str, np.ndarray]) -> float:
    """Multiplications and additions of convolutions and products; the rest is small."""
    if node.op_type not in ("Conv", "MatMul", "Gemm"):
        return 0.0
    result = tensors[node.output[0]].size
    second = tensors[node.input[1]].shape
    if node.op_type == "Conv":
        return 2.0 * result * float(np.prod(second[1:]))
    if node.op_type == "MatMul":
        return 2.0 * result * second[-2 if len(second) > 1 else 0]
    transposed = any(item.name == "transB" and item.i for item in node.attribute)
    return 2.0 * result * second[1 if transposed else 0]


def main() -> None:
    """Fit, export and weigh everything in a folder; print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=16)
    given = parser.parse_args()
    good, jpeg = pictures(given.source, given.folder, given.images)
    export_all(good, given.folder)
    files = {path.stem: work(path) for path in sorted(given.folder.glob("*.onnx"))}
    print(json.dumps({"jpeg": str(jpeg), "work": files}))


if __name__ == "__main__":
    main()
