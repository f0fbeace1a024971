"""All figures of one run, from scored frames and streamed maps; what has no value has a reason."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anomalib_lite.data.adapters import loco
from anomalib_lite.data.masks import looks_inverted, read_mask_file
from anomalib_lite.edge.errors import FrameError, SourceError
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.evaluation.curves import Curve, pimo_curve, pro_curve
from anomalib_lite.evaluation.maps import MapStore, PixelView, TestFrame
from anomalib_lite.metrics import (
    MetricError,
    MetricWarning,
    au_spro,
    aupimo,
    auroc,
    average_precision,
    f1_max,
    load_defects_config,
    pixel_metrics,
    saturation_areas,
)
from anomalib_lite.metrics.regions import collect_components, overlap_area

AUPRO_LIMIT = 0.3
AU_SPRO_LIMIT = 0.05

IMAGE_METRICS = {
    "image_auroc": auroc,
    "image_average_precision": average_precision,
    "image_f1_max": f1_max,
}
PIXEL_METRICS = (
    "pixel_auroc",
    "pixel_average_precision",
    "pixel_f1_max",
    "aupro",
    "aupimo",
    "au_spro",
)
METRICS = (*IMAGE_METRICS, *PIXEL_METRICS)


@dataclass
class Figures:
    """Metrics of one set of frames.

    Attributes:
        values: a value for each name of `METRICS`, None where there is none.
        reasons: name -> why there is none.
        remarks: name -> what to keep in mind when quoting it.
        curves: thinned curves, `pro` and `pimo`.
        aupimo_per_frame: frame name -> its AUPIMO.
    """

    values: dict[str, float | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    aupimo_per_frame: dict[str, float] = field(default_factory=dict)

    def put(self, names: Sequence[str], compute: Callable[[], Sequence[float]]) -> None:
        """Take values, or the reason why there are none."""
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", MetricWarning)
                found: Sequence[float | None] = [float(value) for value in compute()]
        except (MetricError, FrameError, SourceError) as error:
            self.refuse(names, str(error))
            return
        self.values.update(zip(names, found, strict=True))
        for warning in caught:
            self.remarks.update(dict.fromkeys(names, str(warning.message)))

    def refuse(self, names: Sequence[str], reason: str) -> None:
        """Give none of these a value."""
        self.values.update(dict.fromkeys(names))
        self.reasons.update(dict.fromkeys(names, reason))

    def to_dict(self) -> dict[str, Any]:
        """Values, reasons and remarks in the order of `METRICS`, plain JSON types."""
        return {
            "metrics": {name: self.values[name] for name in METRICS},
            "reasons": {name: self.reasons[name] for name in METRICS if name in self.reasons},
            "remarks": {name: self.remarks[name] for name in METRICS if name in self.remarks},
        }


@dataclass(frozen=True, eq=False)
class Measured:
    """Scored frames and what is needed to measure them.

    Attributes:
        kind: kind of data set.
        source: the category's folder.
        frames: scored test frames in order.
        store: their maps.
        spec: the input declaration.
        no_pixel: why maps are not measured, or empty.
        at_frame: whether maps are measured at the frames' resolution.
    """

    kind: str
    source: Path
    frames: list[TestFrame]
    store: MapStore
    spec: InputSpec
    no_pixel: str = ""
    at_frame: bool = True
    unusable_masks: dict[str, str] = field(default_factory=dict)

    def families(self) -> dict[str, list[TestFrame]]:
        """LOCO's two families, each with all good frames; empty for other kinds."""
        if self.kind != "loco":
            return {}
        return {
            family: [frame for frame in self.frames if frame.sample.defect in ("good", family)]
            for family in (loco.LOGICAL, loco.STRUCTURAL)
        }


def measure(measured: Measured) -> tuple[Figures, dict[str, Figures]]:
    """Figures of a run, and for LOCO those of each family, of which the former are the mean."""
    families = {name: figures_of(measured, frames) for name, frames in measured.families().items()}
    return (_mean(families) if families else figures_of(measured, measured.frames)), families


def figures_of(measured: Measured, frames: Sequence[TestFrame]) -> Figures:
    """All metrics over some frames.

    Memory: one enlarged map, and what a metric holds (about 5 bytes a pixel of all frames).
    """
    figures = Figures()
    scores = [frame.score for frame in frames]
    labels = [frame.sample.label for frame in frames]
    for name, metric in IMAGE_METRICS.items():
        figures.put([name], lambda metric=metric: [metric(scores, labels)])  # type: ignore[misc]
    reason = (
        measured.no_pixel
        or _without_masks(frames)
        or _with_inverted_masks(frames, measured.unusable_masks)
    )
    if reason:
        figures.refuse(PIXEL_METRICS, reason)
        return figures
    view = PixelView(
        frames, measured.store, measured.spec, measured.at_frame, measured.unusable_masks
    )
    figures.put(PIXEL_METRICS[:3], lambda: _three_pixel_metrics(view))
    figures.put(["aupro"], lambda: [_aupro(view, figures)])
    figures.put(["aupimo"], lambda: [_aupimo(view, figures)])
    if measured.kind != "loco":
        figures.refuse(["au_spro"], "defined only for MVTec LOCO, which names saturation areas")
    elif not measured.at_frame:
        figures.refuse(["au_spro"], "saturation areas are in pixels of the original frames")
    else:
        figures.put(["au_spro"], lambda: [_au_spro(view, measured.source)])
    return figures


def _without_masks(frames: Sequence[TestFrame]) -> str:
    if any(frame.sample.mask_paths for frame in frames):
        return ""
    return "no test image has a mask"


def _with_inverted_masks(frames: Sequence[TestFrame], unusable: dict[str, str]) -> str:
    """Why the masks cannot be meant as they are; single odd ones are left to `datasets`."""
    doubts: dict[str, str] = {}
    read = 0
    for frame in frames:
        for path in frame.sample.mask_paths:
            try:
                doubt = looks_inverted(read_mask_file(path))
            except FrameError:
                continue  # told when the figures are made
            read += 1
            if doubt:
                doubts[frame.name] = doubt
    if not read or len(doubts) <= read / 2:
        return ""
    unusable.update(doubts)
    name, doubt = next(iter(doubts.items()))
    return f"{len(doubts)} of {read} masks look inverted: that of {name} {doubt}"


def _three_pixel_metrics(view: PixelView) -> list[float]:
    result = pixel_metrics(view.maps, view.masks, labels=view.labels)
    return [result.auroc, result.average_precision, result.f1.f1]


def _aupro(view: PixelView, figures: Figures) -> float:
    regions = collect_components(view.maps, view.masks, view.labels)
    area = overlap_area(regions, AUPRO_LIMIT)
    figures.curves["pro"] = pro_curve(regions, AUPRO_LIMIT)
    return area


def _aupimo(view: PixelView, figures: Figures) -> float:
    result = aupimo(view.maps, view.masks, labels=view.labels)
    names = [view.frames[int(index)].name for index in result.image_indices]
    figures.aupimo_per_frame = dict(zip(names, result.values.tolist(), strict=True))
    figures.curves["pimo"] = pimo_curve(view)
    return result.mean


def _au_spro(view: PixelView, source: Path) -> float:
    config = load_defects_config(loco.defects_config(source))
    known = [frame for frame in view.frames if frame.sample.mask_paths or not frame.sample.label]
    view = replace(view, frames=known)
    areas = [saturation_areas(channels, config) for channels in view.channels()]
    return au_spro(view.maps, view.channels(), areas, AU_SPRO_LIMIT)


def _mean(families: dict[str, Figures]) -> Figures:
    """Mean of the families, where every one of them has a value."""
    mean = Figures()
    for name in METRICS:
        missing = [family for family, figures in families.items() if figures.values[name] is None]
        if missing:
            mean.refuse([name], f"{missing[0]}: {families[missing[0]].reasons[name]}")
            continue
        values = [figures.values[name] or 0.0 for figures in families.values()]
        mean.values[name] = sum(values) / len(values)
        for family, figures in families.items():
            if name in figures.remarks:
                mean.remarks[name] = f"{family}: {figures.remarks[name]}"
    return mean
