"""Exact metrics for anomaly detection: numpy arrays in, float64 out, no torch.

Higher scores are more anomalous; everything is computed for one category at a time and averaged
by the caller. See `docs/metrics/`.
"""

from anomalib_lite.metrics.aupimo import AupimoResult, aupimo
from anomalib_lite.metrics.errors import MetricError, MetricWarning
from anomalib_lite.metrics.image import (
    F1Point,
    PrecisionRecallCurve,
    RocCurve,
    auroc,
    average_precision,
    f1_max,
    f1_max_point,
    precision_recall_curve,
    roc_curve,
)
from anomalib_lite.metrics.operating_point import (
    Rate,
    false_reject_rate,
    mean_and_sem,
    miss_rate,
    per_defect_recall,
)
from anomalib_lite.metrics.pixel import (
    PixelMetrics,
    pixel_auroc,
    pixel_average_precision,
    pixel_f1_max,
    pixel_metrics,
)
from anomalib_lite.metrics.pro import aupro, pro_curve
from anomalib_lite.metrics.pro_lookalikes import pro_linear_thresholds, pro_rank_thresholds
from anomalib_lite.metrics.regions import ProCurve
from anomalib_lite.metrics.spro import (
    SaturationRule,
    au_spro,
    load_defects_config,
    saturation_areas,
    spro_curve,
)

__all__ = [
    "AupimoResult",
    "F1Point",
    "MetricError",
    "MetricWarning",
    "PixelMetrics",
    "PrecisionRecallCurve",
    "ProCurve",
    "Rate",
    "RocCurve",
    "SaturationRule",
    "au_spro",
    "aupimo",
    "aupro",
    "auroc",
    "average_precision",
    "f1_max",
    "f1_max_point",
    "false_reject_rate",
    "load_defects_config",
    "mean_and_sem",
    "miss_rate",
    "per_defect_recall",
    "pixel_auroc",
    "pixel_average_precision",
    "pixel_f1_max",
    "pixel_metrics",
    "precision_recall_curve",
    "pro_curve",
    "pro_linear_thresholds",
    "pro_rank_thresholds",
    "roc_curve",
    "saturation_areas",
    "spro_curve",
]
