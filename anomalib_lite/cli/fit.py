"""`anomalib-lite fit`: good images -> a fitted, calibrated detector."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomalib_lite.cli.common import WEIGHTS, console, parse_settings, parse_size, progress_bar
from anomalib_lite.cli.contamination import check_contamination, fit_audited
from anomalib_lite.cli.products import images_to_fit
from anomalib_lite.cli.reading import DEFAULT_MEGAPIXELS, MAX_MEGAPIXELS, RECURSIVE, Reading

if TYPE_CHECKING:
    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.edge.prepare import InputSpec
    from anomalib_lite.tuning.layer_selection import LayerChoice

SKIPPED = 3
INTERRUPTED = 130


def fit(
    out: Annotated[Path, typer.Option(help="Where to write the detector (.safetensors).")],
    source: Annotated[
        str | None,
        typer.Argument(help="Good images: a folder, a glob such as 'day1/**/*.png', a video."),
    ] = None,
    product: Annotated[
        list[str] | None,
        typer.Option(
            "--product",
            help="In place of SOURCE, for one model of several products (--detector gda): "
            "NAME=FOLDER, once for each product.",
        ),
    ] = None,
    products: Annotated[
        bool,
        typer.Option("--products", help="SOURCE has a subfolder of good images for each product."),
    ] = False,
    detector: Annotated[
        str,
        typer.Option(
            help="patchcore: any part, also one that turns or moves; padim: parts that always lie "
            "the same way, quicker; mvg: logical defects, judges the part as a whole; knn: the "
            "baseline; efficientad and stfpm train by steps. Several joined by +, e.g. "
            "patchcore+mvg: one scorer over one pass."
        ),
    ] = "patchcore",
    backbone: Annotated[
        str | None,
        typer.Option(
            help="pdn_edge, in the package, is quick and the default of most detectors; resnet18 "
            "and other timm names need weights. Default: what the detector works best with."
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            help="Backbone layers, comma-separated; default: strides 4, 8 and 16. auto judges them "
            "by the good images and says why; for networks that nobody has tried yet."
        ),
    ] = None,
    weights: Annotated[Path | None, WEIGHTS] = None,
    image_size: Annotated[
        str, typer.Option(help="What the network sees, pixels: 256 or HxW.")
    ] = "256",
    max_false_reject: Annotated[
        float, typer.Option(help="Share of good parts that may be rejected.")
    ] = 0.01,
    calibration: Annotated[
        str,
        typer.Option(
            help="auto uses every image for both learning and, out-of-fold, the threshold; "
            "holdout keeps a fifth aside (strict guarantee); folds forces the former."
        ),
    ] = "auto",
    roi: Annotated[
        Path | None,
        typer.Option(help="Mask image; only its non-black pixels count. Same view as the frames."),
    ] = None,
    colour: Annotated[str, typer.Option(help="rgb, or grey to ignore colour on purpose.")] = "rgb",
    bit_depth: Annotated[
        int, typer.Option(help="Significant bits of the camera: 8, 10, 12, 14 or 16.")
    ] = 8,
    alpha: Annotated[
        str, typer.Option(help="opaque refuses transparent images; ignore drops transparency.")
    ] = "opaque",
    exif: Annotated[
        str, typer.Option(help="apply turns photographs upright by their EXIF tag; or ignore.")
    ] = "apply",
    recursive: Annotated[bool, RECURSIVE] = True,
    max_megapixels: Annotated[float, MAX_MEGAPIXELS] = DEFAULT_MEGAPIXELS,
    seed: Annotated[int, typer.Option(help="Same seed, same images: same bytes.")] = 0,
    contamination: Annotated[
        str,
        typer.Option(
            help="trust takes every image as good; audit also ranks them by how odd they look to "
            "models fitted on the others (OUT.audit.json, OUT.audit.html); exclude then fits "
            "without the suspects; downweight also counts images less the odder they look. For "
            "folders that nobody has looked through."
        ),
    ] = "trust",
    audit_by: Annotated[
        str,
        typer.Option(
            help="Who ranks for --contamination: detector, models of its own kind fitted on the "
            "others; musc, the images by each other, on the detector's backbone: for small defects "
            "where the detector judges the part as a whole. Its cost grows with their square."
        ),
    ] = "detector",
    size: Annotated[
        str | None,
        typer.Option(help="efficientad: edge (default, for two CPU cores), or the paper's S or M."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Training detectors: stop after so many steps.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Training detectors: stop after so many minutes of training."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Training detectors: continue what Ctrl-C or a crash ended (OUT.checkpoint); give "
            "the same options again.",
        ),
    ] = False,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Setting of the detector, e.g. --set components=low; of a part of several: "
            "--set patchcore.rows=2000.",
        ),
    ] = None,
) -> None:
    """Learn what good parts look like and choose a threshold, from good images only."""
    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.edge.errors import SettingsError
    from anomalib_lite.edge.files import ensure_writable
    from anomalib_lite.scorers import create_scorer

    if out.suffix != ".safetensors":
        raise SettingsError(f"--out {out}: the detector file must end in .safetensors")
    ensure_writable(out)
    check_contamination(contamination, audit_by)
    if resume and contamination != "trust":
        raise SettingsError("--resume continues one training; leave --contamination out")
    spec = _spec(image_size, colour, bit_depth, alpha, exif, roi)
    images, made_for = images_to_fit(
        source,
        product or [],
        products,
        detector,
        Reading(spec.exif, recursive, max_megapixels),
    )
    settings = _scorer_settings(setting or [], size=size, steps=steps, minutes=minutes)
    chosen = None
    if layers == "auto":
        named = backbone or create_scorer(detector, **settings).default_backbone()[0]
        chosen = _chosen_layers(images, named, spec, weights, seed)
    fitted = Detector(
        detector,
        backbone=backbone,
        layers=chosen.layers if chosen else layers.split(",") if layers else None,
        weights=weights,
        image_size=spec,
        calibration=calibration,
        max_false_reject=max_false_reject,
        seed=seed,
        **settings,
        **made_for,
    )
    fitted.layer_choice = chosen.to_dict() if chosen else {}
    checkpoint = out.with_suffix(".checkpoint")
    err = console(stderr=True)
    err.print(f"memory for statistics: about {fitted.memory_bytes() / 1e6:.0f} MB")
    if resume and not checkpoint.is_dir():
        err.print(f"{checkpoint}: no checkpoint there; starting from the beginning", markup=False)
    if contamination == "trust":
        with progress_bar() as progress:
            fitted.fit(images, progress=progress, checkpoint=checkpoint, resume=resume)
    else:
        fit_audited(fitted, images, out, contamination, audit_by)
    fitted.save(out)
    report_fit(fitted, out)
    if fitted.scorer.stopped_early:
        console().print(f"stopped early; {out} works, and --resume goes on training", markup=False)
        raise typer.Exit(INTERRUPTED)
    _remove_checkpoint(checkpoint)
    if fitted.data.skipped:
        raise typer.Exit(SKIPPED)


def _chosen_layers(
    images: Any, backbone: str, spec: InputSpec, weights: Path | None, seed: int
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


def report_fit(fitted: Detector, out: Path) -> None:
    """Print what was learnt, from how many images, and what the threshold promises."""
    screen, data, operating = console(), fitted.data, fitted.calibration.operating
    screen.print(
        f"[bold]{out}[/bold]: {fitted.scorer.name} on {fitted.backbone.name}, "
        f"{data.images} good images"
    )
    if fitted.protocol:
        screen.print(f"protocol: {fitted.protocol}", markup=False)
    screen.print(f"threshold {operating.threshold:.4g} ({fitted.calibration.method})")
    style = "green" if operating.honoured else "yellow"
    screen.print(f"[{style}]{operating.explain()}[/{style}]")
    for name in fitted.calibration.groups:
        alone = fitted.calibration.for_group(name).operating
        screen.print(f"  {name}: threshold {alone.threshold:.4g}, {alone.explain()}", markup=False)
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
            screen.print(f"  {name}: {why}")


def _remove_checkpoint(folder: Path) -> None:
    """The detector is written: its training need not be continued."""
    for path in folder.glob("*.safetensors"):
        path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _scorer_settings(pairs: list[str], **options: Any) -> dict[str, Any]:
    """What `--set` and the options give to the scorer; `--set` of an option's name is refused."""
    from anomalib_lite.edge.errors import SettingsError

    settings = parse_settings(pairs)
    for name in inspect.signature(fit).parameters.keys() & settings:
        raise SettingsError(f"--set {name}=...: write --{name.replace('_', '-')} instead")
    return settings | {name: value for name, value in options.items() if value is not None}


def _spec(
    image_size: str, colour: str, bit_depth: int, alpha: str, exif: str, roi: Path | None
) -> InputSpec:
    from typing import cast

    from anomalib_lite.edge.frames import Exif, read_frame
    from anomalib_lite.edge.prepare import Alpha, Colour, InputSpec

    height, width = parse_size(image_size)
    spec = InputSpec(
        height=height,
        width=width,
        colour=cast(Colour, colour),
        bit_depth=bit_depth,
        alpha=cast(Alpha, alpha),
        exif=cast(Exif, exif),
    )
    return spec if roi is None else spec.with_roi(read_frame(roi, exif="ignore"))
