"""Scorers: each learns what is normal from features, then scores features."""

from anomalib_lite.scorers import efficientad as _efficientad  # noqa: F401 - registers itself
from anomalib_lite.scorers import gda as _gda  # noqa: F401 - registers itself
from anomalib_lite.scorers import knn as _knn  # noqa: F401 - registers itself
from anomalib_lite.scorers import musc as _musc  # noqa: F401 - registers itself
from anomalib_lite.scorers import mvg as _mvg  # noqa: F401 - registers itself
from anomalib_lite.scorers import padim as _padim  # noqa: F401 - registers itself
from anomalib_lite.scorers import patchcore as _patchcore  # noqa: F401 - registers itself
from anomalib_lite.scorers import stfpm as _stfpm  # noqa: F401 - registers itself
from anomalib_lite.scorers.abilities import (
    CrossFit,
    Explain,
    Forget,
    MergesBackbone,
    PartialFit,
    PerProduct,
    ReferenceQuantile,
    ScorePool,
    Weighs,
)
from anomalib_lite.scorers.base import (
    FeatureBatch,
    FeatureStream,
    FitContext,
    HeldOutScores,
    Progress,
    Scorer,
    Scores,
    create_scorer,
    list_scorers,
    register_scorer,
    scorers_with,
)

__all__ = [
    "CrossFit",
    "Explain",
    "FeatureBatch",
    "FeatureStream",
    "FitContext",
    "Forget",
    "HeldOutScores",
    "MergesBackbone",
    "PartialFit",
    "PerProduct",
    "Progress",
    "ReferenceQuantile",
    "ScorePool",
    "Scorer",
    "Scores",
    "Weighs",
    "create_scorer",
    "list_scorers",
    "register_scorer",
    "scorers_with",
]
