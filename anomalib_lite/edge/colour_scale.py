"""Where the colours of heat maps are anchored: at good images, never at the picture itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST_SPAN = 0.01


@dataclass(frozen=True)
class ColourScale:
    """Two map values that every picture of a model shares.

    Distances to good patches are far from 0 on good images, too; a scale that starts at 0 would
    colour all of them.

    Attributes:
        threshold: map value above which a pixel belongs to a region; infinity paints nothing.
        typical: what the map of a usual good image reaches at its highest place.
    """

    threshold: float
    typical: float = 0.0

    @classmethod
    def of_good(cls, map_peaks: Sequence[float], threshold: float) -> ColourScale:
        """From the map peaks of good images: their median, of those up to the threshold."""
        peaks = np.asarray(map_peaks, np.float64)
        accepted = peaks[peaks <= threshold]
        return cls(threshold, float(np.median(accepted)) if accepted.size else threshold)

    def levels(self, anomaly_map: NDArray[np.float32]) -> NDArray[np.float64]:
        """Raw map values as 0 at `typical` and 1 at `threshold`, of the map's shape."""
        if math.isinf(self.threshold):
            return np.zeros(anomaly_map.shape)
        # Good images that are all alike would make the scale a step at the threshold.
        least = max(_LEAST_SPAN * abs(self.threshold), 1e-12)
        span = max(self.threshold - self.typical, least)
        return 1 + (np.asarray(anomaly_map, np.float64) - self.threshold) / span
