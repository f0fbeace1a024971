"""A study as JSON: written for people and programs, checked when it is read again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anomalib_lite.edge.errors import ModelFileError, SettingsError
from anomalib_lite.edge.model_files.pod_fields import POD_FIELDS
from anomalib_lite.edge.model_files.schema import Fields, Many, Number, Plain, Text, read_json
from anomalib_lite.evaluation.pod.result import FamilyResult, PodStudy

POD_FORMAT = "anomalib_lite.pod"
POD_VERSION = 1
_CURVE_POINTS = 33
_LARGEST_FILE = 64 << 20

_DOCUMENT = Fields(
    {
        "format": Text(choices=(POD_FORMAT,)),
        "format_version": Number(1, POD_VERSION, whole=True),
        "figures": POD_FIELDS,
        "families": Many(Plain(), 0, 10_000),
    }
)


def to_document(study: PodStudy, model: Mapping[str, Any]) -> dict[str, Any]:
    """Plain JSON types.

    Args:
        study: what was found.
        model: `threshold`, `fingerprint` of the data, and whatever else says which model it is.
    """
    return {
        "format": POD_FORMAT,
        "format_version": POD_VERSION,
        "figures": {
            "model": dict(model),
            "images": study.photographs.summary(),
            "mm_per_pixel": study.mm_per_pixel,
            "bounds": "one-sided 95 %, profile likelihood with Firth's penalty, photographs as "
            "clusters",
            "promise": study.promise,
            "left_out": study.left_out,
            "families": [_figures(result, study.mm_per_pixel) for result in study.families],
        },
        "families": [_details(result) for result in study.families],
        "missed_beyond_size": np.round(study.blind_map(), 3).tolist(),
    }


def read_pod(path: str | Path) -> dict[str, Any]:
    """The figures of a file that `pod` has written.

    Raises:
        ModelFileError: missing, too large, damaged, foreign or newer.
    """
    try:
        if Path(path).stat().st_size > _LARGEST_FILE:
            raise ModelFileError(f"{path}: is larger than any file that pod writes")
        document = read_json(Path(path).read_bytes())
        _DOCUMENT.check(document, "")
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ModelFileError(
            f"{path}: is not a file that pod has written ({error}); give its pod.json"
        ) from error
    figures: dict[str, Any] = document["figures"]
    return figures


def require_pod_of(
    figures: Mapping[str, Any], *, fingerprint: str, threshold: float, path: str | Path
) -> None:
    """Raise `SettingsError` unless figures were measured with a model of these properties."""
    model = figures["model"]
    same = model["fingerprint"] == fingerprint and math.isclose(
        model["threshold"], threshold, rel_tol=1e-5
    )
    if not same:
        raise SettingsError(
            f"{path}: was measured with another model, or at another threshold "
            f"({model['threshold']:.6g}, here {threshold:.6g}); run pod with this one"
        )


def _figures(result: FamilyResult, mm_per_pixel: float | None) -> dict[str, Any]:
    low, high = result.tried
    return {
        "kind": result.kind,
        "contrast": result.contrast,
        "trials": len(result.trials),
        "hits": result.hits,
        "sizes": [round(low, 4), round(high, 4)],
        "standing": result.curve.standing,
        "slenderness": result.slenderness,
        "a50": _rounded(result.a50),
        "a90": _rounded(result.a90),
        "a90_95": _rounded(result.a90_95),
        "words": result.verdict(mm_per_pixel),
    }


def _details(result: FamilyResult) -> dict[str, Any]:
    low, high = result.tried
    sizes = np.exp(np.linspace(np.log(low), np.log(high), _CURVE_POINTS))
    curve = []
    if result.curve.usable:
        for size, chance in zip(sizes, result.curve.probability(sizes), strict=True):
            lower = result.curve.lower_probability(float(size))
            curve.append([round(float(size), 4), round(float(chance), 5), round(lower, 5)])
    return {
        "kind": result.kind,
        "contrast": result.contrast,
        "intercept": _rounded(result.curve.intercept),
        "slope": _rounded(result.curve.slope),
        "size_pod_lower": curve,
        "trials": [
            [round(one.size, 4), int(one.hit), one.photograph, *(round(p, 4) for p in one.place_yx)]
            for one in result.trials
        ],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
