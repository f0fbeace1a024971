"""`anomalib-lite pod`: how small a defect may be, at the calibrated threshold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomalib_lite.cli.common import UNUSABLE, bold, console, open_model
from anomalib_lite.cli.grouped import grouped
from anomalib_lite.cli.options import EngineOption, ModelFile, Seed, Threads
from anomalib_lite.cli.progress import progress_bar
from anomalib_lite.cli.reading import Files
from anomalib_lite.cli.simulated_options import DEFECTS, ObjectMask, where_from

if TYPE_CHECKING:
    from anomalib_lite.detector.detector import Detector
    from anomalib_lite.edge.model import EdgeModel
    from anomalib_lite.evaluation.pod import PodStudy

_SHOWN = 5


@grouped
def pod(
    model: ModelFile,
    good: Annotated[
        str,
        typer.Argument(metavar="GOOD", help="Good images that the model has not seen."),
    ],
    files: Files,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For pod.html and pod.json. Default: MODEL.pod."),
    ] = None,
    mm_per_pixel: Annotated[
        float | None,
        typer.Option(metavar="MM", help="Millimetres that a pixel of the images shows."),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Kind of defect (see simulate; not perlin); may be repeated. Default: all but "
            "cutpaste, scar.",
            rich_help_panel=DEFECTS,
        ),
    ] = None,
    contrast: Annotated[
        list[float] | None,
        typer.Option(
            metavar="LEVELS",
            help="Contrast in grey levels of 255, 40 by default; repeat it for a curve of each.",
            rich_help_panel=DEFECTS,
        ),
    ] = None,
    trials: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Defects of each kind and contrast, at least 40.",
            rich_help_panel=DEFECTS,
        ),
    ] = 100,
    textures: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Pictures that foreign bodies look like. Default: made ones.",
            rich_help_panel=DEFECTS,
        ),
    ] = None,
    object_mask: ObjectMask = "auto",
    max_false_reject: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Another false-reject rate than the one stored."),
    ] = None,
    seed: Seed = 0,
    engine: EngineOption = None,
    threads: Threads = None,
) -> None:
    """Measure the probability of detection against size on simulated defects (docs/pod.md).

    Says how small such a defect may be; not that real defects of that size are found.
    """
    from anomalib_lite.data.simulate.families import PLAIN_KINDS
    from anomalib_lite.edge.runs.ownership import owned
    from anomalib_lite.evaluation.pod import read_photographs, run_study
    from anomalib_lite.evaluation.pod.study import DEFAULT_CONTRAST

    where = where_from(object_mask)
    opened = open_model(model, max_false_reject=max_false_reject, engine=engine, threads=threads)
    source = files.reading(opened.spec.exif).open_good(good)
    folder = out if out is not None else model.with_suffix(".pod")
    with owned(folder), progress_bar() as progress:
        progress("judging good images", 0, 0)
        photographs = read_photographs(opened, source, where=where, seed=seed)
        study = run_study(
            opened,
            photographs,
            kinds=tuple(kind or PLAIN_KINDS),
            contrasts=tuple(contrast or (DEFAULT_CONTRAST,)),
            trials=trials,
            textures=textures,
            mm_per_pixel=mm_per_pixel,
            seed=seed,
            progress=lambda name, done, total: progress(f"putting on {name}", done, total),
        )
        _write(study, opened, model, folder)
    _report(study, folder)
    if photographs.skipped:
        raise typer.Exit(UNUSABLE)


def _write(study: PodStudy, opened: Detector | EdgeModel, model: Path, folder: Path) -> None:
    from anomalib_lite.edge.describe import describe_file
    from anomalib_lite.edge.files import sha256_file, write_bytes_atomic
    from anomalib_lite.evaluation.pod.document import to_document
    from anomalib_lite.report.pod import write_pod_report

    about = describe_file(model)["about"]
    names = [about[part]["name"] for part in ("detector", "backbone")]
    facts: dict[str, Any] = {
        "file": model.name,
        "sha256": sha256_file(model),
        "name": " on ".join(names),
        "fingerprint": about["data"]["fingerprint"],
        "threshold": opened.calibration.threshold,
    }
    document = to_document(study, facts)
    text = json.dumps(document, indent=1, sort_keys=True)
    write_bytes_atomic(folder / "pod.json", text.encode())
    write_pod_report(
        study,
        folder / "pod.html",
        title=f"{facts['name']}, {model.name}.",
        threshold=f"{opened.calibration.threshold:.4g}",
    )


def _report(study: PodStudy, folder: Path) -> None:
    screen, photographs = console(), study.photographs
    screen.print(
        f"{len(photographs.usable)} good images; {len(photographs.rejected)} of "
        f"{photographs.judged} are rejected without a defect and take no part"
    )
    if photographs.warning:
        screen.print(f"warning: {photographs.warning}", style="yellow", markup=False)
    for result in study.families:
        contrast = "" if result.contrast is None else f", contrast {result.contrast:g}"
        style = "yellow" if result.a90 is None and result.curve.standing != "all found" else None
        words = result.verdict(study.mm_per_pixel)
        screen.print(f"{result.kind}{contrast}: {words}", style=style, markup=False)
    for name, why in study.left_out.items():
        screen.print(f"{name}: not tried: {why}", style="yellow", markup=False)
    screen.print(study.promise, markup=False)
    screen.print(f"{bold(folder / 'pod.html')}, pod.json")
    for name, why in list(photographs.skipped.items())[:_SHOWN]:
        screen.print(f"could not be used: {name}: {why}", style="red", markup=False)
