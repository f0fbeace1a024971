"""`anomalib-lite audit`: look through a folder that should be good, before anything is fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anomalib_lite.cli.common import console, parse_settings, parse_size
from anomalib_lite.cli.reading import DEFAULT_MEGAPIXELS, MAX_MEGAPIXELS, RECURSIVE
from anomalib_lite.cli.score_pool import judge_to_folder, tell_unreadable

_TOP_SHOWN = 10


def audit(
    folder: Annotated[str, typer.Argument(help="Images that should be good: a folder or a glob.")],
    out: Annotated[Path, typer.Option(help="Folder for audit.html, pool.json, results.jsonl.")],
    backbone: Annotated[
        str | None,
        typer.Option(help="A vision transformer is best, e.g. vit_tiny_patch16_224."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the backbone (.safetensors).")
    ] = None,
    image_size: Annotated[
        str, typer.Option(help="What the network sees, pixels: 224 or HxW.")
    ] = "224",
    recursive: Annotated[bool, RECURSIVE] = True,
    max_megapixels: Annotated[float, MAX_MEGAPIXELS] = DEFAULT_MEGAPIXELS,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run in OUT.")
    ] = False,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="Setting of musc: --set judges=100.")
    ] = None,
) -> None:
    """Rank a supposedly good folder; suspects are shown beside the images most like them.

    The images judge each other, so it needs no detector. `fit --contamination audit` asks the
    detector itself; when both name an image, look at it first.
    """
    from rich.markup import escape
    from rich.table import Table

    from anomalib_lite.transductive.pool import Pool

    pool = Pool(
        "musc",
        backbone=backbone,
        weights=weights,
        image_size=parse_size(image_size),
        **parse_settings(setting or []),
    )
    report, _ = judge_to_folder(
        pool,
        folder,
        out,
        recursive=recursive,
        max_megapixels=max_megapixels,
        resume=resume,
        title="Audit of a folder that should be good",
        stem="audit",
    )
    screen = console()
    screen.print(
        f"audit: {len(report.suspects)} of {len(report.names)} images stand out, see "
        f"{out / 'audit.html'}; protocol {report.facts['protocol']}",
        markup=False,
    )
    shown = Table("image", "score", "robust z", "most similar")
    for row in report.ranking[:_TOP_SHOWN]:
        near = ", ".join(Path(report.names[other]).name for other in report.neighbours(row, 2))
        shown.add_row(
            escape(report.names[row]),
            f"{report.scores.image[row]:.4g}",
            f"{report.oddness.robust_z[row]:z.1f}",
            escape(near),
        )
    screen.print(shown)
    tell_unreadable(report)
