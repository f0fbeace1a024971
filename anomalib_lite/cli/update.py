"""`anomalib-lite update`: learn images confirmed as good, forget others, refuse what is worse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalib_lite.cli.common import CHECK_FAILED, UNUSABLE, console
from anomalib_lite.cli.grouped import grouped
from anomalib_lite.cli.options import GroupBy, Threads
from anomalib_lite.cli.progress import progress_bar
from anomalib_lite.cli.reading import Files

if TYPE_CHECKING:
    from rich.table import Table

    from anomalib_lite.curation.update_gate import HeldOut, UpdateReport

_MOST_LISTED = 20
_RISE = 1.05


@grouped
def update(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The detector (.safetensors).")],
    add: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Images that a person has confirmed to be good: folder, glob or file.",
        ),
    ] = None,
    forget: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Images to take out again, which it was fitted on: folder or file.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write here and leave MODEL as it is. Default: replace it, and keep the old file "
            "beside it as MODEL.previous.safetensors.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            metavar="",
            help="Write although false rejects got worse, or the new images look defective.",
        ),
    ] = False,
    group_by: GroupBy = "auto",
    *,
    files: Files,
    threads: Threads = None,
) -> None:
    """Learn on from good images; exit status 1, nothing written, when that makes things worse.

    Worse: more false rejects, or new images that look defective to the model as it is.
    """
    from anomalib_lite.curation.update_gate import update_detector
    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.edge.files import write_bytes_atomic
    from anomalib_lite.report.fit import write_refused
    from anomalib_lite.system.threads import use_threads

    _check_names(model, out, add, forget)
    use_threads(threads)
    target = model if out is None else out
    detector = Detector.load(model)
    previous = model.read_bytes() if target.resolve() == model.resolve() else None
    reading = files.reading(detector.spec.exif)
    with progress_bar() as progress:
        report = update_detector(
            detector,
            add=None if add is None else reading.open_good(add),
            forget=None if forget is None else reading.open(forget),
            progress=progress,
            group_by=group_by,
        )
    report_update(report)
    if report.rejected and add is not None:
        names = [(image.name, image.score) for image in report.rejected]
        page = target.with_suffix(".update.html")
        write_refused(Detector.load(model), reading.open_good(add), names, page)
        console().print(f"their pictures: {page}", markup=False)
    if report.reasons and not force:
        words = f"refused: {target} was not written; --force writes it all the same"
        console().print(words, markup=False, style="red")
        raise typer.Exit(CHECK_FAILED)
    if previous is not None:
        beside = model.with_name(f"{model.stem}.previous.safetensors")
        write_bytes_atomic(beside, previous)
        console().print(f"the detector before this update: {beside}", markup=False)
    detector.save(target)
    console().print(f"written: {target}; export it again for the edge", markup=False)
    if report.skipped:
        raise typer.Exit(UNUSABLE)


def report_update(report: UpdateReport) -> None:
    """Print before and after, what was left out, and what a person should know."""
    screen = console()
    screen.print(_table(report))
    then, now = report.operating
    screen.print(now.explain(), style="green" if now.honoured else "yellow", soft_wrap=True)
    if now.threshold > _RISE * then.threshold > 0:
        rise = now.threshold / then.threshold - 1
        screen.print(
            f"the threshold rose by {rise:.0%}: parts that score between the two were rejected "
            "before and pass now; try it on parts known to be defective",
            style="yellow",
        )
    for reason in report.reasons:
        screen.print(f"worse: {reason}", markup=False, style="red", soft_wrap=True)
    _list(
        f"{len(report.rejected)} new image(s) that the model rejects as it is:",
        [
            f"{image.name}: score {image.score:.4g}, threshold {then.threshold:.4g}"
            for image in report.rejected
        ],
    )
    _list(f"{len(report.known)} image(s) known already, not added again:", list(report.known))
    unusable = [f"{name}: {why}" for name, why in report.skipped.items()]
    _list(f"{len(unusable)} image(s) could not be used:", unusable)


def _table(report: UpdateReport) -> Table:
    from rich.table import Table

    from anomalib_lite.edge.promise import percent

    then, now = report.operating
    kept, added = report.kept, report.added
    table = Table("", "before", "after")
    table.add_row("good images", str(report.images[0]), str(report.images[1]))
    table.add_row("threshold", f"{then.threshold:.4g}", f"{now.threshold:.4g}")
    table.add_row(
        "false rejects on average", percent(then.false_reject_rate), percent(now.false_reject_rate)
    )
    table.add_row("  at most, 95 % confidence", percent(then.upper_bound), percent(now.upper_bound))
    for words, group in (("calibration images in both", kept), ("new images", added)):
        if not group.before.images:
            continue
        title = f"{words} ({group.before.images})"
        table.add_section()
        table.add_row(f"{title}: rejected", _rejected(group.before), _rejected(group.after))
        table.add_row("  median, 99 % of threshold", _spread(group.before), _spread(group.after))
    return table


def _rejected(scores: HeldOut) -> str:
    return f"{scores.rejected} = {scores.rejected / scores.images:.1%}"


def _spread(scores: HeldOut) -> str:
    return f"{scores.of_threshold(0.5):.2f}, {scores.of_threshold(0.99):.2f}"


def _list(heading: str, lines: list[str]) -> None:
    if not lines:
        return
    screen = console()
    screen.print(heading, style="red")
    for line in lines[:_MOST_LISTED]:
        screen.print(f"  {line}", markup=False)
    if len(lines) > _MOST_LISTED:
        screen.print(f"  and {len(lines) - _MOST_LISTED} more")


def _check_names(model: Path, out: Path | None, add: str | None, forget: str | None) -> None:
    from anomalib_lite.edge.errors import SettingsError

    if add is None and forget is None:
        raise SettingsError("nothing to update: give --add SOURCE, or --forget SOURCE")
    if add is not None and add == forget:
        raise SettingsError(f"{add} is to be learnt and forgotten; give it once")
    if model.suffix == ".onnx":
        raise SettingsError(
            f"{model}: an edge file cannot learn; update its detector (.safetensors), then export"
        )
    for path in (model, out):
        if path is not None and path.suffix != ".safetensors":
            raise SettingsError(f"{path}: the detector file must end in .safetensors")
