"""Versions of what took part, for the record inside every file."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from anomalib_lite import __version__

_PACKAGES: dict[str, tuple[str, ...]] = {
    "numpy": ("numpy",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnxruntime",),
    "opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless"),
    "scikit-learn": ("scikit-learn",),
    "timm": ("timm",),
    "torch": ("torch",),
}
"""What a file records -> the distributions that may provide it, the first one found counts."""


def installed_versions() -> dict[str, str]:
    """Package name -> version; packages that are not installed are left out."""
    versions = {"anomalib_lite": __version__}
    for package, distributions in _PACKAGES.items():
        for distribution in distributions:
            try:
                versions[package] = version(distribution)
            except PackageNotFoundError:
                continue
            break
    return versions
