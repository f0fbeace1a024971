"""AU-sPRO, the pixel metric of MVTec LOCO: overlap that saturates at a required area."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomalib_lite.metrics.buffers import GrowingArray, require_both
from anomalib_lite.metrics.errors import MetricError
from anomalib_lite.metrics.inputs import (
    Bools,
    Floats,
    Images,
    as_fraction,
    as_map,
    as_mask,
    open_images,
    paired,
)
from anomalib_lite.metrics.regions import ProCurve, Regions, overlap_area, overlap_curve


@dataclass(frozen=True, slots=True)
class SaturationRule:
    """How much of a defect of this type has to be found: `threshold` pixels, or a share of it."""

    defect_name: str
    threshold: float
    relative: bool

    def area(self, defect_px: int) -> int:
        """Return the saturation area in pixels for a defect of `defect_px` pixels."""
        return (
            int(self.threshold * defect_px)
            if self.relative
            else min(int(self.threshold), defect_px)
        )


def load_defects_config(path: str | Path) -> dict[int, SaturationRule]:
    """Read a LOCO category's `defects_config.json`: pixel value in the masks -> rule.

    Raises:
        MetricError: the file cannot be read or an entry lacks a field.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
        return {
            int(entry["pixel_value"]): SaturationRule(
                str(entry["defect_name"]),
                float(entry["saturation_threshold"]),
                bool(entry["relative_saturation"]),
            )
            for entry in entries
        }
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise MetricError(f"{path} is not a LOCO defects_config.json: {error!r}") from error


def saturation_areas(
    channels: Iterable[ArrayLike], config: Mapping[int, SaturationRule]
) -> list[int]:
    """Saturation areas in pixels of one image's channels, from the value that each carries.

    Args:
        channels: masks `(H, W)` at the original resolution, as read from the PNG files: 0 and one
            other value that names the defect type.
        config: rules by pixel value, from `load_defects_config`.

    Raises:
        MetricError: a channel is empty, holds several values, or a value without a rule.
    """
    areas = []
    for index, channel in enumerate(channels):
        values, counts = np.unique(np.asarray(channel), return_counts=True)
        marked = values != 0
        if marked.sum() != 1:
            raise MetricError(f"channel {index} holds values {values.tolist()}; expected 0 and one")
        value = int(values[marked][0])
        if value not in config:
            raise MetricError(f"channel {index} has value {value}, which the config does not name")
        areas.append(config[value].area(int(counts[marked][0])))
    return areas


def au_spro(
    maps: Images,
    channels: Iterable[Sequence[NDArray[Any]]],
    saturations: Iterable[Sequence[int]],
    fpr_limit: float = 0.05,
) -> float:
    """Normalised area under the saturated-overlap curve up to `fpr_limit`; exact, 0 to 1.

    Bergmann et al., IJCV 2022: a channel's overlap is min(found pixels / saturation area, 1), the
    curve is its mean over all channels of all images, and the false-positive rate counts pixels
    in no channel of their image. Channels may overlap and are not split into components. The
    official script samples the curve at adaptive thresholds (steps below 0.001); here the curve is
    exact. Call it once with good + logical and once with good + structural images and average:
    pooling both is another number.

    Args:
        maps: anomaly maps, one `(H, W)` an image, at the masks' original resolution.
        channels: for each image its channels, masks `(H, W)`, any value above 0 is the defect;
            an empty list for a good image.
        saturations: for each image the saturation area in pixels of each channel, as from
            `saturation_areas`.
        fpr_limit: upper end of the false-positive rate, in (0, 1]; 0.05 is the headline.

    Raises:
        MetricError: counts or shapes differ, a map is not finite, a channel is empty, a
            saturation area is not between 1 and the channel's area, or a class is missing.
    """
    limit = as_fraction(fpr_limit, "fpr_limit")
    return overlap_area(_collect_channels(maps, channels, saturations), limit)


def spro_curve(
    maps: Images,
    channels: Iterable[Sequence[NDArray[Any]]],
    saturations: Iterable[Sequence[int]],
    fpr_limit: float = 1.0,
) -> ProCurve:
    """Every point of the saturated-overlap curve, for plots. Arguments and errors as `au_spro`."""
    limit = as_fraction(fpr_limit, "fpr_limit")
    return overlap_curve(_collect_channels(maps, channels, saturations), limit)


def _collect_channels(
    maps: Images,
    channels: Iterable[Sequence[NDArray[Any]]],
    saturations: Iterable[Sequence[int]],
) -> Regions:
    good, scores, region = GrowingArray(), GrowingArray(), GrowingArray(np.int32)
    sizes: list[int] = []
    truth = paired(channels, saturations, "saturations")
    for index, (one, (masks, areas)) in enumerate(paired(open_images(maps), truth, "channels")):
        floats = as_map(one, index)
        if len(masks) != len(areas):
            raise MetricError(f"image {index} has {len(masks)} channels, {len(areas)} saturations")
        free = np.ones(floats.shape, dtype=np.bool_)
        for place, (mask, area) in enumerate(zip(masks, areas, strict=True)):
            defects = as_mask(mask, f"channel {place} of image {index}")
            top = _saturating_scores(floats, defects, area, f"channel {place} of image {index}")
            scores.append(top)
            region.append(np.full(top.size, len(sizes), dtype=np.int32))
            sizes.append(top.size)
            free &= ~defects
        good.append(floats[free])
    found, defect_free = require_both(scores.take(), good.take())
    return Regions(defect_free, found, region.take(), np.asarray(sizes, dtype=np.int64))


def _saturating_scores(floats: Floats, defects: Bools, area: int, name: str) -> Floats:
    """Return the channel's `area` highest scores: only they can raise min(found / area, 1)."""
    if defects.shape != floats.shape:
        raise MetricError(f"{name} has shape {defects.shape}, its map {floats.shape}")
    inside = floats[defects]
    if not inside.size:
        raise MetricError(f"{name} is empty; leave it out or mark its defect")
    if area != int(area) or not 1 <= area <= inside.size:
        raise MetricError(
            f"{name} has saturation area {area}; expected whole pixels from 1 to {inside.size}"
        )
    inside.partition(inside.size - int(area))
    return inside[inside.size - int(area) :]
