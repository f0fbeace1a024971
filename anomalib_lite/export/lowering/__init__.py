"""A proven float graph becomes a coarser, quicker one: quantised, judged, calibrated anew.

What a detector is, and how it was fitted, is unknown here.
"""

from anomalib_lite.export.lowering.request import PRECISIONS, GoodFrame, GoodFrames, Limits

__all__ = ["PRECISIONS", "GoodFrame", "GoodFrames", "Limits"]
