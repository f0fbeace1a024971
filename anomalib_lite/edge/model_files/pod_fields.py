"""What a model file may say of its probability of detection (docs/pod.md)."""

from __future__ import annotations

from anomalib_lite.edge.model_files.schema import (
    Fields,
    Many,
    Named,
    Number,
    OrNull,
    Plain,
    Row,
    Text,
)

_SIZE = Number(0, 1e6)
_COUNT = Number(0, 1e9, whole=True)
_FAMILY = Fields(
    {
        "kind": Text(100),
        "contrast": OrNull(Number(0, 255)),
        "trials": _COUNT,
        "hits": _COUNT,
        "sizes": Row((_SIZE, _SIZE), 2),
        "standing": Text(100),
        "slenderness": Number(0, 1000),
        "a50": OrNull(_SIZE),
        "a90": OrNull(_SIZE),
        "a90_95": OrNull(_SIZE),
        "words": Text(1000),
    }
)
POD_FIELDS = Fields(
    {
        "model": Fields({"threshold": Number(-3.4e38, 3.4e38), "fingerprint": Text(200)}),
        "images": Named(Plain(2), 100),
        "mm_per_pixel": OrNull(Number(1e-9, 1e9)),
        "bounds": Text(1000),
        "promise": Text(2000),
        "left_out": Named(Text(1000), 100),
        "families": Many(_FAMILY, 0, 1000),
    }
)
"""The figures of a study, without its trials."""
