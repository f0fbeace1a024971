"""`anomalib-lite simulate`: a labelled set from good images, defects made to measure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalib_lite.cli.common import UNUSABLE, bold, console
from anomalib_lite.cli.grouped import grouped
from anomalib_lite.cli.options import Seed
from anomalib_lite.cli.progress import progress_bar
from anomalib_lite.cli.reading import Files
from anomalib_lite.cli.simulated_options import DEFECTS, Defects, ObjectMask, where_from

if TYPE_CHECKING:
    from anomalib_lite.data.simulate.defect_set import WrittenSet

_SHOWN = 5


@grouped
def simulate(
    good: Annotated[
        str, typer.Argument(metavar="GOOD", help="Good images: a folder, a glob or a video.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="New folder for the set (layout of MVTec AD).")
    ],
    defects: Defects,
    files: Files,
    n: Annotated[
        int, typer.Option("--n", metavar="N", min=1, help="Pictures with a defect to make.")
    ] = 200,
    textures: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Pictures that foreign bodies and perlin look like. Default: made ones.",
            rich_help_panel=DEFECTS,
        ),
    ] = None,
    object_mask: ObjectMask = "auto",
    seed: Seed = 0,
) -> None:
    """Make defects of known kind, size and contrast on good images; look at contact_sheet.png.

    Simulated defects show what a detector does on simulated defects (docs/simulate.md).
    """
    from anomalib_lite.data.simulate.defect_set import write_defect_set
    from anomalib_lite.edge.runs.ownership import owned

    source = files.reading("apply").open_good(good)
    with owned(out), progress_bar() as progress:
        written = write_defect_set(
            source,
            out,
            defects.plan(),
            count=n,
            where=where_from(object_mask),
            textures=textures,
            seed=seed,
            progress=lambda done, total: progress("putting defects on images", done, total),
        )
    _report(written)
    if written.skipped:
        raise typer.Exit(UNUSABLE)


def _report(written: WrittenSet) -> None:
    screen = console()
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(written.defects.items()))
    screen.print(
        f"{bold(written.folder)}: {written.train} good to learn, {written.test_good} good to test, "
        f"{written.defects.total()} with a defect ({kinds})"
    )
    screen.print(f"look at {written.folder / 'contact_sheet.png'} first", markup=False)
    for reason, count in written.left_out.most_common(_SHOWN):
        screen.print(f"left out {count}: {reason}", markup=False, style="yellow")
    for name, why in list(written.skipped.items())[:_SHOWN]:
        screen.print(f"could not be used: {name}: {why}", markup=False, style="red")
