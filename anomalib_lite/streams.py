"""From a source of images to a stream of features: decode ahead, prepare, one backbone pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_lite.backbones import Backbone
from anomalib_lite.edge.errors import FitError, FrameError, SourceError
from anomalib_lite.edge.frames import Frame
from anomalib_lite.edge.prepare import InputSpec, prepare, shrink
from anomalib_lite.edge.sources import Job, Source, read_ahead
from anomalib_lite.scorers import FeatureBatch

BATCH_SIZE = 16
_SAMPLES = 2
_SAMPLE_SIDE = 320
_SAME_ASPECT = 1.02


class ChosenFrames:
    """Some frames of a source, as a source.

    Args:
        source: what to choose from.
        indices: which of its frames; they keep their order in the source.
    """

    def __init__(self, source: Source, indices: Iterable[int]) -> None:
        self._source = source
        self._chosen = frozenset(int(index) for index in indices)

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def rereadable(self) -> bool:
        return self._source.rereadable

    def __len__(self) -> int:
        return len(self._chosen)

    def jobs(self) -> Iterator[Job]:
        for index, job in enumerate(self._source.jobs()):
            if index in self._chosen:
                yield job


class ImageStream:
    """Features of a source, batch by batch; implements `scorers.FeatureStream`.

    At most a few batches of frames are in memory at any time. Images that cannot be used are left
    out and remembered in `skipped`.

    Args:
        source: what to read; must be re-readable.
        backbone: the frozen feature extractor.
        spec: the preparation.
        indices: which images of the source, ascending; None takes all.

    Attributes:
        skipped: image name -> why it was left out.
        fingerprints: image index -> sha256 of its prepared pixels.
        samples: the first usable raw frames (shrunk when larger than 320 px: they travel
            inside the files).
    """

    def __init__(
        self,
        source: Source,
        backbone: Backbone,
        spec: InputSpec,
        *,
        indices: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> None:
        if not source.rereadable:
            raise SourceError(
                f"{source.name}: a live source cannot be read twice; record the frames to a folder "
                "or a video first"
            )
        self.source = source
        self.backbone = backbone
        self.spec = spec
        self.layout = backbone.layout(spec.size_hw, spec.roi)
        self.skipped: dict[str, str] = {}
        self.fingerprints: dict[int, str] = {}
        self.samples: list[Frame] = []
        self._frame_sizes: dict[tuple[int, int], None] = {}
        # A container may misstate its number of frames: count what is delivered.
        self._total = sum(1 for _ in source.jobs()) if indices is None else len(indices)
        self._chosen = None if indices is None else frozenset(int(index) for index in indices)

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[FeatureBatch]:
        indices: list[int] = []
        frames: list[NDArray[np.uint8]] = []
        for index, prepared in self.prepared():
            indices.append(index)
            frames.append(prepared)
            if len(frames) == BATCH_SIZE:
                yield self._features(indices, frames)
                indices, frames = [], []
        if frames:
            yield self._features(indices, frames)

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> ImageStream:
        """The same stream limited to some images; what was skipped stays in one list."""
        narrowed = ImageStream(self.source, self.backbone, self.spec, indices=indices)
        narrowed.skipped = self.skipped
        narrowed.fingerprints = self.fingerprints
        narrowed.samples = self.samples
        narrowed._frame_sizes = self._frame_sizes
        return narrowed

    @property
    def frame_hw(self) -> tuple[int, int]:
        """Size of the first usable frame, pixels."""
        return next(iter(self._frame_sizes), (0, 0))

    @property
    def aspect(self) -> float | None:
        """Width / height of the frames when they all share one, within 2 %; else None."""
        aspects = [columns / rows for rows, columns in self._frame_sizes]
        if not aspects or max(aspects) > _SAME_ASPECT * min(aspects):
            return None
        return round(aspects[0], 4)

    def _features(self, indices: list[int], frames: list[NDArray[np.uint8]]) -> FeatureBatch:
        with torch.no_grad():
            pixels = self.backbone.normalise(torch.from_numpy(np.stack(frames)))
            features = self.backbone(pixels)
        for name, maps in features.maps.items():
            if not bool(torch.isfinite(maps.sum())):
                raise FitError(
                    f"layer {name} of {self.backbone.name} gives NaN or infinity; the weights "
                    "are damaged or belong to another network"
                )
        return FeatureBatch(features, np.array(indices, np.int64))

    def prepared(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Usable prepared frames in order, decoded ahead by worker threads."""
        chosen = self._chosen
        indices: list[int] = []

        def jobs() -> Iterator[Job]:
            for index, job in enumerate(self.source.jobs()):
                if chosen is None or index in chosen:
                    indices.append(index)
                    yield job

        results = read_ahead(jobs(), self._prepare, ahead=2 * BATCH_SIZE)
        for position, (name, result) in enumerate(results):
            if isinstance(result, FrameError):
                self.skipped[name] = str(result).removeprefix(f"{name}: ")
                continue
            frame, prepared, digest = result
            index = indices[position]
            if index not in self.fingerprints:
                self.fingerprints[index] = digest
                self._frame_sizes[frame.shape[0], frame.shape[1]] = None
                if len(self.samples) < _SAMPLES:
                    self.samples.append(shrink(frame, _SAMPLE_SIDE).copy())
            yield index, prepared

    def _prepare(self, frame: Frame) -> tuple[Frame, NDArray[np.uint8], str]:
        prepared = prepare(frame, self.spec)
        return frame, prepared, hashlib.sha256(prepared.tobytes()).hexdigest()
