"""What descriptions in model files may say: tables of bounds, and a checksum over their fields."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from anomalib_lite.edge.model_files.integrity import SEAL_KEY
from anomalib_lite.edge.model_files.pod_fields import POD_FIELDS
from anomalib_lite.edge.model_files.schema import (
    Fields,
    Flag,
    Many,
    Named,
    Number,
    OrNull,
    Plain,
    Row,
    Rule,
    Text,
)

FIELDS_KEY = "fields_crc32"
"""Checksum over the description's other fields; absent in files of earlier versions."""

LARGEST_TOLERANCE = 0.01
"""A self-test that accepts more proves nothing; exports write a tenth of it."""

LARGEST_LOWERED_TOLERANCE = 0.05
"""Of files in a lower precision, where engines round differently by more; exports measure it."""

_ROUNDING = 1e-6
_MOST_IMAGES = 10_000_000
_LONGEST_PICTURE = 64 << 20
_SIDE = Number(1, 1e6, whole=True)
_COUNT = Number(0, 1e12, whole=True)
_SHARE = Number(0, 1)
_SCORE = Number(-3.4e38, 3.4e38)
_SCORES = Many(_SCORE, 1, _MOST_IMAGES)
_VIEWS = Many(Number(1, 1e9, whole=True), 0, _MOST_IMAGES)
_CRC = Text(8)

INPUT_SPEC = Fields(
    {
        "height": Number(16, 4096, whole=True),
        "width": Number(16, 4096, whole=True),
        "colour": Text(choices=("rgb", "grey")),
        "bit_depth": Number(8, 16, whole=True),
        "alpha": Text(choices=("opaque", "ignore")),
        "exif": Text(choices=("apply", "ignore")),
    },
    {
        "aspect": Number(1e-6, 1e6),
        "roi_aspect": Number(1e-6, 1e6),
        "roi_hw": Many(Number(1, 1 << 20, whole=True), 2, 2),
        "coloured": Flag(),
        "monochrome": Flag(),
        "roi": Text(4 << 20),
    },
)
_MEASURED = Fields(
    {
        "kind": Text(choices=("measured",)),
        "height": Number(16, 4096, whole=True),
        "width": Number(16, 4096, whole=True),
        "channels": Number(1, 4, whole=True),
        "stored": Text(choices=("float32", "uint16")),
        "scale": Number(1e-12, 1e12),
        "zero_is_missing": Flag(),
    }
)
CALIBRATION = Fields(
    {
        "scores": _SCORES,
        "map_peaks": _SCORES,
        "max_false_reject": Number(1e-9, 1 - 1e-9),
        "method": Text(1000),
    },
    {
        "threshold": _SCORE,
        "map_threshold": _SCORE,
        "false_reject_rate": _SHARE,
        "upper_bound_95": _SHARE,
        "samples": _COUNT,
        "independent_images": _COUNT,
        "honoured": Flag(),
        "guaranteed": Flag(),
        "promise": Text(1000),
        "reference": Named(Plain(), 1000),
        "groups": Fields(
            {"output": Text(200), "scores": Named(Many(_SCORE, 0, _MOST_IMAGES), 10_000)}
        ),
        "products": Named(Many(_SCORE, 0, _MOST_IMAGES), 10_000),
        "doubtful": Number(0, 1e9, whole=True),
        "views": Fields(
            {"scores": _VIEWS, "map_peaks": _VIEWS, "groups": Named(_VIEWS, 10_000)},
        ),
    },
)
_ABOUT: dict[str, Rule] = {
    "detector": Fields(
        {"name": Text(200), "settings": Named(Plain(), 1000)}, {"protocol": Text(2000)}
    ),
    "backbone": Fields(
        {"name": Text(200), "layers": Many(Text(200), 0, 1000), "weights_sha256": Text(200)},
        {"options": Named(Plain(), 1000)},
    ),
    "data": Fields(
        {
            "source": Text(4096),
            "images": _COUNT,
            "skipped": Named(Text(10_000)),
            "fingerprint": Text(200),
            "frame_hw": Row((_SIDE, _SIDE), 2),
        },
        {"independent_images": _COUNT, "copies": Named(Text(10_000))},
    ),
    "versions": Named(Text(200), 1000),
}
_PARITY = Fields(
    {
        "probes": _COUNT,
        "score_difference": _SHARE,
        "map_difference": _SHARE,
    }
)
_NODES = Many(Text(1000), 0, 100_000)
_PAIR = Row((_SHARE, _SHARE), 2)
_PRECISION = Fields(
    {
        "name": Text(choices=("fp16", "bf16", "int8")),
        "engine": Text(choices=("", "openvino-bf16")),
        "float_nodes": _NODES,
        "lowered_nodes": _NODES,
        "drift": Fields(
            {
                "good": _COUNT,
                "defects": _COUNT,
                "score_drift": Number(0, 1e6),
                "map_drift": Number(0, 1e6),
                "auroc": _PAIR,
                "misses": _PAIR,
                "false_rejects": _PAIR,
            },
            {"aupro": _PAIR, "verdicts_changed": _SHARE},
        ),
        "calibration": Fields(
            {"way": Text(choices=("held out", "moved")), "images": _COUNT}, {"frames": Text(4096)}
        ),
    },
    {
        "limits": Named(_SHARE, 10),
        "drift_alone": Named(Number(0, 1e300), 100_000),
        "engines": Named(Number(0, 1e300), 20),
    },
)
_PROBE = Fields(
    {"name": Text(200), "png": Text(_LONGEST_PICTURE), "score": _SCORE, "map_peak": _SCORE},
    {
        "extra": Named(Many(_SCORE, 0, 64), 100),
        "measured": Named(Text(_LONGEST_PICTURE), 16),
    },
)

DESCRIPTION = Fields(
    {
        "input_spec": INPUT_SPEC,
        "calibration": CALIBRATION,
        "probes": Many(_PROBE, 1, 64),
        "tolerance": Number(1e-9, LARGEST_LOWERED_TOLERANCE),
        "localises": Flag(),
        "about": Fields(
            _ABOUT,
            {
                "parity": _PARITY,
                "opset": Number(1, 100, whole=True),
                "precision": _PRECISION,
                "pod": POD_FIELDS,
            },
        ),
    },
    {
        "measured_inputs": Named(_MEASURED, 16),
        "extra_outputs": Many(Text(200), 0, 100),
        "graph_crc32": _CRC,
        FIELDS_KEY: _CRC,
    },
)
"""Of an edge file."""

_WEIGHT = Number(0, 1e6)
DETECTOR_HEADER = Fields(
    {
        "input_spec": INPUT_SPEC,
        "calibration": CALIBRATION,
        "localises": Flag(),
        "records": Many(
            Row(
                (
                    *(Text(64), Flag(), OrNull(_SCORE), OrNull(_SCORE), _WEIGHT),
                    *(Text(10_000), Text(10_000)),
                ),
                4,
            ),
            1,
            _MOST_IMAGES,
        ),
        "about": Fields(
            {
                **_ABOUT,
                "calibration_method": Text(choices=("auto", "folds", "holdout")),
                "seed": Number(0, 2**64, whole=True),
            },
            {"layer_choice": Named(Plain(), 1000)},
        ),
    },
    {
        "measured_inputs": Named(_MEASURED, 16),
        "gallery": Fields(
            {
                "offered": _COUNT,
                "images": Many(
                    Row((_COUNT, Text(64), Text(4096), Row((_SIDE, _SIDE), 2), _COUNT), 5),
                    0,
                    _MOST_IMAGES,
                ),
            }
        ),
        "tensors_crc32": _CRC,
        FIELDS_KEY: _CRC,
    },
)
"""Of a detector file."""


def fields_crc32(document: Mapping[str, Any]) -> str:
    """Checksum over the fields of a description but its two checksums, eight hex digits."""
    fields = {name: value for name, value in document.items() if name not in (SEAL_KEY, FIELDS_KEY)}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"


def check_fields(document: Any, rule: Rule) -> None:
    """Raise `ValueError` unless a description is within its bounds and is the one written."""
    rule.check(document, "")
    if FIELDS_KEY in document and document[FIELDS_KEY] != fields_crc32(document):
        raise ValueError("its fields were changed after it was written")


def check_tolerance(document: Mapping[str, Any]) -> None:
    """Raise `ValueError` where a self-test accepts more than the file's precision explains."""
    lowered = "precision" in document["about"]
    if document["tolerance"] > LARGEST_TOLERANCE and not lowered:
        Number(1e-9, LARGEST_TOLERANCE).check(document["tolerance"], "tolerance")


def check_threshold(stored: Mapping[str, Any], threshold: float, map_threshold: float) -> None:
    """Raise `ValueError` where a threshold that is written for readers is not what decides.

    Args:
        stored: a calibration's fields.
        threshold: image threshold that follows from its scores.
        map_threshold: map threshold that does.
    """
    for name, value in (("threshold", threshold), ("map_threshold", map_threshold)):
        written = stored.get(name, value)
        if abs(written - value) > _ROUNDING * max(abs(value), abs(written)):
            raise ValueError(
                f"calibration.{name} is {written:.6g}, its scores say {value:.6g}: they were "
                "changed after it was written"
            )
