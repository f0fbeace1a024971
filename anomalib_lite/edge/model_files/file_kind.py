"""What a file is by its content, for whoever has given one of another kind."""

from __future__ import annotations

from pathlib import Path

from anomalib_lite.edge.errors import ModelFileError
from anomalib_lite.edge.pictures.header import sniff

EDGE_FILE, DETECTOR = "edge file (.onnx)", "detector (.safetensors)"
ANY = "edge file (.onnx) or detector (.safetensors)"
_HEAD_BYTES = 4096
_LARGEST_HEADER = 100 << 20
_MARK = b"anomalib_lite"
_ONNX_START = 0x08  # the first field of a model: its version, as a varint
_KNOWN_STARTS = (
    (b"version https://git-lfs", "the pointer of a file kept in Git LFS; run git lfs pull"),
    (b"PK\x03\x04", "a zip archive or a pickled torch file, which can run code and is not read"),
    *((bytes((0x80, n)), "a pickle, which can run code and is not read") for n in range(2, 6)),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"<", "a web page or XML; download the file itself"),
    (b"{", "JSON"),
)


def other_kind(path: str | Path, wanted: str) -> ModelFileError | None:
    """The error for a file that is whole and of another kind; None if it may be a damaged one.

    Args:
        path: what was given.
        wanted: `EDGE_FILE`, `DETECTOR`, or `ANY` where the suffix is to tell.
    """
    found = _kind(Path(path))
    if not found or found == wanted:
        return None
    if found not in (EDGE_FILE, DETECTOR):
        return ModelFileError(f"{path}: expected the {wanted} of a model; this is {found}")
    if wanted == ANY:
        return ModelFileError(f"{path}: is the {found} of a model; its name must end so")
    if found == DETECTOR:
        target = Path(path).with_suffix(".onnx")
        if target == Path(path):
            target = Path("part.onnx")
        do = f"export it: anomalib-lite export {path} {target}"
    else:
        do = (
            "give the .safetensors that it was exported from, or open it with EdgeModel(path), or "
            "with score, check, bench and info under a name that ends in .onnx"
        )
    return ModelFileError(f"{path}: is the {found} of a model, expected the {wanted}; {do}")


def _kind(path: Path) -> str:
    if path.is_dir():
        return "a folder; name the file in it"
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return ""
    if not head:
        return "an empty file (0 bytes); copy it again"
    picture = sniff(head)
    if picture:
        return f"a picture ({picture}); name the model before the pictures"
    if 2 <= int.from_bytes(head[:8], "little") <= _LARGEST_HEADER and head[8:9] == b"{":
        return DETECTOR if _MARK in head else ""
    if head[0] == _ONNX_START and _MARK in head:
        return EDGE_FILE
    return next((words for start, words in _KNOWN_STARTS if head.startswith(start)), "")
