"""Scorers: each learns what is normal from features, then scores features.

One folder per family; here only the contract, the abilities and the registry. Nothing that reads
files, chooses thresholds or knows what a camera is.
"""

from anomalib_lite.scorers.abilities import (
    CrossFit,
    Explain,
    Forget,
    MergesBackbone,
    PartialFit,
    ReferenceQuantile,
    ScorePool,
    TakesSampleWeight,
    as_able,
)
from anomalib_lite.scorers.base import (
    FeatureStream,
    FitContext,
    Groups,
    HeldOutScores,
    Progress,
    Scorer,
    Scores,
)
from anomalib_lite.scorers.batches import FrameBatch
from anomalib_lite.scorers.registry import (
    create_scorer,
    describe_settings,
    list_scorers,
    register_scorer,
    scorers_with,
)
from anomalib_lite.scorers.settings import Setting, check_names

__all__ = [
    "CrossFit",
    "Explain",
    "FeatureStream",
    "FitContext",
    "Forget",
    "FrameBatch",
    "Groups",
    "HeldOutScores",
    "MergesBackbone",
    "PartialFit",
    "Progress",
    "ReferenceQuantile",
    "ScorePool",
    "Scorer",
    "Scores",
    "Setting",
    "TakesSampleWeight",
    "as_able",
    "check_names",
    "create_scorer",
    "describe_settings",
    "list_scorers",
    "register_scorer",
    "scorers_with",
]
