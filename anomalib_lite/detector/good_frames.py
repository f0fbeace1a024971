"""Good frames for an export in a lower precision: those that the file keeps, or a folder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.backbones import Backbone
from anomalib_lite.data.grouping import AUTO
from anomalib_lite.detector.chosen_frames import ChosenFrames
from anomalib_lite.detector.image_stream import ImageStream
from anomalib_lite.detector.independence import look_through
from anomalib_lite.detector.training_record import FittedData, ImageRecord, image_id
from anomalib_lite.edge.errors import SettingsError, telling_reasons
from anomalib_lite.edge.inputs import Inputs
from anomalib_lite.edge.sources import Source
from anomalib_lite.export.lowering import GoodFrame, GoodFrames
from anomalib_lite.statistics.spread import spread

_MOST = 1000
"""Frames of a folder that are used: 1,000 can promise 0.1 %."""


def kept_frames(data: FittedData, inputs: Inputs) -> GoodFrames:
    """The pictures that the detector file keeps, as the network saw them but for JPEG.

    Raises:
        SettingsError: it keeps none, or smaller ones than the network sees.
    """
    records = _by_id(data)
    size_hw = inputs.frames.size_hw
    frames = []
    for image in data.gallery.images[:: max(1, -(-len(data.gallery.images) // _MOST))]:
        picture = image.picture()
        if picture is None or picture.shape[:2] != size_hw:
            continue
        frames.append(_frame(picture, records.get(image_id(image.id)), f"new {image.id}"))
    if not frames:
        raise SettingsError(
            "a lower precision is chosen, judged and calibrated on good frames, and this detector "
            f"keeps none of {size_hw[0]}x{size_hw[1]} pixels; give a folder of them with --frames: "
            "that of the fit, or better one that the fit has not seen"
        )
    return _described(frames)


def frames_of(source: Source, data: FittedData, backbone: Backbone, inputs: Inputs) -> GoodFrames:
    """The frames of a source, at most 1,000 spread over it; which of them the fit has learnt.

    Raises:
        FitError: no usable frame.
    """
    stream = ImageStream(source, backbone, inputs)
    if len(stream) > _MOST:
        chosen = ChosenFrames(source, spread(len(stream), _MOST))
        stream = ImageStream(chosen, backbone, inputs)
    records = _by_id(data)
    with telling_reasons(stream.skipped):
        found = look_through(stream, AUTO, fewest=1)
    known = {
        index: records[image_id(digest)]
        for index, digest in stream.fingerprints.items()
        if image_id(digest) in records
    }
    # A further picture of a learnt part is no news to the model.
    learnt = {int(found.origins[i]): record for i, record in known.items() if record.learnt}
    kept = set(found.kept.tolist())
    frames = []
    for index, prepared in stream.prepared():
        if index not in kept:
            continue
        frame = _frame(np.asarray(prepared), known.get(index), f"new {found.origins[index]}")
        of_part = learnt.get(int(found.origins[index]))
        if of_part is not None and index not in known:
            frame = replace(frame, shows=of_part.shows, learnt=True)
        frames.append(frame)
    return _described(frames, source.name)


def _frame(pixels: NDArray[np.uint8], record: ImageRecord | None, otherwise: str) -> GoodFrame:
    if record is None:
        return GoodFrame(pixels, otherwise, learnt=False)
    return GoodFrame(pixels, record.shows, record.learnt)


def _by_id(data: FittedData) -> dict[str, ImageRecord]:
    return {record.id: record for record in data.records}


def _described(frames: list[GoodFrame], name: str = "") -> GoodFrames:
    unseen = sum(not frame.learnt for frame in frames)
    short = name.rstrip("/\\").replace("\\", "/").split("/")[-1]
    where = f"in {short}" if name else "that the detector keeps"
    words = f"{len(frames)} good frames {where}, {unseen} of them not learnt"
    return GoodFrames(tuple(frames), words)
