"""Two sampled PROs that papers print as "AUPRO"; here only to compare with such a paper.

Neither is `aupro`: the first changes when scores are stretched, the second samples about thirty
points of the curve. Quote them under these names.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from anomalib_lite.metrics.errors import MetricError
from anomalib_lite.metrics.fpr_axis import Rates
from anomalib_lite.metrics.inputs import Floats, Images, as_fraction
from anomalib_lite.metrics.regions import collect_components, mean_overlap


def pro_linear_thresholds(
    maps: Images,
    masks: Images,
    num_thresholds: int = 200,
    rescale: Literal["minmax", "max"] = "minmax",
    fpr_limit: float = 0.3,
    *,
    labels: ArrayLike | None = None,
) -> float:
    """The PRO of CFLOW-style scripts: thresholds at equal steps of *score*.

    Thresholds run from the lowest score in steps of range/num_thresholds, flagged = above. Points
    with a rate below `fpr_limit` are kept, their rates stretched to 1 and the trapezoid taken.
    Nothing is interpolated at the limit, so a long tail of scores moves the effective limit.

    Args:
        maps: as `aupro`.
        masks: as `aupro`.
        num_thresholds: 200 in most scripts, 800 in UniNet.
        rescale: "minmax" = (x − min) / (max − min), as MuSc and FiLo; "max" = x / max, as reverse
            distillation and Dinomaly.
        fpr_limit: rates at or above it are dropped, in (0, 1].
        labels: as `aupro`.

    Raises:
        MetricError: as `aupro`, and when fewer than two points lie below the limit.
    """
    limit = as_fraction(fpr_limit, "fpr_limit")
    if rescale not in ("minmax", "max"):
        raise MetricError(f"rescale is {rescale!r}; expected 'minmax' or 'max'")
    _check_count(num_thresholds)
    regions = collect_components(maps, masks, labels)
    good = regions.good
    good.sort()
    low = min(float(good[0]), float(regions.scores.min()))
    high = max(float(good[-1]), float(regions.scores.max()))
    steps = low + np.arange(num_thresholds) * ((high - low) / num_thresholds)
    thresholds = round_down(steps, good.dtype)
    fpr = _share_above(good, thresholds)
    pro = mean_overlap(regions, thresholds, strict=True)
    kept = fpr < limit
    fpr, pro = fpr[kept][::-1], pro[kept][::-1]
    start = fpr[0] if fpr.size and rescale == "minmax" else 0.0
    if fpr.size < 2 or fpr[-1] <= start:
        raise MetricError(
            f"fewer than two distinct points lie below FPR {limit:g}; this PRO is undefined, "
            "use aupro"
        )
    return float(np.trapezoid(pro, (fpr - start) / (fpr[-1] - start)))


def pro_rank_thresholds(
    maps: Images,
    masks: Images,
    num_thresholds: int = 100,
    fpr_limit: float = 0.3,
    *,
    labels: ArrayLike | None = None,
) -> float:
    """The PRO of MVTec 3D-AD's script (also BTF, M3DM): thresholds at equal *ranks*.

    Thresholds are the defect-free scores at `num_thresholds` equidistant ranks, flagged = above;
    the rate is taken from the rank, so ties are not seen. Interpolated at the limit and divided
    by it. Differs from `aupro` by 1e-4 to 1e-2.

    Arguments and errors as `aupro`; `num_thresholds` is 100 in the script.
    """
    limit = as_fraction(fpr_limit, "fpr_limit")
    _check_count(num_thresholds)
    regions = collect_components(maps, masks, labels)
    good = regions.good
    good.sort()
    ranks = np.linspace(0, good.size - 1, num=num_thresholds, dtype=np.int64)[::-1]
    fpr = np.append(1.0 - (ranks + 1) / good.size, 1.0)
    pro = np.append(mean_overlap(regions, good[ranks], strict=True), 1.0)
    inside = fpr <= limit
    x = np.append(fpr[inside], limit)
    y = np.append(pro[inside], np.interp(limit, fpr, pro))
    return float(np.trapezoid(y, x)) / limit


def round_down(values: Floats, dtype: np.dtype[np.floating]) -> Floats:
    """Largest numbers of type `dtype` not above `values`: score > value keeps its meaning."""
    rounded = values.astype(dtype)
    above = rounded > values
    rounded[above] = np.nextafter(rounded[above], dtype.type(-np.inf))
    result: Floats = rounded
    return result


def _share_above(ascending: Floats, thresholds: Floats) -> Rates:
    above = ascending.size - np.searchsorted(ascending, thresholds, side="right")
    return np.asarray(above / ascending.size, dtype=np.float64)


def _check_count(num_thresholds: int) -> None:
    if num_thresholds < 2:
        raise MetricError(f"num_thresholds is {num_thresholds}; expected at least 2")
