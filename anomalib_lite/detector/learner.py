"""How a detector learns: from good images, from more of them, and by taking some out again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_lite.data.grouping import AUTO
from anomalib_lite.detector.chosen_frames import ChosenFrames
from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.detector.incremental import forget_images, learn_more
from anomalib_lite.detector.independence import GroupBy, Independence, look_through
from anomalib_lite.detector.out_of_fold import calibrate, checked_sample_weight
from anomalib_lite.detector.predictor import Predictor
from anomalib_lite.detector.products import ProductSource, check_labels, product_indices
from anomalib_lite.detector.thumbnails import Gallery, GalleryBuilder
from anomalib_lite.detector.training_record import FittedData, gallery_of, record_images
from anomalib_lite.edge.errors import FitError, SourceError, telling_reasons
from anomalib_lite.edge.footprint import kept_for_reuse
from anomalib_lite.edge.frame_like import ValueRange
from anomalib_lite.edge.promise import OUT_OF_FOLD
from anomalib_lite.edge.source_kinds.items import FramesLike, open_frames
from anomalib_lite.edge.sources import refuse_defects, require_good
from anomalib_lite.scorers import Explain, FitContext, Progress
from anomalib_lite.scorers.base import no_progress
from anomalib_lite.system.memory import require_memory


class Learner(Predictor):
    """The half of `Detector` that learns: sets `calibration` and `data`.

    Attributes:
        independence: which images of the last fit were found to be independent; None for a loaded
            detector (its `data` says how many).
    """

    independence: Independence | None = None

    def fit(
        self,
        source: FramesLike,
        *,
        sample_weight: Sequence[float] | NDArray[np.float64] | None = None,
        progress: Progress = no_progress,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        value_range: ValueRange | None = None,
        group_by: GroupBy = AUTO,
    ) -> Self:
        """Learn from good images and calibrate on good images the scored model has not seen.

        With a checkpoint folder, a scorer that trains by steps ends early at the first Ctrl-C; what
        it has learnt is then calibrated as usual (`scorer.stopped_early`).

        Args:
            source: folder, glob, video, or a list of frames (see `predict`); good parts only.
            sample_weight: how far each image counts, in [0, 1], in the order of the source; the
                threshold takes all alike.
            progress: called with stage, images done, images in total.
            checkpoint: folder where training leaves its state every two minutes.
            resume: continue from what is in that folder.
            value_range: as for `predict`.
            group_by: which images show one part and are learnt, or judged, together: a rule
                (`auto`, `none`, `folder`, `block:25`, a pattern of the names, a `.csv` file), or a
                name for each image of the source. Exact copies count once in any case.

        Returns:
            self.

        Raises:
            FitError: too few usable images, features that are not finite, too little memory.
            SettingsError: sample weights or groups that do not fit, or a scorer that takes none.
            SourceError: nothing to read, or a folder whose name says that it holds defects.
        """
        smaller = " or ".join(("image size", "backbone", *self.scorer.memory_settings))
        require_memory(self.memory_bytes(), "the fit", f"a smaller {smaller}")
        # A fit that fails half-way must not leave an old threshold on a new model.
        self._calibration = self._data = None
        self.spec = self.spec.fitted_on(aspect=None, coloured=False, monochrome=False)
        self.independence = None
        stream = self._stream(source, value_range)
        refuse_defects(stream.source)
        weights = checked_sample_weight(self.scorer, sample_weight, len(stream))
        labels = product_indices(self.scorer, stream.source)
        with telling_reasons(stream.skipped):
            found = look_through(stream, group_by)
        products = stream.source.products if isinstance(stream.source, ProductSource) else ()
        check_labels(stream.fingerprints, stream.names, labels, products)
        if len(found.kept) == 1 < len(stream.fingerprints):
            raise FitError(
                f"all {len(stream.fingerprints)} good images are the same picture; give different "
                "photographs"
            )
        name = stream.source.name
        if found.copies:
            chosen, found = found.without_copies()
            stream = self._stream(ChosenFrames(stream.source, chosen))
            stream.look()
            weights = None if weights is None else weights[chosen]
            labels = None if labels is None else labels[chosen]
        stream.sample_weight, stream.labels = weights, labels
        with torch.no_grad(), kept_for_reuse(), telling_reasons(stream.skipped):
            calibration, held_out = calibrate(
                self.scorer,
                stream,
                FitContext(
                    seed=self.seed,
                    progress=progress,
                    checkpoint=None if checkpoint is None else Path(checkpoint),
                    resume=resume,
                    origins=found.origins,
                ),
                method=self.calibration_method,
                max_false_reject=self.max_false_reject,
                labels=stream.labels,
            )
        self.spec = stream.looks.declared(self.spec)
        self._calibration, self.independence = calibration, found
        learnt = calibration.method.startswith(OUT_OF_FOLD)
        self._data = FittedData(
            source=name,
            records=record_images(stream, held_out, held_out_is_learnt=learnt, independence=found),
            skipped=dict(stream.skipped),
            frame_hw=stream.looks.frame_hw,
            samples=tuple(stream.samples),
            gallery=gallery_of(stream, Gallery()),
            copies=dict(found.copies),
            hints=stream.looks.hints(self.spec),
        )
        return self

    def partial_fit(
        self,
        source: FramesLike,
        *,
        progress: Progress = no_progress,
        value_range: ValueRange | None = None,
        group_by: GroupBy = AUTO,
    ) -> Self:
        """Learn more good images without the earlier ones; the threshold takes them in.

        Args as for `fit`.

        Raises:
            SettingsError: this kind of detector cannot, or groups that do not fit.
            FitError: not fitted yet, or no usable image.
        """
        context = FitContext(seed=self.seed, progress=progress)
        data = self.data
        stream = self._stream(source, value_range)
        with telling_reasons(stream.skipped):
            found = look_through(stream, group_by, fewest=1)
            return self._take(learn_more(self.scorer, data, stream, context, found))

    def forget(
        self,
        source: FramesLike,
        *,
        progress: Progress = no_progress,
        value_range: ValueRange | None = None,
    ) -> Self:
        """Take images out again, and their scores out of the threshold.

        Raises:
            SettingsError: this kind of detector cannot.
            FitError: an image was never fitted, or too few would remain; nothing has changed.
        """
        context = FitContext(seed=self.seed, progress=progress)
        data = self.data
        stream = self._stream(source, value_range)
        with telling_reasons(stream.skipped):
            return self._take(forget_images(self.scorer, data, stream, context))

    def _stream(self, source: FramesLike, value_range: ValueRange | None = None) -> ImageStream:
        if isinstance(source, Iterator):
            raise SourceError(
                f"a {type(source).__name__} can be read once, and a fit reads its images several "
                "times; give list(frames), or a folder"
            )
        opened = require_good(open_frames(source, self.inputs, value_range))
        stream = ImageStream(opened, self.backbone, self.inputs)
        if self.scorer.can(Explain):
            stream.gallery = GalleryBuilder()
        return stream

    def _take(self, data: FittedData) -> Self:
        before = self.calibration
        after = data.calibration(self.max_false_reject, before.method)
        self._calibration = replace(after, doubtful=before.doubtful)
        self._data = data
        return self

    def recalibrate(self, max_false_reject: float) -> Self:
        """Take the threshold for another false-reject rate from the same held-out scores."""
        self._calibration = self.calibration.with_rate(max_false_reject)
        self.max_false_reject = self._calibration.max_false_reject
        return self
