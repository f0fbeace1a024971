"""The detector file: one `.safetensors` with the tensors and one JSON header. Never a pickle.

Reads and writes a plain `DetectorState`; what a detector is, only `detector.detector` knows.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomalib_lite.backbones.weights import tensors_below
from anomalib_lite.detector.file_tensors import (
    GALLERY,
    check_gallery,
    check_tensors,
    read_tensors,
    tensors_crc32,
)
from anomalib_lite.detector.thumbnails import Gallery
from anomalib_lite.detector.training_record import FittedData, ImageRecord
from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import AnomalibLiteError, FitError, ModelFileError
from anomalib_lite.edge.files import atomic_path
from anomalib_lite.edge.inputs import FRAMES, Inputs, View
from anomalib_lite.edge.measured import MeasuredSpec
from anomalib_lite.edge.model_files.descriptions import FIELDS_KEY, check_threshold, fields_crc32
from anomalib_lite.edge.model_files.headers import (
    FORMAT,
    FORMAT_VERSION,
    HEADER_KEY,
    checked_header,
)
from anomalib_lite.edge.model_files.integrity import SEAL_KEY, UNSEALED, damaged, seal, verify_seal
from anomalib_lite.edge.model_files.metadata import inputs_from
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.system.versions import installed_versions


@dataclass(frozen=True)
class DetectorState:
    """A fitted detector as plain data.

    Attributes:
        spec: what the picture is declared to be.
        calibration: threshold and p-values.
        data: what it was fitted on.
        scorer: its `name` and `settings`.
        backbone: the settings that build it again without its weights, and `weights_sha256`.
        localises: whether the map says where.
        protocol: how it judges, where that is not the published method; else empty.
        calibration_method: as asked for.
        seed: the one source of randomness.
        layer_choice: why these layers; empty where a person chose them.
        tensors: `backbone.*` and `scorer.*`.
        measured: what is measured beside the picture, by name.
    """

    spec: InputSpec
    calibration: Calibration
    data: FittedData
    scorer: dict[str, Any]
    backbone: dict[str, Any]
    localises: bool
    protocol: str
    calibration_method: str
    seed: int
    layer_choice: dict[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)
    measured: Mapping[str, MeasuredSpec] = field(default_factory=dict)

    def about(self) -> dict[str, Any]:
        """What files say about the detector, plain JSON types."""
        return {
            "detector": {**self.scorer, **({"protocol": self.protocol} if self.protocol else {})},
            "backbone": self.backbone,
            **({"layer_choice": self.layer_choice} if self.layer_choice else {}),
            "calibration_method": self.calibration_method,
            "seed": self.seed,
            "data": self.data.summary(),
            "versions": installed_versions(),
        }


def write_state(state: DetectorState, path: str | Path) -> Path:
    """Write a fitted detector atomically; returns the path."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    gallery = state.data.gallery
    fields: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "input_spec": state.spec.to_dict(),
        "calibration": state.calibration.to_dict(),
        "localises": state.localises,
        "records": [list(record) for record in state.data.records],
        "about": state.about(),
        SEAL_KEY: UNSEALED,
    }
    if state.measured:
        named = {name: spec.to_dict() for name, spec in state.measured.items()}
        fields["measured_inputs"] = named
    tensors = {name: tensor.contiguous() for name, tensor in state.tensors.items()}
    if gallery.images:
        fields[GALLERY] = gallery.header()
        tensors[GALLERY] = torch.from_numpy(gallery.pixels().copy())
    for index, sample in enumerate(state.data.samples):
        named_sample = sample if isinstance(sample, Mapping) else {FRAMES: sample}
        for name, values in named_sample.items():
            tensors[_sample_key(name, index)] = torch.from_numpy(np.ascontiguousarray(values))
    header = _header(fields, tensors, path)
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={HEADER_KEY: header})
        except SafetensorError as error:
            raise OSError(errno.EIO, str(error)) from error
        seal(temporary)
    return Path(path)


def _header(fields: dict[str, Any], tensors: dict[str, Tensor], path: str | Path) -> str:
    """The description with its checksums; raises `FitError` for tensors that no file may hold."""
    try:
        check_tensors(tensors)
    except ValueError as error:
        raise FitError(f"{path} was not written: {error}; fit again") from error
    fields["tensors_crc32"] = tensors_crc32(tensors)
    fields[FIELDS_KEY] = fields_crc32(fields)
    return json.dumps(fields, sort_keys=True)


def read_state(path: str | Path) -> DetectorState:
    """Read what `write_state` has written; needs no weights folder and no network.

    Raises:
        ModelFileError: the file is missing, damaged, foreign or newer.
    """
    sealed = verify_seal(path)
    header = checked_header(path)
    if not sealed:
        raise damaged(path)
    tensors = read_tensors(path)
    with content_of(path):
        about = header["about"]
        check_tensors(tensors)
        if header.get("tensors_crc32", "") not in ("", tensors_crc32(tensors)):
            raise damaged(path)
        data = about["data"]
        inputs = inputs_from(header["input_spec"], header.get("measured_inputs", {}))
        calibration = Calibration.from_dict(header["calibration"])
        check_threshold(header["calibration"], calibration.threshold, calibration.map_threshold)
        scorer = about["detector"]
        return DetectorState(
            spec=inputs.frames,
            measured=inputs.measured,
            calibration=calibration,
            data=FittedData(
                source=str(data["source"]),
                records=tuple(ImageRecord(*record) for record in header["records"]),
                skipped=dict(data["skipped"]),
                frame_hw=(int(data["frame_hw"][0]), int(data["frame_hw"][1])),
                samples=_samples(inputs, tensors),
                gallery=_gallery(header, tensors),
                copies=dict(data.get("copies", {})),
            ),
            scorer={"name": scorer["name"], "settings": dict(scorer["settings"])},
            backbone=dict(about["backbone"]),
            localises=bool(header["localises"]),
            protocol=str(scorer.get("protocol", "")),
            calibration_method=about["calibration_method"],
            seed=int(about["seed"]),
            layer_choice=dict(about.get("layer_choice", {})),
            tensors=tensors,
        )


class content_of:  # noqa: N801 - reads as a statement
    """Context: whatever content of a file makes code stumble is a `ModelFileError` that names it.

    Args:
        path: the file.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing to set up."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        wrong = (KeyError, TypeError, ValueError, RuntimeError, AttributeError, MemoryError)
        further = (IndexError, ArithmeticError, AssertionError)
        if not isinstance(error, (*wrong, *further)) or isinstance(error, AnomalibLiteError):
            return
        first = str(error).splitlines()[0] if str(error) else ""
        raise ModelFileError(
            f"{self._path}: its content is damaged ({type(error).__name__}: {first}); fit it again"
        ) from error


def _sample_key(name: str, index: int) -> str:
    return f"sample.{index}" if name == FRAMES else f"sample_{name}.{index}"


def _samples(inputs: Inputs, tensors: dict[str, Tensor]) -> tuple[View, ...]:
    pictures = tensors_below(tensors, "sample.")
    if not inputs.measured:
        return tuple(pictures[index].numpy() for index in sorted(pictures))
    return tuple(
        {name: tensors[_sample_key(name, int(index))].numpy() for name in inputs.names}
        for index in sorted(pictures)
    )


def _gallery(header: dict[str, Any], tensors: dict[str, Tensor]) -> Gallery:
    """Empty for a scorer that explains nothing, and for files of earlier versions."""
    if GALLERY not in tensors:
        return Gallery()
    check_gallery((row[4] for row in header[GALLERY]["images"]), tensors[GALLERY])
    return Gallery.from_parts(header[GALLERY], tensors[GALLERY].numpy())
