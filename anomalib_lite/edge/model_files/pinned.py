"""A model file by its digest: the one that was meant, or none."""

from __future__ import annotations

import re
from pathlib import Path

from anomalib_lite.edge.errors import ModelFileError, SettingsError
from anomalib_lite.edge.files import sha256_file


def require_sha256(path: str | Path, expected: str) -> None:
    """Refuse a file unless its sha256 is the one that was noted for it.

    Args:
        path: the file.
        expected: 64 hex digits, as `sha256sum` prints them.

    Raises:
        ModelFileError: it is another file, or none.
        SettingsError: what is expected is no sha256.
    """
    wanted = str(expected).strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", wanted):
        raise SettingsError(
            f"sha256 is {str(expected)[:80]!r}; give 64 hex digits (sha256sum FILE)"
        )
    try:
        found = sha256_file(path)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    if found != wanted:
        raise ModelFileError(
            f"{path}: its sha256 is {found}, expected {wanted}; this is another file than the one "
            "that was noted"
        )
