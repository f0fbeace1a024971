"""The detector file: one `.safetensors` with the tensors and one JSON header. Never a pickle."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anomalib_lite.backbones.weights import tensors_below
from anomalib_lite.detector import Detector
from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import AnomalibLiteError, ModelFileError
from anomalib_lite.edge.files import atomic_path
from anomalib_lite.edge.headers import FORMAT, FORMAT_VERSION, HEADER_KEY, read_header
from anomalib_lite.edge.integrity import SEAL_KEY, UNSEALED, damaged, seal, verify_seal
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.fitted_data import FittedData, ImageRecord
from anomalib_lite.gallery import Gallery
from anomalib_lite.versions import installed_versions

_GALLERY = "gallery"


def write_detector(detector: Detector, path: str | Path) -> Path:
    """Write a fitted detector atomically; returns the path."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    gallery = detector.data.gallery
    fields = {**detector_header(detector), SEAL_KEY: UNSEALED}
    tensors: dict[str, Tensor] = {}
    if gallery.images:
        fields[_GALLERY] = gallery.header()
        tensors[_GALLERY] = torch.from_numpy(gallery.pixels().copy())
    header = json.dumps(fields, sort_keys=True)
    for part, module in (("backbone", detector.backbone), ("scorer", detector.scorer)):
        for name, tensor in module.state_dict().items():
            tensors[f"{part}.{name}"] = tensor.contiguous()
    for index, sample in enumerate(detector.data.samples):
        tensors[f"sample.{index}"] = torch.from_numpy(sample)
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={HEADER_KEY: header})
        except SafetensorError as error:
            raise OSError(errno.EIO, str(error)) from error
        seal(temporary)
    return Path(path)


def detector_header(detector: Detector) -> dict[str, Any]:
    """Everything about a detector but its tensors, as plain JSON types."""
    data = detector.data
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "input_spec": detector.spec.to_dict(),
        "calibration": detector.calibration.to_dict(),
        "localises": detector.localises,
        "records": [list(record) for record in data.records],
        "about": {
            "detector": {
                "name": detector.scorer.name,
                "settings": detector.scorer.settings(),
                **({"protocol": detector.protocol} if detector.protocol else {}),
            },
            "backbone": {
                **detector.backbone.settings(),
                "weights_sha256": detector.backbone.weights_sha256,
            },
            **({"layer_choice": detector.layer_choice} if detector.layer_choice else {}),
            "calibration_method": detector.calibration_method,
            "seed": detector.seed,
            "data": data.summary(),
            "versions": installed_versions(),
        },
    }


def read_detector(path: str | Path) -> Detector:
    """Rebuild a detector from its file; needs no weights folder and no network.

    Raises:
        ModelFileError: the file is missing, damaged, foreign or newer.
    """
    from safetensors.torch import load_file

    header = read_header(path)
    if not verify_seal(path):
        raise damaged(path)
    try:
        about = header["about"]
        detector = Detector(
            about["detector"]["name"],
            backbone=about["backbone"]["name"],
            layers=about["backbone"]["layers"],
            weights="empty",
            image_size=InputSpec.from_dict(header["input_spec"]),
            calibration=about["calibration_method"],
            max_false_reject=float(header["calibration"]["max_false_reject"]),
            seed=int(about["seed"]),
            **about["detector"]["settings"],
        )
        tensors = load_file(path)
        detector.backbone.load_state_dict(tensors_below(tensors, "backbone."), strict=True)
        detector.backbone.weights_sha256 = str(about["backbone"]["weights_sha256"])
        detector.scorer.load_tensors(tensors_below(tensors, "scorer."))
        detector.layer_choice = dict(about.get("layer_choice", {}))
        detector._calibration = Calibration.from_dict(header["calibration"])
        data = about["data"]
        samples = tensors_below(tensors, "sample.")
        detector._data = FittedData(
            source=str(data["source"]),
            records=tuple(ImageRecord(*record) for record in header["records"]),
            skipped=dict(data["skipped"]),
            frame_hw=(int(data["frame_hw"][0]), int(data["frame_hw"][1])),
            samples=tuple(samples[name].numpy() for name in sorted(samples)),
            gallery=_gallery(header, tensors),
        )
    except AnomalibLiteError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        first = str(error).splitlines()[0] if str(error) else ""
        raise ModelFileError(
            f"{path}: its content is damaged ({type(error).__name__}: {first}); fit it again"
        ) from error
    return detector


def _gallery(header: dict[str, Any], tensors: dict[str, Tensor]) -> Gallery:
    """Empty for a scorer that explains nothing, and for files of earlier versions."""
    if _GALLERY not in tensors:
        return Gallery()
    return Gallery.from_parts(header[_GALLERY], tensors[_GALLERY].numpy())
