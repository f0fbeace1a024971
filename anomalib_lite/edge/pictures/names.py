"""Which names are pictures, and which only lie beside them."""

from __future__ import annotations

import os
import re
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


DEFECT_WORDS = _words(
    "abnormal anomalies anomalous anomaly bad broken damage damaged defect defective defects fail "
    "failed fails failure failures fault faults faulty flaw flawed flaws ko ng nio nogood nok "
    "reject rejected rejects scrap scrapped "
    "ausschuss defekt defekte fehler fehlerhaft schlecht schlechtteile schlechte "
    "anomalie anormal defaut defauts defectueux défaut défauts défectueux mauvais mauvaise "
    "mauvaises rebut rebuts "
    "defecto defectos defectuosa defectuoso defectuosos fallo fallos mala malas malo malos "
    "rechazado rechazados rechazo "
    "difetti difetto difettosi difettoso scarti scarto "
    "defeito defeitos defeituoso ruim ruins "
    "不良 不良品 不合格 次品 废品 坏 坏品 缺陷 异常 異常 欠陥 불량"
)
"""Words of folders that hold defects, also as a part of their names: `ng_2024`, `bad parts`."""

_DENIED = _words("free kein keine no non not nul ohne sans sem senza sin without zero")
_PLAIN = _words(
    "images img items parts pictures pieces pics products samples teile bilder units piezas pièces"
)
_NOT_GOOD = _words("good gut ok conforme conformes conform bon bonne buono bueno io")

GOOD_LABELS = _words(
    "good goods ok normal train gut gutteile io pass passed bon bonne bons buono buoni bueno "
    "buenos bom conforme conformes 良品 合格 正常 好 양품"
)
"""Names of folders that hold good pictures."""

LABELS = (
    GOOD_LABELS
    | DEFECT_WORDS
    | _words(
        "n.io not_ok test validation val ground_truth gt mask masks label labels annotations "
        "heatmaps explanations"
    )
)
"""Folder names that say what the pictures in them are; `is_defect_name` knows more."""


def is_defect_name(name: str, *, whole: bool = False) -> bool:
    """Whether a folder's name says that defects are in it: `NG`, `bad parts`, `n.i.O.`, `not_ok`.

    What denies them (`no_defects`, `defect-free`) does not.

    Args:
        name: of the folder.
        whole: the name must say nothing else: `defect_detection` is a project.
    """
    words = [word for word in re.split(r"[\W\d_]+", name.lower()) if word]
    joined = "".join(words)
    denied = bool(_DENIED.intersection(words))
    if joined in DEFECT_WORDS:
        return True
    if whole and not _PLAIN.union(DEFECT_WORDS, _DENIED, _NOT_GOOD).issuperset(words):
        return False
    if denied:
        return bool(_NOT_GOOD.intersection(words)) and not DEFECT_WORDS.intersection(words)
    return bool(DEFECT_WORDS.intersection(words))


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
