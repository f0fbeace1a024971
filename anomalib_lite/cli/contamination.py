"""`fit --contamination`: an audit of the training images, then a fit that makes use of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_lite.cli.common import console, progress_bar

if TYPE_CHECKING:
    from anomalib_lite.curation.audit_report import AuditReport
    from anomalib_lite.curation.downweight import DownWeighting
    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.edge.sources import Source, SourceLike

CONTAMINATION = ("trust", "audit", "exclude", "downweight")
AUDIT_BY = ("detector", "musc")
_TOP_SHOWN = 10


def check_contamination(contamination: str, audit_by: str) -> None:
    """Raise `SettingsError` where the options are unknown or do not go together."""
    from anomalib_lite.edge.errors import SettingsError

    if contamination not in CONTAMINATION:
        raise SettingsError(
            f"--contamination {contamination}: choose one of {', '.join(CONTAMINATION)}"
        )
    if audit_by not in AUDIT_BY:
        raise SettingsError(f"--audit-by {audit_by}: choose one of {', '.join(AUDIT_BY)}")
    if audit_by != AUDIT_BY[0] and contamination == "trust":
        raise SettingsError(f"--audit-by {audit_by}: add --contamination audit, or leave it out")


def fit_audited(
    fitted: Detector, source: SourceLike, out: Path, contamination: str, audit_by: str
) -> None:
    """Audit the images, write what was found beside `out`, then fit as `--contamination` says."""
    import json

    from anomalib_lite.curation.downweight import fit_down_weighted
    from anomalib_lite.curation.model_audit import fit_without_suspects
    from anomalib_lite.detector.out_of_fold import require_sample_weight
    from anomalib_lite.edge.files import write_bytes_atomic
    from anomalib_lite.edge.sources import open_source
    from anomalib_lite.report.audit import write_audit

    if contamination == "downweight":
        require_sample_weight(fitted.scorer)
    frames = open_source(source, exif=fitted.spec.exif)
    report = _audited(fitted, frames, audit_by)
    listing = json.dumps(report.to_dict(), indent=1) + "\n"
    write_bytes_atomic(out.with_suffix(".audit.json"), listing.encode())
    page = write_audit(report, frames, out.with_suffix(".audit.html"))
    _report_audit(report, page)
    with progress_bar() as progress:
        if contamination == "exclude":
            fit_without_suspects(fitted, frames, report, progress=progress)
        elif contamination == "downweight":
            outcome = fit_down_weighted(fitted, frames, report, progress=progress)[1]
        else:
            fitted.fit(frames, progress=progress)
    if contamination == "downweight":
        _report_weights(outcome)


def _audited(fitted: Detector, frames: Source, audit_by: str) -> AuditReport:
    """The audit by the detector's own kind, or by the images themselves."""
    if audit_by == "detector":
        from anomalib_lite.curation.model_audit import audit

        with progress_bar() as progress:
            return audit(fitted, frames, progress=progress)
    from anomalib_lite.curation.pool_audit import audit_by_pool, pool_for

    pool = pool_for(fitted, audit_by)
    console(stderr=True).print(f"audit: {pool.cost(max(2, len(frames)))}", markup=False)
    with progress_bar() as progress:
        return audit_by_pool(pool, frames, progress=progress)


def _report_weights(outcome: DownWeighting) -> None:
    """Print how far the images were counted, and what that does to the promise."""
    console().print(
        f"{outcome.left_out} image(s) left out, {outcome.reduced} counted in part: "
        f"the fit is worth {outcome.effective:.1f} images"
    )
    if outcome.doubtful:
        console().print(
            f"{outcome.doubtful} doubtful image(s) have no part in the threshold; "
            "the promise below counts them as good ones that are rejected"
        )


def _report_audit(report: AuditReport, page: Path) -> None:
    """Print the images that stand out most."""
    from rich.markup import escape
    from rich.table import Table

    screen = console()
    told = f"; protocol {report.by['protocol']}" if "protocol" in report.by else ""
    screen.print(
        f"audit: {len(report.suspects)} of {len(report.entries)} images are suspects, see {page}"
        f"{told}",
        markup=False,
    )
    table = Table("image", "score", "robust z", "adjusted p", "weight")
    shown = [entry for entry in report.entries if entry.weight < 1][:_TOP_SHOWN]
    for entry in shown:
        figures = (f"{entry.score:.4g}", f"{entry.robust_z:z.1f}", f"{entry.p_value:.2g}")
        table.add_row(escape(entry.name), *figures, f"{entry.weight:.2f}")
    if shown:
        screen.print(table)
