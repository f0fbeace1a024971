"""What a file says about itself, detector or edge file alike; no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import ModelFileError
from anomalib_lite.edge.model_files.file_kind import ANY, other_kind
from anomalib_lite.edge.model_files.headers import checked_header
from anomalib_lite.edge.model_files.integrity import damaged, verify_seal
from anomalib_lite.edge.model_files.metadata import METADATA_KEY, EdgeMetadata
from anomalib_lite.edge.model_files.whole_file import read_model


def describe_file(file: Path) -> dict[str, Any]:
    """Everything a file says about itself, without pixels of probe frames.

    Raises:
        ModelFileError: absent, damaged, or neither `.onnx` nor `.safetensors`.
    """
    if not file.is_file():
        raise other_kind(file, ANY) or ModelFileError(
            f"{file}: no such file; give a .onnx or .safetensors file"
        )
    if file.suffix == ".onnx":
        described = read_model(file)
        metadata = EdgeMetadata.from_json(described.metadata[METADATA_KEY], path=str(file))
        if metadata.graph_crc32 not in ("", described.graph_crc32):
            raise damaged(file)
        document: dict[str, Any] = json.loads(metadata.to_json())
        document["probes"] = [
            {key: value for key, value in probe.items() if key != "png"}
            for probe in document["probes"]
        ]
        document["kind"] = "edge file"
    else:
        document = checked_header(file)
        document["calibration"] = _with_promise(document["calibration"], file)
        document["kind"] = "detector"
    if not verify_seal(file):
        raise damaged(file)
    document["size_bytes"] = file.stat().st_size
    return document


def _with_promise(fields: Any, file: Path) -> dict[str, Any]:
    """A stored calibration with all that follows from it, whatever version has written it."""
    try:
        return Calibration.from_dict(fields).to_dict()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        words = f"{file}: its calibration is damaged ({error}); fit it again"
        raise ModelFileError(words) from error
