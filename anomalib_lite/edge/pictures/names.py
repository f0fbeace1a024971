"""Which names are pictures, and which only lie beside them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from anomalib_lite.edge.pictures.header import HEAD_BYTES, sniff


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


IMAGE_SUFFIXES = _words(
    ".avif .bmp .dib .gif .heic .heif .jfif .jp2 .jpe .jpeg .jpg .jxl .pam .pbm .pgm .png .pnm "
    ".ppm .tif .tiff .webp"
)
VIDEO_SUFFIXES = _words(".avi .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv .y4m")
# Never opened to look at their content: what usually lies beside pictures.
_OTHER_SUFFIXES = _words(
    ".cfg .csv .db .doc .docx .h5 .htm .html .ini .ipynb .json .jsonl .log .md .npy .npz .onnx "
    ".pdf .pkl .pt .pth .py .rst .safetensors .sh .sqlite .toml .txt .xls .xlsx .xml .yaml .yml "
    ".zip .gz .tar .7z .rar .lock .sha256 .md5"
)
UNFINISHED_SUFFIXES = _words(".bak .crdownload .download .filepart .part .partial .swp .temp .tmp")
# What notebooks, desktops, storage boxes and file systems leave behind; hidden names as well.
_JUNK = frozenset(
    {
        "$recycle.bin",
        "#recycle",
        "#snapshot",
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "@tmp",
        "__macosx",
        "__pycache__",
        "desktop.ini",
        "ehthumbs.db",
        "found.000",
        "icon\r",
        "lost+found",
        "network trash folder",
        "recycler",
        "system volume information",
        "temporary items",
        "thumbs.db",
        "~snapshot",
    }
)


LABELS = _words(
    "good ok normal bad ng nok nio ko not_ok defect defects defective anomaly anomalies anomalous "
    "gut schlecht io n.io defekt defekte fehler ausschuss bon mauvais buono difettoso bueno malo "
    "abnormal faulty fault reject rejects rejected scrap train test validation val ground_truth "
    "gt mask masks label labels annotations heatmaps explanations"
)
"""Folder names that say what the pictures in them are."""

GOOD_LABELS = _words("good ok normal train gut io bon buono bueno")
"""Those of them that hold good pictures."""


def is_junk(name: str) -> bool:
    """Whether a file or folder name is hidden, or left behind by a desktop, notebook or NAS."""
    return name.startswith(".") or name.endswith("~") or name.lower() in _JUNK


def has_image_suffix(name: str) -> bool:
    """Whether a file name has a picture's suffix, in any case."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_picture(path: Path) -> bool:
    """Whether a regular file is a picture by its suffix or by its first bytes."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return True
    if suffix in _OTHER_SUFFIXES or suffix in VIDEO_SUFFIXES:
        return False
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError):
        return False
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return False
        return bool(sniff(os.read(handle, HEAD_BYTES)))
    except OSError:
        return False
    finally:
        os.close(handle)


PICTURE_FOLDERS = ("heatmaps", "explanations")
DRAFT = ".part"
"""What is added to the names of folders and files that a run has not finished."""

DRAWN = frozenset({*PICTURE_FOLDERS, *(f"{name}{DRAFT}" for name in PICTURE_FOLDERS)})
"""Folders that a run draws into, beside one of `RESULTS`."""

RESULTS = ("results.jsonl", "results.jsonl.part")
