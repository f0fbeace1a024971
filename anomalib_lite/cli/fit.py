"""`anomalib-lite fit`: good images -> a fitted, calibrated detector."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from anomalib_lite.cli.common import UNUSABLE, bold, check_detector_name, console
from anomalib_lite.cli.contamination import Contamination, fit_audited
from anomalib_lite.cli.grouped import grouped, option_names
from anomalib_lite.cli.image_size import InputSize, chosen_spec, too_small
from anomalib_lite.cli.options import (
    THRESHOLD,
    Calibration,
    Device,
    Frames,
    GroupBy,
    MaxFalseReject,
    Network,
    Seed,
    Threads,
)
from anomalib_lite.cli.products import images_to_fit
from anomalib_lite.cli.progress import progress_bar
from anomalib_lite.cli.promise import report_promise, write_report
from anomalib_lite.cli.reading import Files
from anomalib_lite.cli.training import Training
from anomalib_lite.cli.visible import visible

if TYPE_CHECKING:
    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.edge.prepare import InputSpec
    from anomalib_lite.edge.sources import SourceLike
    from anomalib_lite.tuning.layer_selection import LayerChoice


_POD_SHARE = 0.09  # of the fit's time, for the line on sizes


@dataclass(frozen=True, kw_only=True)
class GoodImages:
    """What is learnt from."""

    panel: ClassVar[str] = "Good images"
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="Good images: a folder, a glob such as 'day1/**/*.png', a video.",
        ),
    ] = None
    product: Annotated[
        list[str] | None,
        typer.Option(
            "--product",
            metavar="NAME=FOLDER",
            help="In place of SOURCE, for one model of several products (--detector gda); once for "
            "each product.",
        ),
    ] = None
    products: Annotated[
        bool,
        typer.Option(
            "--products",
            metavar="",
            help="SOURCE has a subfolder of good images for each product.",
        ),
    ] = False


@grouped
def fit(
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Where to write the detector (.safetensors).")
    ],
    images: GoodImages,
    network: Network,
    seen: InputSize,
    frames: Frames,
    files: Files,
    contamination: Contamination,
    training: Training,
    max_false_reject: MaxFalseReject = 0.01,
    calibration: Annotated[
        Calibration,
        typer.Option(
            metavar="HOW",
            help="folds: every image serves for learning and, out-of-fold, for the threshold; "
            "holdout keeps a fifth aside (strict guarantee); auto: folds where they are cheap.",
            rich_help_panel=THRESHOLD,
        ),
    ] = "auto",
    group_by: GroupBy = "auto",
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            metavar="",
            help="Write OUT.fit.html: the promise, and pictures of the good images that the "
            "threshold rests on.",
            rich_help_panel=THRESHOLD,
        ),
    ] = False,
    pod: Annotated[
        bool,
        typer.Option(
            "--pod/--no-pod",
            metavar="",
            help="End with how small simulated spots and scratches may be, where a tenth of the "
            "fit's time is enough to measure it.",
            rich_help_panel=THRESHOLD,
        ),
    ] = True,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Learn what good parts look like and choose a threshold, from good images only.

    Options that only one kind of detector has: fit --detector NAME --help.
    """
    from anomalib_lite.edge.files import ensure_writable
    from anomalib_lite.system.threads import use_threads

    contamination.check(training.resume)
    check_detector_name(out)
    use_threads(threads)
    smallest_px = seen.smallest_px()
    spec = None if seen.size_hw is None else frames.spec(seen.size_hw)
    settings = network.settings(option_names(fit), **training.settings())
    training.check_resume(network.detector)
    source, made_for = images_to_fit(
        images.source,
        images.product or [],
        images.products,
        network.detector,
        files.reading(frames.exif),
    )
    ensure_writable(out)
    if spec is None:
        judged = (network, settings | made_for, source, smallest_px)
        spec = chosen_spec(frames, *judged, group_by=group_by, seed=seed, device=device)
    fitted = _unfitted(
        network,
        source,
        settings | made_for,
        image_size=spec,
        seed=seed,
        device=device,
        calibration=calibration,
        max_false_reject=max_false_reject,
    )
    started = time.monotonic()
    _fit(fitted, source, out, contamination, training.resume, group_by)
    seconds = time.monotonic() - started if pod else 0.0
    if report:
        write_report(fitted, source, out)
    too_small(fitted, smallest_px)
    finish(fitted, out, source, _POD_SHARE * seconds)


def _unfitted(
    network: Network, source: SourceLike, settings: dict[str, Any], **options: Any
) -> Detector:
    """The detector that the options describe; `--layers auto` looks at the images."""
    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.scorers import create_scorer

    chosen = None
    if network.layers == "auto":
        scorer = create_scorer(network.detector, **settings)
        named = network.backbone or scorer.default_backbone()[0]
        chosen = _chosen_layers(
            source, named, options["image_size"], network.weights, options["seed"]
        )
    fitted = Detector(
        network.detector,
        backbone=network.backbone,
        layers=chosen.layers if chosen else network.layer_names(),
        weights=network.weights,
        **options,
        **settings,
    )
    fitted.layer_choice = chosen.to_dict() if chosen else {}
    return fitted


def _chosen_layers(
    images: SourceLike, backbone: str, spec: InputSpec, weights: Path | None, seed: int
) -> LayerChoice:
    """Layers that the good images speak for; prints why."""
    from anomalib_lite.tuning.layer_selection import choose_layers

    with progress_bar() as progress:
        choice = choose_layers(
            images, backbone=backbone, spec=spec, weights=weights, seed=seed, progress=progress
        )
    for line in choice.explain():
        console().print(line, markup=False)
    return choice


def _fit(
    fitted: Detector,
    source: SourceLike,
    out: Path,
    contamination: Contamination,
    resume: bool,
    group_by: str,
) -> None:
    err, checkpoint = console(stderr=True), out.with_suffix(".checkpoint")
    err.print(f"memory for statistics: about {fitted.memory_bytes() / 1e6:.0f} MB")
    if contamination.audited:
        fit_audited(fitted, source, out, contamination, group_by)
        return
    if resume and not checkpoint.is_dir():
        err.print(f"{checkpoint}: no checkpoint there; starting from the beginning", markup=False)
    with progress_bar() as progress:
        fitted.fit(
            source, progress=progress, checkpoint=checkpoint, resume=resume, group_by=group_by
        )


def finish(
    fitted: Detector, out: Path, source: SourceLike | None = None, seconds: float = 0.0
) -> None:
    """Save, say what came out, and end with the status that it deserves.

    Args:
        fitted: the detector.
        out: its file.
        source: what it was fitted on, to put simulated defects on.
        seconds: that this may take; 0 for none.
    """
    from anomalib_lite.cli.signals import stopped_early
    from anomalib_lite.scorers.training.checkpoints import remove_checkpoint

    fitted.save(out)
    report_fit(fitted, out)
    if source is not None and seconds > 0:
        _tell_sizes(fitted, source, seconds)
    if fitted.scorer.stopped_early:
        console().print(f"stopped early; {out} works, and --resume goes on training", markup=False)
        raise typer.Exit(stopped_early())
    remove_checkpoint(out.with_suffix(".checkpoint"))
    if fitted.data.skipped:
        raise typer.Exit(UNUSABLE)


def _tell_sizes(fitted: Detector, source: SourceLike, seconds: float) -> None:
    from anomalib_lite.edge.sources import open_source
    from anomalib_lite.evaluation.pod.quick import quick_line

    line = quick_line(fitted, open_source(source, exif=fitted.spec.exif), seconds=seconds)
    if line is not None:
        console().print(line, markup=False, soft_wrap=True)


def report_fit(fitted: Detector, out: Path) -> None:
    """Print what was learnt, from how many images, and what the threshold promises."""
    screen, data, operating = console(), fitted.data, fitted.calibration.operating
    screen.print(
        f"{bold(out)}: {fitted.scorer.name} on {fitted.backbone.name}, {data.images} good images"
    )
    if fitted.protocol:
        screen.print(f"protocol: {fitted.protocol}", markup=False)
    for line in visible(fitted.spec, data.frame_hw):
        screen.print(line, markup=False)
    for line in data.hints:
        screen.print(f"note: {line}", markup=False, style="yellow", soft_wrap=True)
    screen.print(f"threshold {operating.threshold:.4g} ({fitted.calibration.method})")
    style = "green" if operating.honoured else "yellow"
    screen.print(operating.explain(), style=style, markup=False, soft_wrap=True)
    report_promise(fitted)
    for name in fitted.calibration.groups:
        alone = fitted.calibration.for_group(name).operating
        screen.print(
            f"  {name}: threshold {alone.threshold:.4g}, {alone.explain()}",
            markup=False,
            soft_wrap=True,
        )
    reference = fitted.calibration.reference
    if reference:
        realised = reference["sum"]["realised_false_reject"]
        screen.print(
            f"for comparison, the chi quantile of the MVG paper would reject {realised:.1%} of "
            f"held-out good images where {reference['requested_false_reject']:.1%} was asked"
        )
    if data.skipped:
        screen.print(f"[red]{len(data.skipped)} image(s) could not be used:[/red]")
        for name, why in list(data.skipped.items())[:20]:
            screen.print(f"  {name}: {why}", markup=False)
