"""The metrics' own error and warning."""

from __future__ import annotations

from anomalib_lite.edge.errors import AnomalibLiteError


class MetricError(AnomalibLiteError):
    """A metric is not defined for these scores, labels, maps or masks."""


class MetricWarning(UserWarning):
    """A metric is defined, but rests on too little data to be quoted without a remark."""
