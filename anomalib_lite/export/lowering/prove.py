"""What a coarser file's self-test expects, and how far engines are allowed to be from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.engines import Engine, OnnxRuntimeEngine, open_engine
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.inputs import Inputs, Prepared, View, prepare_view, stacked
from anomalib_lite.edge.model_files.descriptions import LARGEST_LOWERED_TOLERANCE
from anomalib_lite.edge.model_files.metadata import Probe
from anomalib_lite.edge.self_test import judge_probe, largest_extras
from anomalib_lite.export.parity import SELF_TEST_TOLERANCE, compare

_SAFETY = 2.0
"""Engines of this box differ by so much; those of another perhaps by twice."""


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
    self-test accepts twice the largest difference, at least what a float file's does. An
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
    _, probes = compare(own, own, views, inputs=inputs, calibration=calibration)
    prepared = [prepare_view(view, inputs.of_copies()) for view in views.values()]
    measured = {
        name: _difference(other, probes, prepared) for name, other in _others(path, engine, own)
    }
    largest = LARGEST_LOWERED_TOLERANCE / _SAFETY
    reach = max((value for value in measured.values() if value <= largest), default=0.0)
    return probes, max(SELF_TEST_TOLERANCE, _SAFETY * reach), measured


def _difference(engine: Engine, probes: tuple[Probe, ...], prepared: list[Prepared]) -> float:
    """Largest difference that the self-test would see, alone and in one batch."""
    largest = largest_extras(probes)
    together = engine.run(stacked(prepared))
    return max(
        judge_probe(
            probe,
            [(engine.run(stacked([item])), 0), (together, index)],
            largest,
            threshold=0.0,
            allowed=0.0,
        ).relative_difference
        for index, (probe, item) in enumerate(zip(probes, prepared, strict=True))
    )


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
