"""`AnomalyEstimator`: a detector as scikit-learn holds it, for its pipelines and searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.exceptions import NotFittedError

from anomalib_lite.detector.detector import Detector
from anomalib_lite.edge.errors import FitError, FrameError
from anomalib_lite.edge.frame_like import ValueRange
from anomalib_lite.edge.measured import MeasuredSpec
from anomalib_lite.edge.predict import Unusable
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.source_kinds.items import as_items, is_number_list
from anomalib_lite.system.devices import AUTO

GOOD, ANOMALOUS = 1, -1
"""scikit-learn's labels of outlier detection."""


class ImagesError(FrameError, ValueError):
    """What was given as images cannot be used, or its labels cannot be read."""


class UnfittedError(FitError, NotFittedError):  # type: ignore[misc]
    """An estimator is used before `fit`."""


class AnomalyEstimator(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """A detector with scikit-learn's interface of outlier detection.

    Signs are scikit-learn's: `score_samples` and `decision_function` are the higher the *better*
    the part, and `predict` gives 1 for good and -1 for anomalous. A `Detector` counts the other way
    round: `score_samples(X) == -score`, and `decision_function(X) == threshold - score`, below zero
    exactly where `Prediction.is_anomalous`.

    Images are an array `(N, H, W)` or `(N, H, W, 1|3|4)`, or a list of whatever `Detector.predict`
    takes as a frame.

    Args:
        detector: name of the scorer; this and the following as for `Detector`.
        backbone: name of the feature extractor.
        layers: backbone layers.
        weights: a `.safetensors` file for the backbone.
        backbone_options: what the backbone declares, its `mean` and `std` too.
        image_size: side or `(height, width)` of the network's input, or an `InputSpec`.
        inputs: what is measured beside the picture, by name; images are then mappings.
        calibration: how good images are scored for the threshold.
        max_false_reject: share of good frames that may be rejected.
        seed: the one source of randomness.
        device: where torch computes.
        value_range: values of black and white where images are not `uint8` or `uint16`.
        settings: settings of the scorer, by name.

    Attributes:
        detector_: the fitted `Detector`: save, export, predict maps with it.
        offset_: `decision_function(X) = score_samples(X) - offset_`; minus the threshold.
    """

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
        device: str = AUTO,
        value_range: ValueRange | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.detector = detector
        self.backbone = backbone
        self.layers = layers
        self.weights = weights
        self.backbone_options = backbone_options
        self.image_size = image_size
        self.inputs = inputs
        self.calibration = calibration
        self.max_false_reject = max_false_reject
        self.seed = seed
        self.device = device
        self.value_range = value_range
        self.settings = settings

    @classmethod
    def from_detector(cls, detector: Detector, **parameters: Any) -> Self:
        """The estimator of a fitted detector, e.g. one that was loaded.

        Args:
            detector: fitted.
            parameters: of the constructor, beside what the detector says itself: `value_range`,
                `weights`.

        Raises:
            FitError: the detector is not fitted yet.
        """
        estimator = cls(
            detector.scorer.name,
            backbone=detector.backbone.name,
            layers=detector.backbone.settings()["layers"],
            backbone_options=detector.backbone.settings().get("options"),
            image_size=detector.spec,
            inputs=detector.measured or None,
            calibration=detector.calibration_method,
            max_false_reject=detector.calibration.max_false_reject,
            seed=detector.seed,
            settings=detector.scorer.settings(),
            **parameters,
        )
        return estimator._take(detector)

    def fit(
        self, X: Any, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Learn from good images.

        Args:
            X: images, see above.
            y: labels `(N,)`: images labelled 1 are learnt, those labelled -1 are left out, so that
                cross-validation over good and defective images fits on the good ones. None: all
                are good.
            sample_weight: how far each image counts `(N,)`, in [0, 1].

        Returns:
            self.

        Raises:
            FitError: too few usable images, and as `Detector.fit`.
            ImagesError: an image cannot be used, or a label is neither 1 nor -1.
            SettingsError: a parameter is unknown or out of range.
        """
        frames = self._frames(X)
        good = _good_images(y, len(frames))
        detector = Detector(
            self.detector,
            backbone=self.backbone,
            layers=self.layers,
            weights=self.weights,
            backbone_options=self.backbone_options,
            image_size=self.image_size,
            inputs=self.inputs,
            calibration=self.calibration,
            max_false_reject=self.max_false_reject,
            seed=self.seed,
            device=self.device,
            **dict(self.settings or {}),
        )
        weight = None if sample_weight is None else np.asarray(sample_weight, np.float64)[good]
        detector.fit(
            [frames[index] for index in good], sample_weight=weight, value_range=self.value_range
        )
        for name, reason in detector.data.skipped.items():
            raise ImagesError(f"{name}: {reason}")
        return self._take(detector)

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """How normal each image is `(N,)`: minus the raw score, higher = more normal.

        Raises:
            FitError: not fitted yet.
            ImagesError: an image cannot be used.
        """
        detector = self._fitted()
        found = detector.predict(list(self._frames(X)), value_range=self.value_range)
        for item in found:
            if isinstance(item, Unusable):
                raise ImagesError(f"{item.name}: {item.error}")
        return np.array([-item.score for item in found], np.float64)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Distance to the threshold `(N,)`: below zero = anomalous; errors as `score_samples`."""
        self._fitted()
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """1 for good, -1 for anomalous `(N,)`; errors as `score_samples`."""
        return np.where(self.decision_function(X) < 0, ANOMALOUS, GOOD)

    def _frames(self, X: Any) -> Sequence[Any]:
        """Images one by one; the one place that says what `X` may be."""
        if hasattr(X, "__array__"):
            array = np.asarray(X)
            if array.ndim not in (3, 4):
                raise ImagesError(
                    f"expected images (N, H, W) or (N, H, W, C), got an array {array.shape}; "
                    "reshape it, or give a list of frames"
                )
            return list(array)
        items = None if is_number_list(X) else as_items(X)
        if not isinstance(items, Sequence):
            raise ImagesError(
                f"expected images (N, H, W[, C]) or a list of frames, got {type(X).__name__}"
            )
        return items

    def _take(self, detector: Detector) -> Self:
        self.offset_ = -detector.threshold
        self.detector_ = detector
        return self

    def _fitted(self) -> Detector:
        if not self.__sklearn_is_fitted__():
            raise UnfittedError("this estimator is not fitted yet; call fit(X) first")
        return self.detector_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "detector_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags


def _good_images(y: ArrayLike | None, count: int) -> NDArray[np.int64]:
    """Places of the images that are learnt."""
    if y is None:
        return np.arange(count)
    labels = np.asarray(y)
    if labels.shape != (count,):
        raise ImagesError(f"y has shape {labels.shape}, expected one label for {count} images")
    foreign = [label for label in np.unique(labels) if label not in (GOOD, ANOMALOUS)]
    if foreign:
        raise ImagesError(
            f"y holds {foreign[0]}; labels are 1 (good, learnt) and -1 (anomalous, left out of the "
            "fit); map them, or leave y out where all images are good"
        )
    return np.flatnonzero(labels == GOOD)
