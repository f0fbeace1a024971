"""`anomalib-lite evaluate`: data sets × detectors × seeds -> figures and how they were made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from anomalib_lite.cli.common import UNUSABLE, bold, console
from anomalib_lite.cli.grouped import grouped
from anomalib_lite.cli.names import complete_backbone, complete_detector
from anomalib_lite.cli.options import (
    DEFAULT_MEGAPIXELS,
    MODEL,
    RUN,
    Device,
    ImageSize,
    MaxFalseReject,
    MaxMegapixels,
    Threads,
    Weights,
)
from anomalib_lite.cli.progress import progress_bar
from anomalib_lite.cli.values import parse_layers, parse_pairs, parse_size

if TYPE_CHECKING:
    from anomalib_lite.evaluation import EvaluationSettings
    from anomalib_lite.evaluation.plan import PlannedRun

MapResolution = Literal["frame", "network"]
_MOST_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is measured, and on how much."""

    panel: ClassVar[str] = "What is measured"
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="Fit anew with so many seeds, from 0.")
    ] = 3
    limit_train: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Fit on so many good images, drawn by the seed (few-shot). Default: all.",
        ),
    ] = None
    no_pixel: Annotated[
        bool,
        typer.Option(
            "--no-pixel", metavar="", help="Skip the maps; image figures only, and quicker."
        ),
    ] = False
    map_resolution: Annotated[
        MapResolution,
        typer.Option(help="frame measures maps at the original size; network as some papers do."),
    ] = "frame"
    unlabelled_shift: Annotated[
        bool,
        typer.Option(
            "--unlabelled-shift",
            metavar="",
            help="Re-score good images under changes of lamp, optics and pose.",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Which scorers on which backbones; each with each."""

    panel: ClassVar[str] = MODEL
    detector: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_detector,
            help="padim, mvg, …; repeat for more. Default: patchcore. Its settings: --detector "
            "NAME --help.",
        ),
    ] = None
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_backbone,
            help="pdn_edge or a timm name; repeat for more. Default: pdn_edge.",
        ),
    ] = None
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Layers of the one backbone, comma-separated. Default: its own. For one "
            "detector: --set mvg.layers=layer2,layer3.",
        ),
    ] = None
    weights: Weights = None
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Setting of the detectors: sigma=3 for all, padim.sigma=3 for one.",
        ),
    ] = None


@grouped
def evaluate(
    data: Annotated[
        list[str],
        typer.Option(
            metavar="KIND:PATH",
            help="Data set, kind:path[:category]; repeat for more. See anomalib-lite datasets.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder for metrics.json, .csv, .md and runs/."),
    ],
    compared: Compared,
    measured: Measured,
    image_size: ImageSize = "256",
    max_false_reject: MaxFalseReject = 0.01,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar="",
            help="Keep the runs that OUT already holds.",
            rich_help_panel=RUN,
        ),
    ] = False,
    max_megapixels: MaxMegapixels = DEFAULT_MEGAPIXELS,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Measure detectors on data sets: fit on good images, threshold from held-out good images."""
    from anomalib_lite.evaluation import evaluate as run_evaluation
    from anomalib_lite.evaluation.tables import category_table
    from anomalib_lite.system.threads import use_threads

    use_threads(threads)
    settings = _settings(data, compared, measured, image_size, max_false_reject, max_megapixels)
    with progress_bar() as progress:
        summary = run_evaluation(
            settings, out, resume=resume, device=device, progress=progress, on_run=_tell
        )
    console().print(category_table(summary["by_category"]), markup=False)
    console().print(f"{bold(out / 'metrics.md')}, metrics.json, metrics.csv")
    _tell_missing_figures(summary["runs"])
    if _tell_unusable(summary["runs"]):
        raise typer.Exit(UNUSABLE)


def _settings(
    data: list[str],
    compared: Compared,
    measured: Measured,
    image_size: str,
    max_false_reject: float,
    max_megapixels: float,
) -> EvaluationSettings:
    size, given = parse_size(image_size), parse_pairs(compared.setting or [])
    named = parse_layers(compared.layers)
    from anomalib_lite.evaluation import EvaluationSettings

    return EvaluationSettings(
        data=tuple(data),
        detectors=tuple(compared.detector or EvaluationSettings.detectors),
        backbones=tuple(compared.backbone or EvaluationSettings.backbones),
        seeds=measured.seeds,
        image_size=size,
        layers=None if named is None else tuple(named),
        weights=compared.weights,
        max_false_reject=max_false_reject,
        settings=given,
        limit_train=measured.limit_train,
        pixel=not measured.no_pixel,
        map_resolution=measured.map_resolution,
        unlabelled_shift=measured.unlabelled_shift,
        max_megapixels=max_megapixels,
    )


def _tell(run: PlannedRun, record: dict[str, Any], resumed: bool) -> None:
    value = record["metrics"]["image_auroc"]
    figure = "no image AUROC" if value is None else f"image AUROC {100 * value:.1f}"
    kept = " (kept)" if resumed else ""
    console(stderr=True).print(f"{run.label}: {figure}{kept}", markup=False)


def _tell_missing_figures(runs: list[dict[str, Any]]) -> None:
    """Say once why pixel figures are missing, where they were asked for."""
    reasons: dict[str, list[str]] = {}
    for run in runs:
        why = run["reasons"].get("pixel_auroc", "")
        if why:
            where = f"{run['data']} {run['category']}"
            found = reasons.setdefault(why, [])
            found += [] if where in found else [where]
    for why, found in reasons.items():
        others = f" and {len(found) - 1} more" if len(found) > 1 else ""
        console(stderr=True).print(
            f"no pixel figures for {found[0]}{others}: {why}", style="yellow", markup=False
        )


def _tell_unusable(runs: list[dict[str, Any]]) -> bool:
    """List images and masks that could not be used; returns whether there are any."""
    unusable: dict[str, str] = {}
    for run in runs:
        for field in ("skipped_training_images", "skipped_test_images", "unusable_masks"):
            unusable.update({f"{run['data']} {name}": why for name, why in run[field].items()})
    screen = console(stderr=True)
    if unusable:
        screen.print(f"{len(unusable)} image(s) or mask(s) could not be used:", style="red")
    for name, why in list(unusable.items())[:_MOST_LISTED]:
        screen.print(f"  {name}: {why}", markup=False)
    return bool(unusable)
