"""Versions of what took part, for the record inside every file."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from anomalib_lite import __version__

_PACKAGES = ("numpy", "onnx", "onnxruntime", "opencv-python", "timm", "torch")


def installed_versions() -> dict[str, str]:
    """Package name -> version; packages that are not installed are left out."""
    versions = {"anomalib_lite": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
