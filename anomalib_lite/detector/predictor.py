"""What a detector is made of, and how it judges: preparation, backbone, scorer, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from anomalib_lite.backbones import Backbone, create_backbone
from anomalib_lite.detector.graph import DetectorGraph
from anomalib_lite.detector.half_storage import round_to_half, stores_half
from anomalib_lite.detector.training_record import FittedData
from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import FitError, SettingsError, did_you_mean
from anomalib_lite.edge.inputs import FRAMES, Inputs, Prepared
from anomalib_lite.edge.measured import MeasuredSpec
from anomalib_lite.edge.outputs import Outputs
from anomalib_lite.edge.plain import is_number, is_whole, plain
from anomalib_lite.edge.predict import Predicts
from anomalib_lite.edge.prepare import InputSpec, as_spec
from anomalib_lite.scorers import create_scorer, describe_settings
from anomalib_lite.system.devices import AUTO, choose_device, put_inputs, put_module

_FRAMES_AT_ONCE = 4

_CALIBRATIONS = ("auto", "folds", "holdout")


class Predictor(Predicts):
    """The half of `Detector` that judges; the parameters are described there."""

    def __init__(
        self,
        detector: str = "patchcore",
        *,
        backbone: str | None = None,
        layers: Sequence[str] | None = None,
        weights: str | Path | None = None,
        backbone_options: Mapping[str, Any] | None = None,
        image_size: int | tuple[int, int] | InputSpec = 256,
        inputs: Mapping[str, MeasuredSpec] | None = None,
        calibration: str = "auto",
        max_false_reject: float = 0.01,
        seed: int = 0,
        device: str | torch.device = AUTO,
        **settings: Any,
    ) -> None:
        detector, backbone, layers = plain(detector), plain(backbone), plain(layers)
        calibration, max_false_reject, seed = map(plain, (calibration, max_false_reject, seed))
        if calibration not in _CALIBRATIONS:
            meant = did_you_mean(str(calibration), _CALIBRATIONS)
            raise SettingsError(
                f"calibration is {calibration!r}{meant}; choose auto, folds or holdout"
            )
        if not (is_number(max_false_reject) and 0 < max_false_reject < 1):
            raise SettingsError(f"max_false_reject is {max_false_reject}; choose between 0 and 1")
        if not is_whole(seed):
            raise SettingsError(f"seed is {seed!r}; give a whole number")
        chosen = choose_device(device)
        self.spec = as_spec(image_size)
        self.measured = dict(inputs or {})
        _refuse_misspelt(detector, settings)
        self.scorer = create_scorer(detector, **settings)
        preferred, preferred_layers = self.scorer.default_backbone()
        if backbone in (None, preferred) and layers is None:
            layers = preferred_layers
        make = partial(
            create_backbone,
            backbone or preferred,
            weights=weights,
            input_hw=self.spec.size_hw,
            options=backbone_options,
        )
        self.backbone = make(layers=layers)
        wanted = self.scorer.read_layers(self.backbone.layer_names)
        if set(wanted) != set(self.backbone.layer_names):
            self.backbone = make(layers=wanted)
        _require_reader(self.backbone, self.inputs)
        if stores_half(self.scorer):
            round_to_half(self.backbone)
        self.scorer.build(self.backbone.layout(self.spec.size_hw, self.spec.roi))
        self.graph = DetectorGraph(self.backbone, self.scorer).eval()
        self.calibration_method = calibration
        self.max_false_reject = max_false_reject
        self.seed = seed
        self.layer_choice: dict[str, Any] = {}
        self._calibration: Calibration | None = None
        self._data: FittedData | None = None
        self.to(chosen)

    @property
    def calibration(self) -> Calibration:
        """Threshold and p-values; raises `FitError` before `fit`."""
        if self._calibration is None:
            raise FitError("this detector is not fitted yet; call fit(source) first")
        return self._calibration

    @property
    def inputs(self) -> Inputs:
        """All that it sees, by name."""
        return Inputs(self.spec, self.measured)

    @property
    def threshold(self) -> float:
        """Raw score above which a frame is anomalous; raises `FitError` before `fit`."""
        return self.calibration.threshold

    @property
    def data(self) -> FittedData:
        """What it was fitted on; raises `FitError` before `fit`."""
        if self._data is None:
            raise FitError("this detector is not fitted yet; call fit(source) first")
        return self._data

    @property
    def localises(self) -> bool:
        """Whether the map says where."""
        return self.scorer.localises

    @property
    def protocol(self) -> str:
        """How it judges, in words, where that is not the published method; else empty."""
        return self.scorer.protocol

    def memory_bytes(self) -> int:
        """Estimated memory of a fit beyond the backbone's own work, bytes."""
        return self.scorer.memory_bytes()

    def run(self, prepared: Prepared) -> Outputs:
        """Raw outputs for prepared frames `uint8 (N, h, w, 3)`, or for prepared views by name.

        Raises:
            FitError: not fitted yet.
        """
        self._require_fitted()
        with torch.no_grad():
            parts = [self.graph.scores(put_inputs(part, self.device)) for part in _parts(prepared)]
        extra = {
            name: torch.cat([part.extra[name] for part in parts]).cpu().numpy()
            for name in sorted(parts[0].extra)
        }
        image = torch.cat([part.image for part in parts])
        anomaly_map = torch.cat([part.map for part in parts])
        return Outputs(image.cpu().numpy(), anomaly_map.cpu().numpy(), extra)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.backbone.device

    def to(self, device: str | torch.device) -> Self:
        """Move it to another device; what it says does not depend on where it is.

        Raises:
            SettingsError: no such device here.
        """
        put_module(self.graph, choose_device(device))
        return self

    def _require_fitted(self) -> None:
        _ = self.calibration

    def __repr__(self) -> str:
        height, width = self.spec.size_hw
        fitted = "not fitted"
        if self._calibration is not None and self._data is not None:
            fitted = f"fitted on {self._data.images} images, {self._calibration.summary()}"
        return (
            f"{type(self).__name__}({self.scorer.name!r}, backbone={self.backbone.name!r}, "
            f"image_size=({height}, {width}), {fitted})"
        )


def _parts(prepared: Prepared) -> Sequence[Tensor | Mapping[str, Tensor]]:
    """A few frames at a time: what a search of many patches holds stays bounded."""
    if not isinstance(prepared, Mapping):
        frames: Sequence[Tensor] = torch.from_numpy(prepared).split(_FRAMES_AT_ONCE)
        return frames
    columns = [torch.from_numpy(values).split(_FRAMES_AT_ONCE) for values in prepared.values()]
    return [dict(zip(prepared, part, strict=True)) for part in zip(*columns, strict=True)]


def _require_reader(backbone: Backbone, inputs: Inputs) -> None:
    """Raise `SettingsError` unless the backbone reads exactly the declared inputs, in order."""
    if backbone.inputs != inputs.names:
        further = [name for name in backbone.inputs if name != FRAMES]
        wanted = f"declare {', '.join(further)}" if further else "leave inputs out"
        raise SettingsError(
            f"the backbone {backbone.name} reads {' and '.join(backbone.inputs)}, declared are "
            f"{' and '.join(inputs.names)}; {wanted}"
        )


def _refuse_misspelt(detector: str, settings: Mapping[str, Any]) -> None:
    """A misspelt argument of `Detector` arrives among the settings of the scorer.

    Raises:
        SettingsError: one is close to an argument and is no setting.
    """
    arguments = signature(Predictor.__init__).parameters.keys() - {"self", "settings"}
    for name in settings:
        # `mvg.layers` is of a part, whatever it resembles.
        meant = "" if "." in name else did_you_mean(name, sorted(arguments))
        if meant and name not in {setting.name for setting in describe_settings(detector)}:
            raise SettingsError(f"{name!r} is no argument{meant} and no setting of {detector}")
