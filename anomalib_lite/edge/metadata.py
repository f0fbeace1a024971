"""What an edge file says about itself: one JSON document inside the ONNX metadata."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import AnomalibLiteError, ModelFileError
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.prepare import InputSpec

METADATA_KEY = "anomalib_lite"
FORMAT = "anomalib_lite.edge"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Probe:
    """A frame that travels inside the file, with the outputs of the fitted model.

    Attributes:
        name: what the frame is.
        frame: raw frame as a camera would deliver it, `(H, W[, C])`.
        score: raw image score of the fitted model.
        map_peak: largest raw map value of the fitted model.
    """

    name: str
    frame: Frame
    score: float
    map_peak: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; the frame as a base64 PNG (lossless)."""
        return {
            "name": self.name,
            "png": _encode_png(self.frame),
            "score": self.score,
            "map_peak": self.map_peak,
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Probe:
        """Rebuild from `to_dict`."""
        frame = _decode_png(fields["png"])
        return cls(str(fields["name"]), frame, float(fields["score"]), float(fields["map_peak"]))


@dataclass(frozen=True, eq=False)
class EdgeMetadata:
    """Everything beside the graph that an edge box needs.

    Attributes:
        spec: the input declaration.
        calibration: scores of good images and the threshold.
        probes: frames for the self-test.
        tolerance: largest relative difference that the self-test accepts on scores.
        localises: whether the map says where (else it is 1x1).
        about: provenance for people and audits: detector, backbone, data, versions, parity.
    """

    spec: InputSpec
    calibration: Calibration
    probes: tuple[Probe, ...]
    tolerance: float
    localises: bool
    about: dict[str, Any]

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
        }
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
                spec=InputSpec.from_dict(document["input_spec"]),
                calibration=Calibration.from_dict(document["calibration"]),
                probes=tuple(Probe.from_dict(probe) for probe in document["probes"]),
                tolerance=float(document["tolerance"]),
                localises=bool(document["localises"]),
                about=dict(document["about"]),
            )
        except ModelFileError:
            raise
        except (AnomalibLiteError, ValueError, KeyError, TypeError, cv2.error) as error:
            raise ModelFileError(
                f"{path}: its description is damaged ({type(error).__name__}: {error}); "
                "export it again"
            ) from error


def _encode_png(frame: Frame) -> str:
    pixels = np.ascontiguousarray(frame)
    if pixels.ndim == 3:
        code = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        pixels = cv2.cvtColor(pixels, code)
    done, encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise ModelFileError("a probe frame cannot be stored as PNG")
    return base64.b64encode(encoded.tobytes()).decode("ascii")


def _decode_png(text: str) -> NDArray[Any]:
    from anomalib_lite.edge.frames import decode_frame

    return decode_frame(base64.b64decode(text), exif="ignore", name="probe frame")
