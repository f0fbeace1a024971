"""What a coarser file's self-test expects, and how far engines are allowed to be from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.engines import Engine, OnnxRuntimeEngine, open_engine
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.inputs import Inputs, View
from anomalib_lite.edge.model_files.descriptions import LARGEST_LOWERED_TOLERANCE
from anomalib_lite.edge.model_files.metadata import Probe
from anomalib_lite.export.parity import SELF_TEST_TOLERANCE, compare

_SAFETY = 3.0
"""Engines of this box differ by so much; those of another by a few times more."""


def prove(
    path: Path,
    engine: str,
    views: Mapping[str, View],
    *,
    inputs: Inputs,
    calibration: Calibration,
) -> tuple[tuple[Probe, ...], float, dict[str, float]]:
    """Probes with what the file itself gives, and a tolerance from measurement.

    The file is run alone and in batches, with one thread, and by the other engine of this box; the
    self-test accepts three times the largest difference, at least what a float file's does. An
    engine that is further off than any self-test may accept is left to fail it.

    Args:
        path: the coarser edge file.
        engine: the engine that it is calibrated for.
        views: raw frames of the probes.
        inputs: what the model sees.
        calibration: of the coarser graph.

    Returns:
        the probes, the tolerance, and engine -> largest difference on the probes.
    """
    own = open_engine(path, engine, threads=None)
    probes: tuple[Probe, ...] = ()
    measured: dict[str, float] = {}
    for name, other in _others(path, engine, own):
        report, probes = compare(own, other, views, inputs=inputs, calibration=calibration)
        measured[name] = max(
            report.score_difference, report.map_difference, *report.extra_differences.values()
        )
    largest = LARGEST_LOWERED_TOLERANCE / _SAFETY
    reach = max((value for value in measured.values() if value <= largest), default=0.0)
    return probes, max(SELF_TEST_TOLERANCE, _SAFETY * reach), measured


def _others(path: Path, engine: str, own: Engine) -> Iterator[tuple[str, Engine]]:
    yield engine, own
    yield f"{engine}, 1 thread", open_engine(path, engine, threads=1)
    if engine != "onnxruntime":
        yield "onnxruntime", OnnxRuntimeEngine(path)
        return
    try:
        yield "openvino", open_engine(path, "openvino", threads=None)
    except SettingsError:
        return
