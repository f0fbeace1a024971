"""`anomalib-lite score-pool`: unlabelled frames judge each other; nothing is fitted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from anomalib_lite.cli.common import UNUSABLE, console
from anomalib_lite.cli.grouped import grouped, option_names
from anomalib_lite.cli.names import complete_backbone, complete_detector
from anomalib_lite.cli.options import (
    MODEL,
    Device,
    Heatmaps,
    ImageSize,
    ResumePool,
    Seed,
    Settings,
    Threads,
    Weights,
)
from anomalib_lite.cli.progress import progress_bar
from anomalib_lite.cli.reading import Files
from anomalib_lite.cli.values import parse_layers, parse_settings, parse_size

if TYPE_CHECKING:
    from anomalib_lite.report.pool_folder import PoolOutput
    from anomalib_lite.transductive.pool import Pool, PoolReport

_MAY_INTERRUPT = "Ctrl-C may interrupt it, --resume continues"
_MOST_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class PoolNetwork:
    """What the frames are compared by."""

    panel: ClassVar[str] = MODEL
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_backbone,
            help="A vision transformer is best, e.g. vit_tiny_patch16_224.",
        ),
    ] = None
    layers: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Backbone layers. Default: the detector's own choice."),
    ] = None
    weights: Weights = None
    image_size: ImageSize = "224"
    setting: Settings = None

    def pool(self, detector: str, seed: int, taken: Collection[str], device: str = "auto") -> Pool:
        """The judge that the options describe."""
        size, layers = parse_size(self.image_size), parse_layers(self.layers)
        settings = parse_settings(self.setting or [], detector, {}, taken)
        from anomalib_lite.transductive.pool import Pool

        return Pool(
            detector,
            backbone=self.backbone,
            layers=layers,
            weights=self.weights,
            image_size=size,
            seed=seed,
            device=device,
            **settings,
        )


@grouped
def score_pool(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Folder (with subfolders), glob or video; or a data set as kind:path:category, "
            "whose test images are the pool and whose labels only measure.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder for results.jsonl, pool.json, report.html."),
    ],
    network: PoolNetwork,
    files: Files,
    detector: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_detector,
            help="A detector that judges pools: musc. Parts that lie at any angle, such as screws, "
            "stay at chance; fit a detector for them.",
            rich_help_panel=MODEL,
        ),
    ] = "musc",
    heatmaps: Heatmaps = False,
    resume: ResumePool = False,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Rank unlabelled frames by how little they resemble the others; no good images are needed.

    For parts that lie alike: the ranking of parts at any angle is no better than chance.
    """
    from anomalib_lite.report.pool_folder import PoolOutput
    from anomalib_lite.system.threads import use_threads

    use_threads(threads)
    pool = network.pool(detector, seed, option_names(score_pool), device)
    options = {"device": device, "threads": threads, "heatmaps": heatmaps, **asdict(files)}
    output = PoolOutput(out, heatmaps, options=options)
    report, figures = judge(pool, source, files, output, resume)
    screen = console()
    screen.print(
        f"{out / 'report.html'}: {len(report.names)} images, {len(report.suspects)} stand out of "
        f"their pool; protocol {report.facts['protocol']}",
        markup=False,
    )
    if figures is not None:
        values = figures["metrics"]
        shown = [f"{name} {100 * value:.1f}" for name, value in values.items() if value is not None]
        screen.print(f"measured with the labels: {', '.join(shown)}", markup=False)
    tell_unreadable(report)


def judge(
    pool: Pool, source: str, files: Files, output: PoolOutput, resume: bool
) -> tuple[PoolReport, dict[str, Any] | None]:
    """Say what it will take, then judge; shared with `audit`."""
    from anomalib_lite.report.pool_folder import judge_to_folder, open_pool

    reading = files.reading(pool.spec.exif)
    opened = open_pool(source, reading.open, pool.spec.exif, reading.max_megapixels)
    cost = pool.cost(max(2, len(opened.frames)))
    console(stderr=True).print(f"{cost}; {_MAY_INTERRUPT}", markup=False)
    with progress_bar() as progress:
        return judge_to_folder(pool, opened, output, resume=resume, progress=progress)


def tell_unreadable(report: PoolReport) -> None:
    """List what could not be used, and end with status 3 if there is anything."""
    if not report.skipped:
        return
    screen = console()
    screen.print(f"{len(report.skipped)} image(s) could not be used:", style="red")
    for name, why in list(report.skipped.items())[:_MOST_LISTED]:
        screen.print(f"  {name}: {why}", markup=False)
    raise typer.Exit(UNUSABLE)
