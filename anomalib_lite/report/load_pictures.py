"""Pictures of the worst frames of a run, from the data set they were scored in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_lite.data.adapters import open_dataset
from anomalib_lite.edge.colour_scale import ColourScale
from anomalib_lite.edge.errors import AnomalibLiteError, FrameError
from anomalib_lite.edge.frames import Frame, read_frame
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.report.data import Example, Part
from anomalib_lite.report.pictures import make_picture

_MOST_EXAMPLES = 12


@dataclass(frozen=True, eq=False)
class WorstMaps:
    """Network maps of the frames to look at.

    Attributes:
        frame_index: place among the scored frames `(n,)`, worst first.
        is_miss: True for anomalous frames, False for good ones `(n,)`.
        maps: float32 `(n, h, w)`.
    """

    frame_index: NDArray[np.int64]
    is_miss: NDArray[np.bool_]
    maps: NDArray[np.float32]


def worst_examples(
    record: Mapping[str, Any],
    parts: Sequence[Part],
    worst: WorstMaps | None,
    colours: ColourScale,
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Good parts with the highest scores, and anomalous parts with the lowest.

    Without stored maps the frames are shown plain. A frame that cannot be read has no picture.
    """
    spec = InputSpec.from_dict(record["input_spec"])
    masks = _mask_paths(record)
    lists: tuple[list[Example], list[Example]] = ([], [])
    for index, is_miss, network_map in _chosen(parts, worst):
        examples = lists[int(is_miss)]
        if len(examples) < _MOST_EXAMPLES:
            path = Path(str(record["root"]), parts[index].frame)
            examples.append(_example(parts[index], path, network_map, spec, colours, masks))
    return tuple(lists[0]), tuple(lists[1])


def _chosen(
    parts: Sequence[Part], worst: WorstMaps | None
) -> list[tuple[int, bool, NDArray[np.float32] | None]]:
    if worst is not None:
        places = zip(worst.frame_index, worst.is_miss, worst.maps, strict=True)
        return [(int(index), bool(miss), each) for index, miss, each in places]
    order = sorted(range(len(parts)), key=lambda index: parts[index].score)
    missed = [(index, True, None) for index in order if parts[index].label]
    return [*((i, False, None) for i in reversed(order) if not parts[i].label), *missed]


def _example(
    part: Part,
    path: Path,
    network_map: NDArray[np.float32] | None,
    spec: InputSpec,
    colours: ColourScale,
    masks: Mapping[Path, Sequence[Path]],
) -> Example:
    try:
        frame = read_frame(path, exif=spec.exif)
    except FrameError:
        return Example(part, None)
    mask = _union(masks.get(path.resolve(), ()), frame)
    picture = make_picture(frame, network_map, spec=spec, colours=colours, mask=mask)
    return Example(part, picture, outlined=mask is not None and picture.heat is not None)


def _union(paths: Sequence[Path], frame: Frame) -> NDArray[np.bool_] | None:
    """The labelled defect `(H, W)`, or None where no mask fits the frame."""
    union = np.zeros(frame.shape[:2], np.bool_)
    for path in paths:
        try:
            mask = read_frame(path)
        except FrameError:
            continue
        flat = mask if mask.ndim == 2 else mask[:, :, :3].max(axis=2)
        if flat.shape == union.shape:
            union |= flat > 0
    return union if union.any() else None


def _mask_paths(record: Mapping[str, Any]) -> dict[Path, tuple[Path, ...]]:
    """Masks of the category by frame; empty when the data set is no longer there."""
    try:
        dataset = open_dataset(f"{record['kind']}:{record['root']}")
        samples = dataset.samples(category=str(record["category"]))
    except AnomalibLiteError:
        return {}
    return {sample.path.resolve(): sample.mask_paths for sample in samples if sample.mask_paths}
