"""`anomalib-lite datasets`: which data sets can be read, and what is wrong with one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from anomalib_lite.cli.common import CHECK_FAILED, bold, console
from anomalib_lite.cli.options import DEFAULT_MEGAPIXELS, AsJson, MaxMegapixels
from anomalib_lite.cli.progress import progress_bar

if TYPE_CHECKING:
    from anomalib_lite.data.adapters import DatasetReport

_SIZES_SHOWN = 5


def datasets(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND:PATH",
            help="Check this folder: kind:path[:category]. Without it, list the kinds.",
        ),
    ] = None,
    max_megapixels: MaxMegapixels = DEFAULT_MEGAPIXELS,
    as_json: AsJson = False,
) -> None:
    """List the kinds of data sets with their licence, or check one; exit status 1 on problems."""
    if data is None:
        _print_kinds(as_json)
        return
    from anomalib_lite.data.adapters import check_dataset, open_dataset

    dataset = open_dataset(data)
    with progress_bar() as progress:
        report = check_dataset(dataset, lambda done, total: progress("checking", done, total))
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=1, ensure_ascii=False))
    else:
        _print_report(report)
    if report.problems():
        raise typer.Exit(CHECK_FAILED)


def _print_kinds(as_json: bool) -> None:
    from rich.table import Column, Table

    from anomalib_lite.data.adapters import list_kinds

    kinds = list_kinds()
    if as_json:
        facts = [info.to_dict() for info in kinds]
        typer.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    where = Column("what to get, and from where", overflow="fold", ratio=1)
    table = Table("kind", "title", "licence", where, show_lines=True)
    for info in kinds:
        origin = " ".join(part for part in (info.download, info.homepage) if part)
        table.add_row(info.kind, info.title, info.licence, origin)
    screen = console()
    screen.print(table, soft_wrap=False)
    screen.print("Nothing is downloaded for you. Check a folder: anomalib-lite datasets KIND:PATH")


def _print_report(report: DatasetReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("category", "split", "defect", "images")
    for category, splits in report.counts.items():
        for split, defects in splits.items():
            for defect, count in defects.items():
                table.add_row(escape(category), escape(split), escape(defect), str(count))
    screen = console()
    screen.print(f"{bold(report.kind)} {escape(str(report.root))}: {report.images} images")
    screen.print(table, soft_wrap=False)
    sizes = report.image_sizes.most_common()
    shown = ", ".join(f"{size} ({count})" for size, count in sizes[:_SIZES_SHOWN])
    more = f" and {len(sizes) - _SIZES_SHOWN} more" if len(sizes) > _SIZES_SHOWN else ""
    screen.print(f"sizes, height x width: {shown or 'none readable'}{more}")
    for line in report.left_out:
        screen.print(line, markup=False)
    problems = report.problems()
    for problem in problems:
        screen.print(problem, style="red", markup=False)
    if not problems:
        screen.print("no problem found", style="green")
