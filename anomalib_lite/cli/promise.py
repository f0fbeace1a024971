"""What a fit says about its threshold: other rates, what it rests on, which images are one part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomalib_lite.cli.common import console

if TYPE_CHECKING:
    from pathlib import Path

    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.edge.sources import SourceLike


def report_promise(fitted: Detector) -> None:
    """Print what other rates would give, what the threshold rests on, and what stays together."""
    from rich.table import Table

    from anomalib_lite.detector.resting import explain_resting
    from anomalib_lite.edge.promise import percent
    from anomalib_lite.edge.rates import distinct_rows, out_of_reach

    screen, calibration = console(), fitted.calibration
    table = Table("asked", "threshold", "rejected on average", "at most (95 %)", "parts")
    points = calibration.at_rates()
    for row in distinct_rows(points):
        point = row.point
        figures = (f"{point.threshold:.4g}", percent(point.false_reject_rate))
        table.add_row(row.words, *figures, percent(point.upper_bound), str(point.parts))
    screen.print(table)
    if missing := out_of_reach(points):
        screen.print(missing, markup=False, soft_wrap=True)
    found = fitted.independence
    for line in () if found is None else found.explain():
        screen.print(line, markup=False, style="yellow", soft_wrap=True)
    if resting := explain_resting(fitted.data, calibration):
        screen.print(resting, markup=False, style="yellow", soft_wrap=True)


def write_report(fitted: Detector, source: SourceLike, out: Path) -> None:
    """Write the page of a fit beside the detector, and say where."""
    from anomalib_lite.edge.sources import open_source
    from anomalib_lite.report.fit import write_fit

    frames = open_source(source, exif=fitted.spec.exif)
    page = write_fit(fitted, frames, out.with_suffix(".fit.html"))
    console().print(f"report: {page}", markup=False)
