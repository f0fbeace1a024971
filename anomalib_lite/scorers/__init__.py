"""Scorers: each learns what is normal from features, then scores features."""

from anomalib_lite.scorers import knn as _knn  # noqa: F401 - registers itself
from anomalib_lite.scorers import mvg as _mvg  # noqa: F401 - registers itself
from anomalib_lite.scorers import padim as _padim  # noqa: F401 - registers itself
from anomalib_lite.scorers import patchcore as _patchcore  # noqa: F401 - registers itself
from anomalib_lite.scorers.base import (
    CrossFit,
    Explain,
    FeatureBatch,
    FeatureStream,
    FitContext,
    Forget,
    HeldOutScores,
    PartialFit,
    Progress,
    ReferenceQuantile,
    ScorePool,
    Scorer,
    Scores,
    create_scorer,
    list_scorers,
    register_scorer,
)

__all__ = [
    "CrossFit",
    "Explain",
    "FeatureBatch",
    "FeatureStream",
    "FitContext",
    "Forget",
    "HeldOutScores",
    "PartialFit",
    "Progress",
    "ReferenceQuantile",
    "ScorePool",
    "Scorer",
    "Scores",
    "create_scorer",
    "list_scorers",
    "register_scorer",
]
