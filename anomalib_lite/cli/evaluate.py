"""`anomalib-lite evaluate`: data sets × detectors × seeds -> figures and how they were made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomalib_lite.cli.common import console, parse_settings, parse_size, progress_bar

if TYPE_CHECKING:
    from anomalib_lite.evaluation.plan import PlannedRun

UNUSABLE = 3


def evaluate(
    data: Annotated[
        list[str],
        typer.Option(help="kind:path[:category]; repeat for more. See anomalib-lite datasets."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, .csv, .md and runs/.")],
    detector: Annotated[
        list[str] | None, typer.Option(help="padim, mvg, …; repeat for more. Default: patchcore.")
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(help="pdn_edge or a timm name; repeat for more. Default: pdn_edge."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Fit anew with so many seeds, from 0.")] = 3,
    image_size: Annotated[
        str, typer.Option(help="What the network sees, pixels: 256 or HxW.")
    ] = "256",
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the runs that OUT already holds.")
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Weights of the one backbone (.safetensors); default: the folder in "
            "ANOMALIB_LITE_WEIGHTS, then the hub."
        ),
    ] = None,
    max_false_reject: Annotated[
        float, typer.Option(help="Share of good parts that may be rejected.")
    ] = 0.01,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Setting of the detectors: sigma=3 for all, padim.sigma=3 for one."
        ),
    ] = None,
    limit_train: Annotated[
        int | None,
        typer.Option(help="Fit on so many good images, drawn by the seed (few-shot)."),
    ] = None,
    no_pixel: Annotated[
        bool, typer.Option("--no-pixel", help="Skip the maps; image figures only, and quicker.")
    ] = False,
    map_resolution: Annotated[
        str,
        typer.Option(help="frame measures maps at the original size; network as some papers do."),
    ] = "frame",
    unlabelled_shift: Annotated[
        bool,
        typer.Option(
            "--unlabelled-shift",
            help="Re-score good images under changes of lamp, optics and pose.",
        ),
    ] = False,
) -> None:
    """Measure detectors on data sets: fit on good images, threshold from held-out good images."""
    from typing import cast

    from anomalib_lite.evaluation import EvaluationSettings, MapResolution
    from anomalib_lite.evaluation import evaluate as run_evaluation
    from anomalib_lite.evaluation.tables import category_table

    settings = EvaluationSettings(
        data=tuple(data),
        detectors=tuple(detector or EvaluationSettings.detectors),
        backbones=tuple(backbone or EvaluationSettings.backbones),
        seeds=seeds,
        image_size=parse_size(image_size),
        weights=weights,
        max_false_reject=max_false_reject,
        settings=parse_settings(setting or []),
        limit_train=limit_train,
        pixel=not no_pixel,
        map_resolution=cast(MapResolution, map_resolution),
        unlabelled_shift=unlabelled_shift,
    )
    with progress_bar() as progress:
        summary = run_evaluation(settings, out, resume=resume, progress=progress, on_run=_tell)
    console().print(category_table(summary["by_category"]), markup=False)
    console().print(f"[bold]{out / 'metrics.md'}[/bold], metrics.json, metrics.csv")
    if _tell_unusable(summary["runs"]):
        raise typer.Exit(UNUSABLE)


def _tell(run: PlannedRun, record: dict[str, Any], resumed: bool) -> None:
    value = record["metrics"]["image_auroc"]
    figure = "no image AUROC" if value is None else f"image AUROC {100 * value:.1f}"
    kept = " (kept)" if resumed else ""
    console(stderr=True).print(f"{run.label}: {figure}{kept}", markup=False)


def _tell_unusable(runs: list[dict[str, Any]]) -> bool:
    """List images and masks that could not be used; returns whether there are any."""
    unusable: dict[str, str] = {}
    for run in runs:
        for field in ("skipped_training_images", "skipped_test_images", "unusable_masks"):
            unusable.update({f"{run['data']} {name}": why for name, why in run[field].items()})
    screen = console(stderr=True)
    if unusable:
        screen.print(f"{len(unusable)} image(s) or mask(s) could not be used:", style="red")
    for name, why in list(unusable.items())[:20]:
        screen.print(f"  {name}: {why}", markup=False)
    return bool(unusable)
