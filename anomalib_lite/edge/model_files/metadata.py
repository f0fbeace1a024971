"""What an edge file says about itself: one JSON document inside the ONNX metadata."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import cv2
import numpy as np

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import AnomalibLiteError, ModelFileError
from anomalib_lite.edge.frames import Frame, decode_frame
from anomalib_lite.edge.inputs import FRAMES, Inputs, View
from anomalib_lite.edge.measured import MeasuredSpec
from anomalib_lite.edge.model_files.arrays_in_text import pack_array, unpack_array
from anomalib_lite.edge.model_files.descriptions import (
    DESCRIPTION,
    FIELDS_KEY,
    check_fields,
    check_threshold,
    check_tolerance,
    fields_crc32,
)
from anomalib_lite.edge.model_files.integrity import SEAL_KEY, UNSEALED
from anomalib_lite.edge.model_files.schema import read_json
from anomalib_lite.edge.prepare import InputSpec

METADATA_KEY = "anomalib_lite"
FORMAT = "anomalib_lite.edge"
FORMAT_VERSION = 1

_PROBE_MEGAPIXELS = 17.0
"""Largest network input; probes are frames shrunk to a few hundred pixels."""
_LONGEST = 256 << 20
"""Characters of a description; with 200 images and five probes it has half a million."""


@dataclass(frozen=True)
class Probe:
    """A frame that travels inside the file, with the outputs of the fitted model.

    Attributes:
        name: what the frame is.
        png: raw frame as a camera would deliver it, as a base64 PNG (lossless).
        score: raw image score of the fitted model.
        map_peak: largest raw map value of the fitted model.
        extra: `outputs.kept_values` of each extra output of the fitted model.
        measured: measured inputs by name, as they were measured, as base64 of a zipped array.
    """

    name: str
    png: str
    score: float
    map_peak: float
    extra: dict[str, tuple[float, ...]] = field(default_factory=dict)
    measured: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_frame(
        cls,
        name: str,
        frame: View,
        score: float,
        map_peak: float,
        extra: dict[str, tuple[float, ...]] | None = None,
    ) -> Probe:
        """Pack a raw frame `(H, W[, C])`, or frames by input name."""
        named = frame if isinstance(frame, Mapping) else {FRAMES: frame}
        measured = {key: pack_array(values) for key, values in named.items() if key != FRAMES}
        return cls(name, _encode_png(named[FRAMES]), score, map_peak, extra or {}, measured)

    @property
    def frame(self) -> Frame:
        """The raw picture, decoded anew at each access to keep the process small."""
        data = base64.b64decode(self.png, validate=True)
        return decode_frame(
            data, exif="ignore", name="probe frame", max_megapixels=_PROBE_MEGAPIXELS
        )

    @property
    def view(self) -> View:
        """The raw picture, or frames by input name where something is measured beside it."""
        if not self.measured:
            return self.frame
        return {
            FRAMES: self.frame,
            **{key: unpack_array(text) for key, text in self.measured.items()},
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        fields = asdict(self)
        for seldom in ("extra", "measured"):
            if not fields[seldom]:
                del fields[seldom]
        return fields

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Probe:
        """Rebuild from `to_dict`."""
        return cls(
            str(fields["name"]),
            str(fields["png"]),
            float(fields["score"]),
            float(fields["map_peak"]),
            {
                str(name): tuple(float(value) for value in values)
                for name, values in dict(fields.get("extra", {})).items()
            },
            {str(name): str(text) for name, text in dict(fields.get("measured", {})).items()},
        )


@dataclass(frozen=True, eq=False)
class EdgeMetadata:
    """Everything beside the graph that an edge box needs.

    Attributes:
        inputs: what the model is declared to see.
        calibration: scores of good images and the threshold.
        probes: frames for the self-test.
        tolerance: largest relative difference that the self-test accepts on scores.
        localises: whether the map says where (else it is 1x1).
        about: provenance for people and audits: detector, backbone, data, versions, parity.
        extra_outputs: names of the graph's outputs beyond the standard two; empty in files of
            earlier versions, which did not list them.
        graph_crc32: checksum of the graph that is described; empty in files of earlier versions.
    """

    inputs: Inputs
    calibration: Calibration
    probes: tuple[Probe, ...]
    tolerance: float
    localises: bool
    about: dict[str, Any]
    extra_outputs: tuple[str, ...] = ()
    graph_crc32: str = ""

    @property
    def spec(self) -> InputSpec:
        """What the picture is declared to be."""
        return self.inputs.frames

    @property
    def calibrated_for(self) -> str:
        """The engine whose rounding threshold and probes include; empty: any, by its own."""
        return str(self.about.get("precision", {}).get("engine", ""))

    def to_json(self) -> str:
        """Canonical JSON (sorted keys), so that equal content gives equal bytes."""
        document = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "input_spec": self.spec.to_dict(),
            "calibration": self.calibration.to_dict(),
            "probes": [probe.to_dict() for probe in self.probes],
            "tolerance": self.tolerance,
            "localises": self.localises,
            "about": self.about,
            SEAL_KEY: UNSEALED,
        }
        if self.inputs.measured:
            document["measured_inputs"] = {
                name: spec.to_dict() for name, spec in self.inputs.measured.items()
            }
        if self.extra_outputs:
            document["extra_outputs"] = list(self.extra_outputs)
        if self.graph_crc32:
            document["graph_crc32"] = self.graph_crc32
        document[FIELDS_KEY] = fields_crc32(document)
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, *, path: str) -> EdgeMetadata:
        """Read the document; raises `ModelFileError` when it is foreign, newer or damaged."""
        try:
            document = _document(text, path)
            check_fields(document, DESCRIPTION)
            check_tolerance(document)
            metadata = cls(
                inputs=inputs_from(document["input_spec"], document.get("measured_inputs", {})),
                calibration=Calibration.from_dict(document["calibration"]),
                probes=tuple(Probe.from_dict(probe) for probe in document["probes"]),
                tolerance=float(document["tolerance"]),
                localises=document["localises"],
                about=document["about"],
                extra_outputs=tuple(document.get("extra_outputs", ())),
                graph_crc32=document.get("graph_crc32", ""),
            )
            found = metadata.calibration
            check_threshold(document["calibration"], found.threshold, found.map_threshold)
            return metadata
        except ModelFileError:
            raise
        except (AnomalibLiteError, ValueError, KeyError, TypeError, cv2.error) as error:
            raise ModelFileError(
                f"{path}: its description is damaged ({error}); export it again"
            ) from error


def _document(text: str, path: str) -> dict[str, Any]:
    """The JSON of a description of this format; raises `ModelFileError` and `ValueError`."""
    if len(text) > _LONGEST:
        raise ValueError(f"it has {len(text)} characters, expected at most {_LONGEST}")
    document = read_json(text)
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    found, version = document.get("format"), document.get("format_version")
    if found != FORMAT:
        raise ModelFileError(f"{path}: format is {str(found)[:40]!r}, expected {FORMAT!r}")
    if not isinstance(version, int) or version < 1:
        raise ValueError("it has no format version")
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: written in format version {str(version)[:40]}, this program reads up to "
            f"{FORMAT_VERSION}; update anomalib_lite"
        )
    return document


def inputs_from(frames: dict[str, Any], measured: dict[str, Any]) -> Inputs:
    """What files say of the inputs; raises KeyError, TypeError or ValueError on foreign content."""
    named = {str(name): MeasuredSpec.from_dict(fields) for name, fields in measured.items()}
    return Inputs(InputSpec.from_dict(frames), named)


def _encode_png(frame: Frame) -> str:
    pixels = np.ascontiguousarray(frame)
    if pixels.ndim == 3:
        code = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        pixels = cv2.cvtColor(pixels, code)
    done, encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise ModelFileError("a probe frame cannot be stored as PNG")
    return base64.b64encode(encoded.tobytes()).decode("ascii")
