"""The JSON header of a detector file, readable without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anomalib_lite.edge.errors import ModelFileError
from anomalib_lite.edge.model_files.descriptions import DETECTOR_HEADER, check_fields
from anomalib_lite.edge.model_files.file_kind import DETECTOR, other_kind
from anomalib_lite.edge.model_files.schema import read_json

HEADER_KEY = "anomalib_lite"
FORMAT = "anomalib_lite.detector"
FORMAT_VERSION = 1
_LARGEST_HEADER = 100 << 20


def read_header(path: str | Path) -> dict[str, Any]:
    """What a detector file says about itself.

    A `.safetensors` file starts with the length of its JSON header (8 bytes, little endian), then
    the header, whose `__metadata__` holds our document.

    Raises:
        ModelFileError: the file is missing, damaged, foreign or newer.
    """
    try:
        with Path(path).open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= _LARGEST_HEADER:
                raise ValueError("no header")
            metadata = read_json(stream.read(length)).get("__metadata__", {})
        header = dict(read_json(metadata.get(HEADER_KEY, "{}")))
        version = int(header.get("format_version", 0))
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: no such file") from error
    except (OSError, ValueError, AttributeError, TypeError, OverflowError) as error:
        raise other_kind(path, DETECTOR) or ModelFileError(
            f"{path}: is not a readable .safetensors file (corrupt, truncated or foreign); "
            "fit it again"
        ) from error
    if header.get("format") != FORMAT:
        raise ModelFileError(
            f"{path}: is a .safetensors file, but not a detector saved by anomalib_lite"
        )
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: written in format version {version}, this program reads up "
            f"to {FORMAT_VERSION}; update anomalib_lite"
        )
    return header


def checked_header(path: str | Path) -> dict[str, Any]:
    """`read_header` with every field checked against its bounds; raises `ModelFileError`."""
    header = read_header(path)
    try:
        check_fields(header, DETECTOR_HEADER)
    except ValueError as error:
        raise ModelFileError(f"{path}: its content is damaged ({error}); fit it again") from error
    return header
