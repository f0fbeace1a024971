"""From a source of images to a stream of prepared frames, whose features are one call away."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_lite.backbones import Backbone, Features
from anomalib_lite.backbones.base import require_finite
from anomalib_lite.detector.frame_looks import FrameLooks
from anomalib_lite.detector.prepared_frames import PreparedFrames, prepared_bytes
from anomalib_lite.detector.thumbnails import GalleryBuilder, GoodImage, name_below
from anomalib_lite.edge.errors import FitError, FrameError, SourceError
from anomalib_lite.edge.inputs import (
    FRAMES,
    Inputs,
    Prepared,
    View,
    picture_of,
    prepare_view,
    shrink_view,
    stacked,
)
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.sources import Job, Source, read_ahead
from anomalib_lite.scorers import FrameBatch
from anomalib_lite.statistics.near_copies import MOST_IMAGES, small_pictures
from anomalib_lite.system.devices import put_inputs
from anomalib_lite.system.spill import temporary_room

BATCH_SIZE = 4
_SAMPLES = 2
_SAMPLE_SIDE = 320
_READY_BYTES = 128 << 20


def require_rereadable(source: Source) -> None:
    """Raise `SourceError` for a source that delivers its frames once."""
    if not source.rereadable:
        raise SourceError(
            f"{source.name}: a live source cannot be read twice; record the frames to a folder "
            "or a video first"
        )


class ImageStream:
    """The images of a source, batch by batch; implements `scorers.FeatureStream`.

    At most a few batches of frames are in memory at any time. Images that cannot be used are left
    out and remembered in `skipped`.

    Args:
        source: what to read; must be re-readable.
        backbone: the frozen feature extractor.
        spec: the preparation of the picture, or of all inputs.
        indices: which images of the source, ascending; None takes all.

    Attributes:
        sample_weight: how far each image of the source counts, float64 by its index; None: all in
            full. Who opens a stream may set it.
        labels: what is known of each image of the source, int64 by its index; None: nothing.
        skipped: image name -> why it was left out.
        fingerprints: image index -> sha256 of its prepared pixels.
        samples: the first usable raw frames (shrunk when larger than 320 px: they travel
            inside the files).
        names: image index -> its name below the source.
        looks: what was noticed about the frames.
        pictures: image index -> its pictures for `statistics.near_copies`, if asked for.
        gallery: collects small pictures of the good images, if anybody asked for them.
    """

    def __init__(
        self,
        source: Source,
        backbone: Backbone,
        spec: InputSpec | Inputs,
        *,
        indices: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> None:
        require_rereadable(source)
        self.source = source
        self.backbone = backbone
        self.inputs = spec if isinstance(spec, Inputs) else Inputs(spec)
        self.spec = self.inputs.frames
        self.layout = backbone.layout(self.spec.size_hw, self.spec.roi)
        self.skipped: dict[str, str] = {}
        self.fingerprints: dict[int, str] = {}
        self.sample_weight: NDArray[np.float64] | None = None
        self.labels: NDArray[np.int64] | None = None
        self.samples: list[View] = []
        self.names: dict[int, str] = {}
        self.pictures: dict[int, NDArray[np.uint8]] = {}
        self.gallery: GalleryBuilder | None = None
        self._wants_pictures = False
        self._ready: Mapping[int, Prepared] | None = None
        self.looks = FrameLooks()
        # A container may misstate its number of frames: count what is delivered.
        self._total = sum(1 for _ in source.jobs()) if indices is None else len(indices)
        self.size = self._total
        self._chosen = None if indices is None else frozenset(int(index) for index in indices)
        self._kept: PreparedFrames | None = None

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[FrameBatch]:
        indices: list[int] = []
        frames: list[Prepared] = []
        for index, prepared in self.prepared():
            indices.append(index)
            frames.append(prepared)
            if len(frames) == BATCH_SIZE:
                yield self._batch(indices, frames)
                indices, frames = [], []
        if frames:
            yield self._batch(indices, frames)

    def batches(self, batch_size: int, order: Iterable[int] | None = None) -> Iterator[FrameBatch]:
        """Batches in any order of image indices; see `scorers.FeatureStream`.

        The images are decoded and prepared once, on the first call, and kept (`PreparedFrames`).

        Raises:
            FitError: the prepared frames fit neither in memory nor on the disk.
        """
        if self._kept is None:
            self._kept = (
                self._ready
                if isinstance(self._ready, PreparedFrames)
                else PreparedFrames(self.prepared(), len(self), self.inputs)
            )
        kept = self._kept
        chosen: list[int] = []
        for index in kept.indices if order is None else order:
            if index in kept and (self._chosen is None or index in self._chosen):
                chosen.append(index)
            if len(chosen) == batch_size:
                yield self._batch(chosen, [kept[item] for item in chosen])
                chosen = []
        if chosen:
            yield self._batch(chosen, [kept[item] for item in chosen])

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> ImageStream:
        """The same stream limited to some images; what was skipped stays in one list."""
        narrowed = ImageStream(self.source, self.backbone, self.inputs, indices=indices)
        narrowed.sample_weight, narrowed.labels = self.sample_weight, self.labels
        narrowed.skipped = self.skipped
        narrowed.fingerprints, narrowed.names = self.fingerprints, self.names
        narrowed.pictures, narrowed._ready, narrowed.size = self.pictures, self._ready, self.size
        narrowed.samples = self.samples
        narrowed.gallery = self.gallery
        narrowed.looks = self.looks
        return narrowed

    def look(self, *, pictures: bool = False) -> None:
        """Read all images once; they stay prepared for the passes that follow.

        Small sets in memory, others in a temporary file where there is room for one.

        Args:
            pictures: keep small pictures of them.
        """
        self._wants_pictures = pictures
        self._ready = self._read_once()
        self._wants_pictures = False

    def _read_once(self) -> Mapping[int, Prepared] | None:
        size = len(self) * prepared_bytes(self.inputs)
        if size <= _READY_BYTES:
            return dict(self.prepared())
        if temporary_room(size):
            with suppress(FitError):  # another program may have filled the disk meanwhile
                return PreparedFrames(self.prepared(), len(self), self.inputs, memory=0)
        for _ in self.prepared():
            pass
        return None

    def features(self, prepared: Tensor | Mapping[str, Tensor]) -> Features:
        """Normalisation and backbone; see `scorers.FeatureStream`."""
        with torch.no_grad():
            features = self.backbone.read(put_inputs(prepared, self.backbone.device))
        require_finite(features.maps, self.backbone)
        return features

    def _batch(self, indices: list[int], prepared: list[Prepared]) -> FrameBatch:
        chosen = np.array(indices, np.int64)
        weights = None if self.sample_weight is None else self.sample_weight[chosen]
        together = stacked(prepared)
        named = together if isinstance(together, Mapping) else {FRAMES: together}
        device = self.backbone.device
        tensors = {name: torch.from_numpy(values).to(device) for name, values in named.items()}
        return FrameBatch(
            tensors.pop(FRAMES),
            chosen,
            self.features,
            measured=tensors,
            sample_weight=None if weights is None or bool((weights == 1).all()) else weights,
            labels=None if self.labels is None else self.labels[chosen],
        )

    def prepared(self) -> Iterator[tuple[int, Prepared]]:
        """Usable prepared frames, or views by name, in order, decoded ahead by worker threads."""
        chosen = self._chosen
        if self._ready is not None:
            yield from (
                (index, prepared)
                for index, prepared in self._ready.items()
                if chosen is None or index in chosen
            )
            return
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
            view, prepared, digest = result
            index = indices[position]
            if index not in self.fingerprints:
                self.fingerprints[index] = digest
                self.names[index] = name_below(name, self.source.name)
                frame = picture_of(view, self.inputs)
                if self._wants_pictures and len(self.pictures) <= MOST_IMAGES:
                    self.pictures[index] = small_pictures(frame, self.spec.bit_depth)
                self.looks.add(index, self.names[index], frame)
                if len(self.samples) < _SAMPLES:
                    self.samples.append(shrink_view(view, _SAMPLE_SIDE))
                if self.gallery is not None:
                    size_hw = (frame.shape[0], frame.shape[1])
                    picture = prepared[FRAMES] if isinstance(prepared, Mapping) else prepared
                    found = GoodImage(index, digest, self.names[index], size_hw, b"")
                    self.gallery.add(found, picture)
            yield index, prepared

    def _prepare(self, view: View) -> tuple[View, Prepared, str]:
        prepared = prepare_view(view, self.inputs)
        return view, prepared, fingerprint(prepared)


def fingerprint(prepared: Prepared) -> str:
    """sha256 of an image's prepared pixels and of what is measured beside it, hexadecimal."""
    if not isinstance(prepared, Mapping):
        return hashlib.sha256(prepared.tobytes()).hexdigest()
    digest = hashlib.sha256()
    for name, values in prepared.items():
        digest.update(f"{name} {values.shape} ".encode() + values.tobytes())
    return digest.hexdigest()
