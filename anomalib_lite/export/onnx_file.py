"""Detector -> ONNX file: trace, describe, prove, write."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch

from anomalib_lite.detector import Detector
from anomalib_lite.detector_file import detector_header
from anomalib_lite.edge.engines import PRODUCT_SCORES, OnnxRuntimeEngine
from anomalib_lite.edge.errors import ExportError
from anomalib_lite.edge.files import atomic_path
from anomalib_lite.edge.integrity import seal
from anomalib_lite.edge.metadata import METADATA_KEY, EdgeMetadata, Probe
from anomalib_lite.edge.model import EdgeModel
from anomalib_lite.export.half import store_half
from anomalib_lite.export.parity import (
    SELF_TEST_TOLERANCE,
    ParityReport,
    compare,
    compare_products,
    probe_frames,
)
from anomalib_lite.scorers import PerProduct

OPSET = 17
"""Read by ONNX Runtime 1.12+, OpenVINO 2023+, TensorRT 8.6+."""

_TRACE_BATCH = 2


@dataclass(frozen=True)
class ExportReport:
    """What was written and how well it matches.

    Attributes:
        path: the edge file.
        size_bytes: its size.
        parity: comparison with the fitted model.
    """

    path: Path
    size_bytes: int
    parity: ParityReport


def export_onnx(detector: Detector, path: str | Path) -> ExportReport:
    """Export a fitted detector; the file appears only if it is proven to be the fitted model.

    The graph is compared with the detector on probe frames, from the raw frame, at batch 1 and 3:
    scores and maps within `parity.TOLERANCE`, no verdict flipped. The probes travel inside.

    Raises:
        ExportError: the gate failed, or the graph cannot be expressed; nothing is written.
        FitError: the detector is not fitted.
    """
    calibration = detector.calibration
    model = trace(detector)
    frames = probe_frames(detector.data.samples, detector.spec, detector.seed)
    with atomic_path(path) as temporary:
        _describe(model, _metadata(detector, (), None))
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        engine = OnnxRuntimeEngine(temporary)
        report, probes = compare(
            detector, engine, frames, spec=detector.spec, calibration=calibration
        )
        if isinstance(detector.scorer, PerProduct):
            compare_products(detector, engine, frames, detector.spec)
        del engine
        if not report.passed:
            raise ExportError(
                f"{path} was not written: the exported graph differs from the fitted model "
                f"(scores {report.score_difference:.1e}, maps {report.map_difference:.1e}, "
                f"allowed {report.tolerance:.0e}; {report.verdict_flips} verdicts flipped)"
            )
        _describe(model, _metadata(detector, probes, report))
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        seal(temporary)
        EdgeModel(temporary)
        size = temporary.stat().st_size
    return ExportReport(Path(path), size, report)


def trace(detector: Detector) -> Any:
    """The detector's graph as an ONNX model with the project's interface and dynamic batch."""
    buffer = io.BytesIO()
    outputs = ["score", "anomaly_map"]
    if isinstance(detector.scorer, PerProduct):
        outputs.append(PRODUCT_SCORES)
    modes = torch.onnx.TrainingMode
    height, width = detector.spec.size_hw
    example = torch.zeros(_TRACE_BATCH, height, width, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                detector.graph.merged(),
                (example,),
                buffer,  # type: ignore[arg-type]
                dynamo=False,
                # Folded with anything else, rounded weights would need single precision again.
                training=modes.PRESERVE if detector.scorer.stores_half else modes.EVAL,
                do_constant_folding=not detector.scorer.stores_half,
                opset_version=OPSET,
                input_names=["frames"],
                output_names=outputs,
                dynamic_axes={name: {0: "N"} for name in ("frames", *outputs)},
            )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            first = str(error).strip().splitlines()[0]
            raise ExportError(
                f"{detector.scorer.name} on {detector.backbone.name} cannot be exported: {first}"
            ) from error
    model = onnx.load_model_from_string(buffer.getvalue())
    for node in model.graph.node:
        node.doc_string = ""
    store_half(model)
    model.producer_name = "anomalib_lite"
    model.producer_version = ""
    onnx.checker.check_model(model)
    return model


def _metadata(
    detector: Detector, probes: tuple[Probe, ...], report: ParityReport | None
) -> EdgeMetadata:
    about = detector_header(detector)["about"]
    about["opset"] = OPSET
    if report is not None:
        about["parity"] = report.to_dict()
    return EdgeMetadata(
        spec=detector.spec,
        calibration=detector.calibration,
        probes=probes,
        tolerance=SELF_TEST_TOLERANCE,
        localises=detector.localises,
        about=about,
    )


def _describe(model: Any, metadata: EdgeMetadata) -> None:
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key = METADATA_KEY
    entry.value = metadata.to_json()
