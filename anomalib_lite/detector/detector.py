"""`Detector`: fit on good images, predict, save, load, export. The class most users meet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from anomalib_lite.backbones.timm_models import refuse_larger
from anomalib_lite.backbones.weights import tensors_below
from anomalib_lite.detector.file import DetectorState, content_of, read_state, write_state
from anomalib_lite.detector.file_tensors import require_usable
from anomalib_lite.detector.graph import DetectorGraph
from anomalib_lite.detector.half_storage import stores_half
from anomalib_lite.detector.learner import Learner
from anomalib_lite.edge.errors import AnomalibLiteError
from anomalib_lite.edge.source_kinds.items import FramesLike, open_frames
from anomalib_lite.edge.sources import require_good
from anomalib_lite.scorers.base import Progress, no_progress
from anomalib_lite.scorers.registry import settings_from_file
from anomalib_lite.system.devices import AUTO, CPU, choose_device, put

if TYPE_CHECKING:
    from anomalib_lite.export import ExportReport
    from anomalib_lite.export.lowering import GoodFrames

_LARGEST_TRIED = 1 << 20


class Detector(Learner):
    """An anomaly detector: preparation, backbone, scorer and calibration.

    Args:
        detector: name of the scorer (`patchcore`, `padim`, `mvg`, ...).
        backbone: `pdn_edge` (in the package) or any timm network, e.g. `resnet18`; None takes
            what the scorer works best with.
        layers: backbone layers to read; None takes the default of scorer and backbone.
        weights: a `.safetensors` file for the backbone, `"random"`, or None to look in the
            folder `ANOMALIB_LITE_WEIGHTS`, then the hub.
        backbone_options: see `backbones.create_backbone`; e.g. `{"mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5)}` for weights that were trained on another normalisation.
        image_size: side or `(height, width)` of the network's input, pixels; or an `InputSpec`.
        inputs: what is measured beside the picture, by name, for a backbone that reads it; e.g.
            `{"depth": MeasuredSpec(stored="uint16", scale=0.001)}`.
        calibration: `"auto"` scores every good image out-of-fold where the scorer can do so cheaply
            and otherwise holds a fifth out; or `"folds"`, `"holdout"`.
        max_false_reject: share of good frames that may be rejected.
        seed: the one source of randomness.
        device: where it computes: `"auto"` (CUDA where torch finds it, else the CPU), `"cpu"`,
            `"cuda"`, `"cuda:1"`, `"mps"`; neither files nor settings remember it.
        settings: settings of the scorer.

    Attributes:
        spec: the input declaration.
        calibration: set by `fit`.
        data: what it was fitted on, set by `fit`.
        layer_choice: why these layers, where `tuning.layer_selection` chose them; else empty.
    """

    def state(self) -> DetectorState:
        """All of this detector as plain data; raises `FitError` before `fit`."""
        tensors = {
            f"{part}.{name}": put(tensor, CPU)
            for part, module in (("backbone", self.backbone), ("scorer", self.scorer))
            for name, tensor in module.state_dict().items()
        }
        return DetectorState(
            spec=self.spec,
            measured=self.measured,
            calibration=self.calibration,
            data=self.data,
            scorer={"name": self.scorer.name, "settings": self.scorer.settings()},
            backbone={
                **self.backbone.settings(),
                "weights_sha256": self.backbone.weights_sha256,
            },
            localises=self.localises,
            protocol=self.protocol,
            calibration_method=self.calibration_method,
            seed=self.seed,
            layer_choice=self.layer_choice,
            tensors=tensors,
        )

    @classmethod
    def from_state(cls, state: DetectorState, *, device: str | torch.device = AUTO) -> Detector:
        """The detector that `state` describes, on a device."""
        detector = cls(
            state.scorer["name"],
            backbone=state.backbone["name"],
            layers=state.backbone["layers"],
            weights="empty",
            backbone_options=state.backbone.get("options"),
            image_size=state.spec,
            inputs=state.measured,
            calibration=state.calibration_method,
            max_false_reject=state.calibration.max_false_reject,
            seed=state.seed,
            device=CPU,
            **settings_from_file(state.scorer["name"], _without_device(state.scorer["settings"])),
        )
        own = tensors_below(dict(state.tensors), "backbone.")
        detector.backbone.load_state_dict(own, strict=True)
        detector.backbone.weights_sha256 = str(state.backbone["weights_sha256"])
        detector.scorer.load_tensors(tensors_below(dict(state.tensors), "scorer."))
        detector.layer_choice = state.layer_choice
        detector._calibration = state.calibration
        detector._data = state.data
        return detector.to(device)

    def save(self, path: str | Path) -> Path:
        """Write one `.safetensors` file, backbone included; raises AnomalibLiteError on failure."""
        return write_state(self.state(), path)

    @classmethod
    def load(cls, path: str | Path, *, device: str | torch.device = AUTO) -> Detector:
        """Read a file written by `save`, wherever it was fitted.

        Raises:
            ModelFileError: it cannot be one.
            SettingsError: no such device here.
        """
        chosen = choose_device(device)
        state = read_state(path)
        with content_of(path):
            own = tensors_below(dict(state.tensors), "backbone.")
            refuse_larger(state.backbone["name"], sum(item.nbytes for item in own.values()))
            detector = cls.from_state(state, device=chosen)
            # What does not fit together is found here, not at the first frame of a shift. A frame
            # of millions of pixels would take longer than it is worth.
            if math.prod(state.spec.size_hw) <= _LARGEST_TRIED:
                require_usable(detector.run(detector.inputs.blank()))
            return detector

    def export(
        self,
        path: str | Path,
        *,
        precision: str = "fp32",
        frames: FramesLike | None = None,
        limits: Mapping[str, float] | None = None,
        progress: Progress = no_progress,
        pod: Mapping[str, Any] | None = None,
    ) -> ExportReport:
        """Write a verified `.onnx` edge file.

        Args:
            path: file to write.
            precision: `fp32`; `fp16` (weights rounded to half the size, computed in single
                precision); `bf16` (the float graph, judged and calibrated as the engine
                `openvino-bf16` computes it); `int8` (quantised, sensitive nodes in float).
            frames: good frames to choose, judge and calibrate a lower precision by; best some that
                the fit has not seen. None takes the pictures that the detector keeps.
            limits: what a lower precision may lose: `auroc` (0.005) and `aupro` (0.01) on simulated
                defects, `misses` (0.02) of them.
            progress: called with stage, steps done, steps in total.
            pod: figures of its probability of detection, to be kept in the file.

        Raises:
            ExportError: the exported graph does not reproduce this detector, or a lower precision
                loses more than it may; nothing is written.
            SettingsError: unknown precision, or good frames that do not suffice.
        """
        state = self.state()
        try:
            from anomalib_lite.export import ExportState, export_onnx
            from anomalib_lite.export.lowering import Limits
            from anomalib_lite.export.lowering.lower import Lowering
            from anomalib_lite.export.lowering.request import checked_precision
        except ImportError as error:
            raise AnomalibLiteError(
                "export needs the package onnx; pip install 'anomalib-lite[train]'"
            ) from error
        lowering = None
        if checked_precision(precision) != "fp32":
            good = self._good_frames(frames)
            lowering = Lowering(precision, good, Limits(**(limits or {})), progress)
        return export_onnx(
            ExportState(
                fitted=self,
                network=self._graph_on_cpu(state).merged(),
                stores_half=stores_half(self.scorer),
                inputs=self.inputs,
                calibration=state.calibration,
                samples=state.data.samples,
                localises=self.localises,
                about={**state.about(), **({"pod": dict(pod)} if pod else {})},
                title=f"{self.scorer.name} on {self.backbone.name}",
                seed=self.seed,
            ),
            path,
            lowering=lowering,
        )

    def _good_frames(self, frames: FramesLike | None) -> GoodFrames:
        from anomalib_lite.detector.good_frames import frames_of, kept_frames

        if frames is None:
            return kept_frames(self.data, self.inputs)
        source = require_good(open_frames(frames, self.inputs, None))
        return frames_of(source, self.data, self.backbone, self.inputs)

    def _graph_on_cpu(self, state: DetectorState) -> DetectorGraph:
        """What is exported: files do not depend on the device that wrote them."""
        if self.device == CPU:
            return self.graph
        return type(self).from_state(state, device=CPU).graph


def _without_device(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a scorer; files of an earlier version may say where it was trained."""
    return {key: value for key, value in settings.items() if key.split(".")[-1] != "device"}
