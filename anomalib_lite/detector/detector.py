"""`Detector`: fit on good images, predict, save, load, export. The class most users meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_lite.backbones import create_backbone
from anomalib_lite.backbones.weights import tensors_below
from anomalib_lite.detector.file import DetectorState, content_of, read_state, write_state
from anomalib_lite.detector.graph import DetectorGraph
from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.detector.incremental import forget_images, learn_more
from anomalib_lite.detector.out_of_fold import OUT_OF_FOLD, calibrate, checked_weights
from anomalib_lite.detector.products import product_indices, require_products
from anomalib_lite.detector.thumbnails import Gallery, GalleryBuilder
from anomalib_lite.detector.training_record import FittedData, gallery_of, record_images
from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.engines import PRODUCT_SCORES
from anomalib_lite.edge.errors import AnomalibLiteError, FitError, SettingsError
from anomalib_lite.edge.footprint import kept_for_reuse
from anomalib_lite.edge.prediction import Prediction
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.scoring import FrameLike, predict_frames
from anomalib_lite.edge.sources import SourceLike, open_source
from anomalib_lite.scorers import (
    Explain,
    FitContext,
    PerProduct,
    Progress,
    create_scorer,
)
from anomalib_lite.scorers.base import no_progress
from anomalib_lite.system.memory import require_memory

if TYPE_CHECKING:
    from anomalib_lite.export import ExportReport


class Detector:
    """An anomaly detector: preparation, backbone, scorer and calibration.

    Args:
        detector: name of the scorer (`patchcore`, `padim`, `mvg`, ...).
        backbone: `pdn_edge` (in the package) or any timm network, e.g. `resnet18`; None takes
            what the scorer works best with.
        layers: backbone layers to read; None takes the default of scorer and backbone.
        weights: a `.safetensors` file for the backbone, `"random"`, or None to look in the
            folder `ANOMALIB_LITE_WEIGHTS`, then the hub.
        image_size: side or `(height, width)` of the network's input, pixels; or an `InputSpec`.
        calibration: `"auto"` scores every good image out-of-fold where the scorer can do so cheaply
            and otherwise holds a fifth out; or `"folds"`, `"holdout"`.
        max_false_reject: share of good frames that may be rejected.
        seed: the one source of randomness.
        settings: settings of the scorer.

    Attributes:
        spec: the input declaration.
        calibration: set by `fit`.
        data: what it was fitted on, set by `fit`.
        layer_choice: why these layers, where `layer_choice.choose_layers` chose them; else empty.
    """

    def __init__(
        self,
        detector: str = "patchcore",
        *,
        backbone: str | None = None,
        layers: Sequence[str] | None = None,
        weights: str | Path | None = None,
        image_size: int | tuple[int, int] | InputSpec = 256,
        calibration: str = "auto",
        max_false_reject: float = 0.01,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        if calibration not in ("auto", "folds", "holdout"):
            raise SettingsError(f"calibration is {calibration!r}; choose auto, folds or holdout")
        if not 0 < max_false_reject < 1:
            raise SettingsError(f"max_false_reject is {max_false_reject}; choose between 0 and 1")
        self.spec = _as_spec(image_size)
        self.scorer = create_scorer(detector, **settings)
        preferred, preferred_layers = self.scorer.default_backbone()
        if backbone in (None, preferred) and layers is None:
            layers = preferred_layers
        self.backbone = create_backbone(
            backbone or preferred, layers=layers, weights=weights, input_hw=self.spec.size_hw
        )
        if self.scorer.stores_half:
            self.backbone.round_to_half()
        self.scorer.build(self.backbone.layout(self.spec.size_hw, self.spec.roi))
        self.graph = DetectorGraph(self.backbone, self.scorer).eval()
        self.calibration_method = calibration
        self.max_false_reject = max_false_reject
        self.seed = seed
        self.layer_choice: dict[str, Any] = {}
        self._calibration: Calibration | None = None
        self._data: FittedData | None = None

    @property
    def calibration(self) -> Calibration:
        """Threshold and p-values; raises `FitError` before `fit`."""
        if self._calibration is None:
            raise FitError("this detector is not fitted yet; call fit(source) first")
        return self._calibration

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

    def fit(
        self,
        source: SourceLike,
        *,
        weights: Sequence[float] | NDArray[np.float64] | None = None,
        progress: Progress = no_progress,
        checkpoint: str | Path | None = None,
        resume: bool = False,
    ) -> Detector:
        """Learn from good images and calibrate on good images the scored model has not seen.

        With a checkpoint folder, a scorer that trains by steps ends early at the first Ctrl-C; what
        it has learnt is then calibrated as usual (`scorer.stopped_early`).

        Args:
            source: folder, glob, video, list of files or arrays; good parts only.
            weights: how far each image counts, in [0, 1], in the order of the source; the threshold
                takes all alike.
            progress: called with stage, images done, images in total.
            checkpoint: folder where training leaves its state every two minutes.
            resume: continue from what is in that folder.

        Returns:
            self.

        Raises:
            FitError: too few usable images, features that are not finite, too little memory.
            SettingsError: weights that do not fit, or a scorer that cannot weigh.
            SourceError: nothing to read.
        """
        smaller = " or ".join(("image size", "backbone", *self.scorer.memory_settings))
        require_memory(self.memory_bytes(), "the fit", f"a smaller {smaller}")
        # A fit that fails half-way must not leave an old threshold on a new model.
        self._calibration = self._data = None
        self.spec = replace(self.spec, aspect=None)
        stream = self._stream(source)
        counted = checked_weights(self.scorer, weights, len(stream))
        products = product_indices(self.scorer, stream.source)
        with torch.no_grad(), kept_for_reuse():
            calibration, held_out = calibrate(
                self.scorer,
                stream,
                FitContext(
                    seed=self.seed,
                    progress=progress,
                    weights=counted,
                    products=products,
                    checkpoint=None if checkpoint is None else Path(checkpoint),
                    resume=resume,
                ),
                method=self.calibration_method,
                max_false_reject=self.max_false_reject,
            )
        if len(set(stream.fingerprints.values())) == 1:
            raise FitError(
                f"all {len(stream.fingerprints)} good images are the same picture; give different "
                "photographs"
            )
        self.spec = replace(self.spec, aspect=stream.aspect)
        self._calibration = calibration
        learnt = calibration.method.startswith(OUT_OF_FOLD)
        self._data = FittedData(
            source=stream.source.name,
            records=record_images(stream, held_out, held_out_is_learnt=learnt, weights=counted),
            skipped=dict(stream.skipped),
            frame_hw=stream.frame_hw,
            samples=tuple(stream.samples),
            gallery=gallery_of(stream, Gallery()),
        )
        return self

    def partial_fit(self, source: SourceLike, *, progress: Progress = no_progress) -> Detector:
        """Learn more good images without the earlier ones; the threshold takes them in.

        Raises:
            SettingsError: this kind of detector cannot.
            FitError: not fitted yet, or no usable image.
        """
        context = FitContext(seed=self.seed, progress=progress)
        return self._take(learn_more(self.scorer, self.data, self._stream(source), context))

    def forget(self, source: SourceLike, *, progress: Progress = no_progress) -> Detector:
        """Take images out again, and their scores out of the threshold.

        Raises:
            SettingsError: this kind of detector cannot.
            FitError: an image was never fitted, or too few would remain; nothing has changed.
        """
        context = FitContext(seed=self.seed, progress=progress)
        return self._take(forget_images(self.scorer, self.data, self._stream(source), context))

    def _stream(self, source: SourceLike) -> ImageStream:
        stream = ImageStream(open_source(source, exif=self.spec.exif), self.backbone, self.spec)
        if isinstance(self.scorer, Explain):
            stream.gallery = GalleryBuilder()
        return stream

    def _take(self, data: FittedData) -> Detector:
        before = self.calibration
        after = data.calibration(self.max_false_reject, before.method)
        self._calibration = replace(after, doubtful=before.doubtful)
        self._data = data
        return self

    def recalibrate(self, max_false_reject: float) -> Detector:
        """Take the threshold for another false-reject rate from the same held-out scores."""
        self._calibration = self.calibration.with_rate(max_false_reject)
        self.max_false_reject = max_false_reject
        return self

    def run(
        self, prepared_nhwc: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Raw outputs for prepared frames `uint8 (N, h, w, 3)`: score `(N,)`, map `(N, h', w')`."""
        with torch.no_grad():
            score, anomaly_map = self.graph(torch.from_numpy(prepared_nhwc))
        return score.numpy(), anomaly_map.numpy()

    def product_scores(self, prepared_nhwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Score as each product `(N, P)`; raises `SettingsError` where it knows one only."""
        scorer = cast(PerProduct, require_products(self.scorer))
        with torch.no_grad():
            frames = torch.from_numpy(prepared_nhwc)
            features = self.backbone(self.backbone.normalise(frames))
            return scorer.product_scores(features).numpy()

    def predict(self, frame: FrameLike) -> Prediction:
        """Score one frame: an RGB or grey array, encoded bytes, or a file.

        Raises:
            FrameError: the frame is unreadable or not what the detector was declared for.
        """
        return self.predict_batch([frame])[0]

    def predict_batch(self, frames: Sequence[FrameLike]) -> list[Prediction]:
        """Score several frames in one pass; sizes may differ."""
        return predict_frames(self, list(frames))

    def state(self) -> DetectorState:
        """All of this detector as plain data; raises `FitError` before `fit`."""
        tensors = {
            f"{part}.{name}": tensor
            for part, module in (("backbone", self.backbone), ("scorer", self.scorer))
            for name, tensor in module.state_dict().items()
        }
        return DetectorState(
            spec=self.spec,
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
    def from_state(cls, state: DetectorState) -> Detector:
        """The detector that `state` describes."""
        detector = cls(
            state.scorer["name"],
            backbone=state.backbone["name"],
            layers=state.backbone["layers"],
            weights="empty",
            image_size=state.spec,
            calibration=state.calibration_method,
            max_false_reject=state.calibration.max_false_reject,
            seed=state.seed,
            **state.scorer["settings"],
        )
        own = tensors_below(dict(state.tensors), "backbone.")
        detector.backbone.load_state_dict(own, strict=True)
        detector.backbone.weights_sha256 = str(state.backbone["weights_sha256"])
        detector.scorer.load_tensors(tensors_below(dict(state.tensors), "scorer."))
        detector.layer_choice = state.layer_choice
        detector._calibration = state.calibration
        detector._data = state.data
        return detector

    def save(self, path: str | Path) -> Path:
        """Write one `.safetensors` file, backbone included; raises AnomalibLiteError on failure."""
        return write_state(self.state(), path)

    @classmethod
    def load(cls, path: str | Path) -> Detector:
        """Read a file written by `save`; raises `ModelFileError` when it cannot be one."""
        state = read_state(path)
        with content_of(path):
            return cls.from_state(state)

    def export(self, path: str | Path) -> ExportReport:
        """Write a verified `.onnx` edge file.

        Raises:
            ExportError: the exported graph does not reproduce this detector; nothing is written.
        """
        state = self.state()
        try:
            from anomalib_lite.export import ExportState, export_onnx
        except ImportError as error:
            raise AnomalibLiteError(
                "export needs the package onnx; pip install 'anomalib-lite[train]'"
            ) from error
        return export_onnx(
            ExportState(
                fitted=self,
                network=self.graph.merged(),
                extras=(PRODUCT_SCORES,) if isinstance(self.scorer, PerProduct) else (),
                stores_half=self.scorer.stores_half,
                spec=self.spec,
                calibration=state.calibration,
                samples=state.data.samples,
                localises=self.localises,
                about=state.about(),
                title=f"{self.scorer.name} on {self.backbone.name}",
                seed=self.seed,
            ),
            path,
        )


def _as_spec(image_size: int | tuple[int, int] | InputSpec) -> InputSpec:
    if isinstance(image_size, InputSpec):
        return image_size
    if isinstance(image_size, int):
        return InputSpec(height=image_size, width=image_size)
    height, width = image_size
    return InputSpec(height=height, width=width)
