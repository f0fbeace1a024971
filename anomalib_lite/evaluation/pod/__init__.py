"""Probability of detection: trials with simulated defects on unseen good images, and their curves.

Nothing here fits a detector or changes its threshold.
"""

from anomalib_lite.evaluation.pod.document import POD_FORMAT, read_pod, require_pod_of
from anomalib_lite.evaluation.pod.photographs import Photographs, read_photographs
from anomalib_lite.evaluation.pod.result import FamilyResult, PodStudy
from anomalib_lite.evaluation.pod.study import run_study

__all__ = [
    "POD_FORMAT",
    "FamilyResult",
    "Photographs",
    "PodStudy",
    "read_photographs",
    "read_pod",
    "require_pod_of",
    "run_study",
]
