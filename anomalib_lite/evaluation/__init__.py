"""Evaluation: fit on good images, measure on the test set, and say how the figures were made.

    from anomalib_lite.evaluation import EvaluationSettings, evaluate

    evaluate(EvaluationSettings(data=("mvtec:/data/mvtec_ad:bottle",)), "results")

See `docs/evaluation.md` for the files that it writes.
"""

from anomalib_lite.evaluation.measure import METRICS
from anomalib_lite.evaluation.session import evaluate
from anomalib_lite.evaluation.settings import EvaluationSettings, MapResolution

__all__ = ["METRICS", "EvaluationSettings", "MapResolution", "evaluate"]
