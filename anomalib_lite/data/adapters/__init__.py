"""Data sets of the field, and plain folders, as lists of samples.

>>> from anomalib_lite.data.adapters import list_kinds
>>> [info.kind for info in list_kinds()][:3]
['btad', 'dagm', 'deeppcb']
"""

# Importing a module registers its kinds.
from anomalib_lite.data.adapters import (
    dagm,
    deeppcb,
    folder,
    kolektor,
    loco,
    magnetic_tile,
    mvtec,
    realiad,
    threed,
    visa,
)
from anomalib_lite.data.adapters.check import check_dataset
from anomalib_lite.data.adapters.dataset import Dataset, open_dataset
from anomalib_lite.data.adapters.registry import KindInfo, guess_kind, list_kinds
from anomalib_lite.data.adapters.report import DatasetReport, FileProblem
from anomalib_lite.data.sample import GOOD, SPLITS, Sample, Split

__all__ = [
    "GOOD",
    "SPLITS",
    "Dataset",
    "DatasetReport",
    "FileProblem",
    "KindInfo",
    "Sample",
    "Split",
    "check_dataset",
    "dagm",
    "deeppcb",
    "folder",
    "guess_kind",
    "kolektor",
    "list_kinds",
    "loco",
    "magnetic_tile",
    "mvtec",
    "open_dataset",
    "realiad",
    "threed",
    "visa",
]
