"""`fit --contamination`: an audit of the training images, then a fit that makes use of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from anomalib_lite.cli.common import console
from anomalib_lite.cli.progress import progress_bar

if TYPE_CHECKING:
    from anomalib_lite.curation.audit_report import AuditReport
    from anomalib_lite.curation.downweight import DownWeighting
    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.edge.sources import Source, SourceLike

_TOP_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """What to do about images among the good ones that may not be good."""

    panel: ClassVar[str] = "Folders that nobody has looked through"
    contamination: Annotated[
        Literal["trust", "audit", "exclude", "downweight"],
        typer.Option(
            metavar="HOW",
            help="trust takes every image as good; audit also ranks them by how odd they look to "
            "models fitted on the others (OUT.audit.html); exclude then fits without the "
            "suspects; downweight also counts images less the odder they look.",
        ),
    ] = "trust"
    audit_by: Annotated[
        Literal["detector", "musc"],
        typer.Option(
            metavar="WHO",
            help="Who ranks: detector, models of its own kind fitted on the others; musc, the "
            "images by each other: for small defects where the detector judges the part as a "
            "whole. Its cost grows with their square.",
        ),
    ] = "detector"

    @property
    def audited(self) -> bool:
        """Whether the images are ranked before the fit."""
        return self.contamination != "trust"

    def check(self, resume: bool) -> None:
        """Raise `SettingsError` where options do not go together."""
        from anomalib_lite.edge.errors import SettingsError

        if self.audit_by != "detector" and not self.audited:
            raise SettingsError(
                f"--audit-by {self.audit_by}: add --contamination audit, or leave it out"
            )
        if resume and self.audited:
            raise SettingsError("--resume continues one training; leave --contamination out")


def fit_audited(
    fitted: Detector, source: SourceLike, out: Path, options: Contamination, group_by: str
) -> None:
    """Audit the images, write what was found beside `out`, then fit as the options say."""
    import json

    from anomalib_lite.curation.downweight import fit_down_weighted
    from anomalib_lite.curation.model_audit import fit_without_suspects
    from anomalib_lite.detector.out_of_fold import require_sample_weight
    from anomalib_lite.edge.files import write_bytes_atomic
    from anomalib_lite.edge.sources import open_source
    from anomalib_lite.report.audit import write_audit

    contamination = options.contamination
    if contamination == "downweight":
        require_sample_weight(fitted.scorer)
    frames = open_source(source, exif=fitted.spec.exif)
    report = _audited(fitted, frames, options.audit_by, group_by)
    listing = json.dumps(report.to_dict(), indent=1) + "\n"
    write_bytes_atomic(out.with_suffix(".audit.json"), listing.encode())
    page = write_audit(report, frames, out.with_suffix(".audit.html"))
    _report_audit(report, page)
    with progress_bar() as progress:
        if contamination == "exclude":
            fit_without_suspects(fitted, frames, report, progress=progress, group_by=group_by)
        elif contamination == "downweight":
            outcome = fit_down_weighted(
                fitted, frames, report, progress=progress, group_by=group_by
            )[1]
        else:
            fitted.fit(frames, progress=progress, group_by=group_by)
    if contamination == "downweight":
        _report_weights(outcome)
    if contamination == "audit":
        _report_suspects(fitted, report)


def _report_suspects(fitted: Detector, report: AuditReport) -> None:
    """Say what the threshold would be without the suspects: it must not rest on them unseen."""
    if not report.suspects:
        return
    from anomalib_lite.curation.model_audit import threshold_without

    now, without = fitted.threshold, threshold_without(fitted, report)
    change = f" ({without / now - 1:+.0%})" if now > 0 else ""
    console().print(
        f"{len(report.suspects)} suspect(s) are part of the fit and of its threshold {now:.4g}; "
        f"without their scores it would be {without:.4g}{change}. Look at them; if they are not "
        "good, move them out of the folder, or fit again with --contamination exclude",
        markup=False,
        style="yellow",
        soft_wrap=True,
    )


def _audited(fitted: Detector, frames: Source, audit_by: str, group_by: str) -> AuditReport:
    """The audit by the detector's own kind, or by the images themselves."""
    if audit_by == "detector":
        from anomalib_lite.curation.model_audit import audit

        with progress_bar() as progress:
            return audit(fitted, frames, progress=progress, group_by=group_by)
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
