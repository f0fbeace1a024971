"""Made photographs of industrial parts with exact defect masks, for demos and tests.

Everything is drawn from a seed; the same seed gives the same bytes. Results on these images say
nothing about real parts.
"""

from __future__ import annotations

from .catalog import DefectInfo, Family, Rendered
from .dataset import write_dataset
from .render import PRODUCTS, defect_names, render

__all__ = [
    "PRODUCTS",
    "DefectInfo",
    "Family",
    "Rendered",
    "defect_names",
    "render",
    "write_dataset",
]
