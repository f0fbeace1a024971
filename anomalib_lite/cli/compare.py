"""`anomalib-lite compare`: rank detectors and backbones without one real defect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalib_lite.cli.common import bold, console
from anomalib_lite.cli.grouped import grouped
from anomalib_lite.cli.names import complete_backbone, complete_detector
from anomalib_lite.cli.options import (
    MODEL,
    Device,
    ImageSize,
    MaxFalseReject,
    Seed,
    Threads,
    Weights,
)
from anomalib_lite.cli.progress import progress_bar
from anomalib_lite.cli.reading import Files
from anomalib_lite.cli.simulated_options import DEFECTS, ObjectMask, where_from
from anomalib_lite.cli.values import parse_size

if TYPE_CHECKING:
    from anomalib_lite.tuning.comparison import Comparison


@grouped
def compare(
    good: Annotated[
        str, typer.Argument(metavar="GOOD", help="Good images: a folder or a glob; at least 20.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for compare.html and compare.json.")
    ],
    files: Files,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_detector,
            help="Detector; repeat for more. Default: patchcore, padim, mvg.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_backbone,
            help="Backbone; repeat for more; each with each detector. Default: pdn_edge.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    weights: Weights = None,
    image_size: ImageSize = "256",
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Kind of defect (see simulate); repeat for more. Default: all but cutpaste, scar.",
            rich_help_panel=DEFECTS,
        ),
    ] = None,
    object_mask: ObjectMask = "auto",
    max_false_reject: MaxFalseReject = 0.01,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Rank detectors and backbones on simulated defects over held-out good images.

    How far to trust such a ranking: docs/compare.md.
    """
    from anomalib_lite.data.simulate.families import PLAIN_KINDS
    from anomalib_lite.edge.files import write_bytes_atomic
    from anomalib_lite.edge.runs.ownership import owned
    from anomalib_lite.report.comparison import write_comparison
    from anomalib_lite.system.threads import use_threads
    from anomalib_lite.tuning.comparison import compare as run_comparison
    from anomalib_lite.tuning.grid import Configuration

    use_threads(threads)
    size, where = parse_size(image_size), where_from(object_mask)
    configurations = [
        Configuration(name, network, size)
        for name in detector or ("patchcore", "padim", "mvg")
        for network in backbone or ("pdn_edge",)
    ]
    source = files.reading("apply").open_good(good)
    with owned(out), progress_bar() as progress:
        found = run_comparison(
            source,
            configurations,
            kinds=tuple(kind or PLAIN_KINDS),
            where=where,
            max_false_reject=max_false_reject,
            seed=seed,
            device=device,
            weights=weights,
            progress=progress,
        )
        text = json.dumps(found.to_dict(), indent=1, sort_keys=True)
        write_bytes_atomic(out / "compare.json", text.encode())
        write_comparison(found, out / "compare.html", title=source.name)
    _report(found, out)


def _report(found: Comparison, out: Path) -> None:
    from rich.table import Table

    from anomalib_lite.report.comparison import CAVEAT, behind_words

    screen = console()
    table = Table("configuration", "AUROC", "behind the first (95 %)", "missed", "good rejected")
    for row in found.rows:
        figures = (f"{100 * row.auroc:.1f}", behind_words(row))
        table.add_row(row.name, *figures, f"{row.misses:.1%}", f"{row.rejects:.1%}")
    screen.print(table)
    for name, why in found.failed.items():
        screen.print(f"{name}: not fitted: {why}", markup=False, style="yellow")
    screen.print(CAVEAT, markup=False)
    screen.print(f"{bold(out / 'compare.html')}, compare.json")
