"""Detached signatures: whether a file is the one that the owner of a key has signed."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from anomalib_lite.edge.errors import ModelFileError, SettingsError

SIGNATURE_SUFFIX = ".sig"
_SIGNATURE_BYTES = 64
_LARGEST_FILE = 4096


def require_signature(path: str | Path, public_key: str | Path) -> None:
    """Check `path` against the Ed25519 signature (RFC 8032) in `path.sig`.

    Args:
        path: the file.
        public_key: PEM file with the public key.

    Raises:
        ModelFileError: the file is not what was signed, or there is no signature.
        SettingsError: no usable key, or the library for it is not installed.
    """
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise SettingsError(
            "--public-key needs the package cryptography; pip install 'anomalib-lite[signed]'"
        ) from error
    try:
        key = load_pem_public_key(_small(public_key))
    except (OSError, ValueError) as error:
        raise SettingsError(f"--public-key {public_key}: is no PEM file with a key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"--public-key {public_key}: is no Ed25519 key")
    signature = _signature(Path(f"{path}{SIGNATURE_SUFFIX}"), path)
    try:
        key.verify(signature, Path(path).read_bytes())
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    except InvalidSignature as error:
        raise ModelFileError(
            f"{path}: is not the file that was signed ({path}{SIGNATURE_SUFFIX} does not fit it "
            f"with {public_key}); get both again from whoever signs them"
        ) from error


def _signature(place: Path, path: str | Path) -> bytes:
    try:
        data = _small(place)
    except OSError as error:
        raise ModelFileError(
            f"{path}: has no signature ({place}: {error.strerror}); sign it, or leave --public-key "
            "out"
        ) from error
    if len(data) != _SIGNATURE_BYTES:
        try:
            data = base64.b64decode(data.strip(), validate=True)
        except binascii.Error:
            data = b""
    if len(data) != _SIGNATURE_BYTES:
        raise ModelFileError(f"{place}: is no Ed25519 signature (64 bytes, or those as base64)")
    return data


def _small(path: str | Path) -> bytes:
    with Path(path).open("rb") as stream:
        return stream.read(_LARGEST_FILE)
