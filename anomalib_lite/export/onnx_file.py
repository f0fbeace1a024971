"""A fitted detector's state -> ONNX file: trace, describe, prove, write."""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.engines import OnnxRuntimeEngine
from anomalib_lite.edge.errors import ExportError, SettingsError
from anomalib_lite.edge.files import atomic_path
from anomalib_lite.edge.inputs import Inputs, View
from anomalib_lite.edge.model import EdgeModel
from anomalib_lite.edge.model_files.integrity import seal
from anomalib_lite.edge.model_files.metadata import METADATA_KEY, EdgeMetadata, Probe
from anomalib_lite.edge.outputs import STANDARD_OUTPUTS
from anomalib_lite.export.half import store_half
from anomalib_lite.export.lowering.lower import BF16_ENGINE, Float, Lowered, Lowering, lower
from anomalib_lite.export.lowering.prove import prove
from anomalib_lite.export.parity import (
    SELF_TEST_TOLERANCE,
    ParityReport,
    Runnable,
    compare,
    probe_views,
)

OPSET = 17
"""Read by ONNX Runtime 1.12+, OpenVINO 2023+, TensorRT 8.6+."""

_TRACE_BATCH = 2


@dataclass(frozen=True)
class ExportState:
    """All that an export needs of a fitted state.

    Attributes:
        fitted: what the file must reproduce.
        network: the module to trace: frames uint8 `(N, h, w, 3)`, then the measured inputs ->
            score, map, then the extra outputs of `fitted`, sorted by name.
        stores_half: keep weights in half precision where they are exact in it.
        inputs: what it sees, by name.
        calibration: threshold and p-values.
        samples: raw good frames, or views by input name, for the probes.
        localises: whether the map says where.
        about: what the file says about itself, plain JSON types.
        title: what is exported, in words, for messages.
        seed: draws the noise probe.
    """

    fitted: Runnable
    network: nn.Module
    stores_half: bool
    inputs: Inputs
    calibration: Calibration
    samples: tuple[View, ...]
    localises: bool
    about: dict[str, Any]
    title: str
    seed: int


@dataclass(frozen=True)
class ExportReport:
    """What was written and how well it matches.

    Attributes:
        path: the edge file.
        size_bytes: its size.
        parity: comparison of the float graph with the fitted model.
        lowered: what a coarser graph was found to be; None in single precision.
    """

    path: Path
    size_bytes: int
    parity: ParityReport
    lowered: Lowered | None = None


def export_onnx(
    state: ExportState, path: str | Path, *, lowering: Lowering | None = None
) -> ExportReport:
    """Export a fitted detector; the file appears only if it is proven to be the fitted model.

    The graph is compared with the detector on probe frames, from the raw frame, at batch 1 and 3:
    every output within `parity.TOLERANCE`, no verdict flipped. The probes travel inside. A coarser
    graph starts from there, is judged against it, and has a threshold and probes of its own.

    Args:
        state: what to export.
        path: file to write.
        lowering: which lower precision, judged on which frames; None keeps single precision.

    Raises:
        ExportError: the gate failed, or the graph cannot be expressed; nothing is written.
        SettingsError: a lower precision that this model or these frames do not allow.
    """
    if lowering is not None:
        _refuse_unfit(state, lowering)
    apart = lowering is not None and lowering.precision != "bf16"
    model = trace(replace(state, stores_half=False) if apart else state, halves=not apart)
    extras = tuple(item.name for item in model.graph.output)[len(STANDARD_OUTPUTS) :]
    views = probe_views(state.samples, state.inputs, state.seed)
    with atomic_path(path) as temporary:
        _write(model, _metadata(state, extras, (), None), temporary)
        engine = OnnxRuntimeEngine(temporary)
        report, probes = compare(
            state.fitted, engine, views, inputs=state.inputs, calibration=state.calibration
        )
        del engine
        if not report.passed:
            raise ExportError(f"{path} was not written: {report.explain()}")
        metadata = _metadata(state, extras, probes, report)
        lowered = None
        if lowering is not None:
            lowered = lower(_float(state, model, temporary), lowering)
            model, metadata = _lowered(lowered, metadata, views, temporary)
        _write(model, metadata, temporary)
        seal(temporary)
        EdgeModel(temporary, engine=(lowered and lowered.engine) or "onnxruntime")
        size = temporary.stat().st_size
    return ExportReport(Path(path), size, report, lowered)


def _refuse_unfit(state: ExportState, lowering: Lowering) -> None:
    """Raise `SettingsError` for a model whose thresholds cannot be earned anew here."""
    words = ""
    if state.inputs.measured:
        words = "sees more than pictures"
    elif state.calibration.groups:
        words = "has a threshold for each product"
    if words:
        raise SettingsError(f"{state.title} {words}: export it in fp32, {lowering.precision} can't")


def _float(state: ExportState, model: Any, file: Path) -> Float:
    return Float(
        model, file, state.calibration, state.inputs.frames.roi, state.localises, state.seed
    )


def _lowered(
    lowered: Lowered, metadata: EdgeMetadata, views: Mapping[str, View], file: Path
) -> tuple[Any, EdgeMetadata]:
    """The coarser graph as it is stored, and what its file says; `file` is written over."""
    model = lowered.model
    if lowered.engine != BF16_ENGINE:
        store_half(model)
        _name_producer(model)
    precision = lowered.to_dict()
    about = {**metadata.about, "precision": precision}
    metadata = replace(metadata, calibration=lowered.calibration, about=about)
    _write(model, metadata, file)
    probes, tolerance, engines = prove(
        file,
        lowered.engine or "onnxruntime",
        views,
        inputs=metadata.inputs,
        calibration=metadata.calibration,
    )
    about["precision"] = {**precision, "engines": engines}
    return model, replace(metadata, probes=probes, tolerance=tolerance)


def _write(model: Any, metadata: EdgeMetadata, file: Path) -> None:
    _describe(model, metadata)
    file.write_bytes(model.SerializeToString(deterministic=True))


def _extra_names(state: ExportState) -> tuple[str, ...]:
    """Names of the fitted model's extra outputs, sorted; raises `ExportError` for taken ones."""
    names = tuple(sorted(state.fitted.run(state.inputs.blank()).extra))
    taken = sorted({*state.inputs.names, *STANDARD_OUTPUTS} & set(names))
    if taken:
        raise ExportError(
            f"{state.title} names an extra output {taken[0]!r}, which every graph has already; "
            "choose another name"
        )
    return names


def trace(state: ExportState, *, halves: bool = True) -> Any:
    """The state's network as an ONNX model with the project's interface and dynamic batch.

    Args:
        state: what to export.
        halves: store in half precision what is exact in it.
    """
    buffer = io.BytesIO()
    outputs = [*STANDARD_OUTPUTS, *_extra_names(state)]
    modes = torch.onnx.TrainingMode
    inputs = list(state.inputs.names)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                state.network,
                _examples(state.inputs),
                buffer,  # type: ignore[arg-type]
                dynamo=False,
                # Folded with anything else, rounded weights would need single precision again.
                training=modes.PRESERVE if state.stores_half else modes.EVAL,
                do_constant_folding=not state.stores_half,
                opset_version=OPSET,
                input_names=inputs,
                output_names=outputs,
                dynamic_axes={name: {0: "N"} for name in (*inputs, *outputs)},
            )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            first = str(error).strip().splitlines()[0]
            raise ExportError(f"{state.title} cannot be exported: {first}") from error
    model = onnx.load_model_from_string(buffer.getvalue())
    for node in model.graph.node:
        node.doc_string = ""
    if halves:
        store_half(model)
    _name_producer(model)
    return model


def _name_producer(model: Any) -> None:
    model.producer_name = "anomalib_lite"
    model.producer_version = ""
    onnx.checker.check_model(model)


def _examples(inputs: Inputs) -> tuple[torch.Tensor, ...]:
    """A batch to trace with, an input each."""
    blank = inputs.blank()
    arrays = blank.values() if isinstance(blank, Mapping) else [blank]
    return tuple(torch.from_numpy(np.repeat(array, _TRACE_BATCH, axis=0)) for array in arrays)


def _metadata(
    state: ExportState,
    extras: tuple[str, ...],
    probes: tuple[Probe, ...],
    report: ParityReport | None,
) -> EdgeMetadata:
    about = dict(state.about)
    about["opset"] = OPSET
    if report is not None:
        about["parity"] = report.to_dict()
    return EdgeMetadata(
        inputs=state.inputs,
        calibration=state.calibration,
        probes=probes,
        tolerance=SELF_TEST_TOLERANCE,
        localises=state.localises,
        about=about,
        extra_outputs=extras,
    )


def _describe(model: Any, metadata: EdgeMetadata) -> None:
    graph = model.graph.SerializeToString(deterministic=True)
    metadata = replace(metadata, graph_crc32=f"{zlib.crc32(graph):08x}")
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key = METADATA_KEY
    entry.value = metadata.to_json()
