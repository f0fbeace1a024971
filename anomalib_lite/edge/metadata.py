"""What an edge file says about itself: one JSON document inside the ONNX metadata."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import cv2
import numpy as np

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import AnomalibLiteError, ModelFileError
from anomalib_lite.edge.frames import Frame, decode_frame
from anomalib_lite.edge.inputs import FRAMES, Inputs, View
from anomalib_lite.edge.integrity import SEAL_KEY, UNSEALED
from anomalib_lite.edge.measured import MeasuredSpec
from anomalib_lite.edge.prepare import InputSpec

METADATA_KEY = "anomalib_lite"
FORMAT = "anomalib_lite.edge"
FORMAT_VERSION = 1


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
        measured = {key: _pack(values) for key, values in named.items() if key != FRAMES}
        return cls(name, _encode_png(named[FRAMES]), score, map_peak, extra or {}, measured)

    @property
    def frame(self) -> Frame:
        """The raw picture, decoded anew at each access to keep the process small."""
        return decode_frame(base64.b64decode(self.png), exif="ignore", name="probe frame")

    @property
    def view(self) -> View:
        """The raw picture, or frames by input name where something is measured beside it."""
        if not self.measured:
            return self.frame
        return {FRAMES: self.frame, **{key: _unpack(text) for key, text in self.measured.items()}}

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
    """

    inputs: Inputs
    calibration: Calibration
    probes: tuple[Probe, ...]
    tolerance: float
    localises: bool
    about: dict[str, Any]
    extra_outputs: tuple[str, ...] = ()

    @property
    def spec(self) -> InputSpec:
        """What the picture is declared to be."""
        return self.inputs.frames

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
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, *, path: str) -> EdgeMetadata:
        """Read the document; raises `ModelFileError` when it is foreign, newer or damaged."""
        try:
            document = json.loads(text)
            found, version = document["format"], int(document["format_version"])
            if found != FORMAT:
                raise ModelFileError(f"{path}: format is {found!r}, expected {FORMAT!r}")
            if version > FORMAT_VERSION:
                raise ModelFileError(
                    f"{path}: written in format version {version}, this program reads up to "
                    f"{FORMAT_VERSION}; update anomalib_lite"
                )
            return cls(
                inputs=inputs_from(document["input_spec"], document.get("measured_inputs", {})),
                calibration=Calibration.from_dict(document["calibration"]),
                probes=tuple(Probe.from_dict(probe) for probe in document["probes"]),
                tolerance=float(document["tolerance"]),
                localises=bool(document["localises"]),
                about=dict(document["about"]),
                extra_outputs=tuple(str(name) for name in document.get("extra_outputs", ())),
            )
        except ModelFileError:
            raise
        except (AnomalibLiteError, ValueError, KeyError, TypeError, cv2.error) as error:
            raise ModelFileError(
                f"{path}: its description is damaged ({type(error).__name__}: {error}); "
                "export it again"
            ) from error


def inputs_from(frames: dict[str, Any], measured: dict[str, Any]) -> Inputs:
    """What files say of the inputs; raises KeyError, TypeError or ValueError on foreign content."""
    named = {str(name): MeasuredSpec.from_dict(fields) for name, fields in measured.items()}
    return Inputs(InputSpec.from_dict(frames), named)


def _pack(values: Frame) -> str:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values), allow_pickle=False)
    return base64.b64encode(zlib.compress(buffer.getvalue(), 9)).decode("ascii")


def _unpack(text: str) -> Frame:
    try:
        buffer = io.BytesIO(zlib.decompress(base64.b64decode(text)))
        values: Frame = np.load(buffer, allow_pickle=False)
    except (ValueError, EOFError, zlib.error) as error:
        raise ModelFileError(f"a probe's measured input is damaged ({error})") from error
    return values


def _encode_png(frame: Frame) -> str:
    pixels = np.ascontiguousarray(frame)
    if pixels.ndim == 3:
        code = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        pixels = cv2.cvtColor(pixels, code)
    done, encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise ModelFileError("a probe frame cannot be stored as PNG")
    return base64.b64encode(encoded.tobytes()).decode("ascii")
