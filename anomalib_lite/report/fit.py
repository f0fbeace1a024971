"""The page of a fit: what its threshold promises, and the good images that it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.edge.runs.scoring import score_source
from anomalib_lite.edge.sources import Source
from anomalib_lite.report.components import (
    Cell,
    card,
    cards,
    colour_legend,
    figure,
    gallery,
    hint,
    page,
    section,
    table,
)
from anomalib_lite.report.html import Child, Markup, shorten, tag
from anomalib_lite.report.pictures import Picture, make_picture
from anomalib_lite.report.words import percent, promise

if TYPE_CHECKING:
    from anomalib_lite.detector.detector import Detector

MOST_PICTURES = 12


def write_fit(detector: Detector, source: Source, path: str | Path) -> Path:
    """Write a self-contained HTML page of a fit; returns its path.

    Args:
        detector: fitted on the images of `source`.
        source: for the pictures.
        path: the file.
    """
    write_bytes_atomic(path, render_fit(detector, source).encode("utf-8", "replace"))
    return Path(path)


def render_fit(detector: Detector, source: Source) -> str:
    """The page as HTML text."""
    from anomalib_lite.detector.resting import explain_resting, rests_on
    from anomalib_lite.edge.rates import distinct_rows, out_of_reach

    calibration, data = detector.calibration, detector.data
    operating = calibration.operating
    body: list[Child] = [
        cards(
            [
                card("Good images", str(data.images), f"{data.parts} of them independent."),
                card("Threshold", f"{operating.threshold:.4g}", f"{calibration.method}."),
                card(
                    "Good parts rejected",
                    f"{percent(operating.false_reject_rate)}, at most "
                    f"{percent(operating.upper_bound)}",
                    f"Promised: {promise(operating.false_reject_rate, operating.upper_bound)}.",
                    f"{operating.standing().capitalize()}.",
                ),
            ]
        )
    ]
    if words := explain_resting(data, calibration):
        body.append(hint("Few images set the threshold", f"{words}.", "bad"))
    points = calibration.at_rates()
    rows = [
        [
            Cell(row.words, row.asked[0]),
            Cell(f"{row.point.threshold:.4g}", row.point.threshold),
            Cell(percent(row.point.false_reject_rate), row.point.false_reject_rate),
            Cell(percent(row.point.upper_bound), row.point.upper_bound),
        ]
        for row in distinct_rows(points)
    ]
    heads = ["asked", "threshold", "rejected on average", "at most, 95 % confidence"]
    missing = out_of_reach(points)
    body.append(
        section("Other rates", table(heads, rows), tag("p", f"{missing}.") if missing else None)
    )
    body.append(_oddest(detector))
    resting = rests_on(data, calibration, MOST_PICTURES)
    captions = {
        item.name: f"held-out score {item.record.score or 0.0:.4g} · threshold without it "
        f"{item.without:.4g}"
        for item in resting
    }
    body.append(_pictures("The good images with the highest scores", detector, source, captions))
    lead = f"{shorten(data.source)}: {detector.scorer.name} on {detector.backbone.name}."
    return page("Fit", lead, body)


def _oddest(detector: Detector) -> Markup | None:
    """The images that set the threshold, and what it would be without each and without all."""
    from anomalib_lite.detector.resting import threshold_without

    threshold = detector.calibration.threshold
    oddest, together = threshold_without(detector.data, detector.calibration)
    if not oddest:
        return None

    def row(words: str, score: float | None, without: float) -> list[Cell]:
        change = 0.0 if threshold == 0 else without / threshold - 1
        return [
            Cell(words),
            Cell("", None) if score is None else Cell(f"{score:.4g}", score),
            Cell(f"{without:.4g}", without),
            Cell(f"{100 * change:+.1f} %", change),
        ]

    rows = [row(shorten(item.name), item.record.score, item.without) for item in oddest]
    if len(oddest) > 1:
        rows.append(row("all of them", None, together))
    heads = ["good image", "held-out score", "threshold without it", "change"]
    return section("What the threshold rests on", table(heads, rows))


def write_refused(
    detector: Detector, source: Source, rejected: Sequence[tuple[str, float]], path: str | Path
) -> Path:
    """Write the page of new images that a model rejects; returns its path.

    Args:
        detector: as it was before it saw them.
        source: of the new images.
        rejected: name and score of each, highest score first.
        path: the file.
    """
    captions = {name: f"score {score:.4g}" for name, score in rejected[:MOST_PICTURES]}
    words = (
        "A person should look at each: a defective part that is learnt as good lets others like it "
        "pass; a good part of a new kind belongs into the fit (--force)."
    )
    body: list[Child] = [
        cards([card("Rejected", str(len(rejected)), f"Threshold {detector.threshold:.4g}.")]),
        hint("The model rejects these new images", words, "bad"),
        _pictures("Highest score first", detector, source, captions),
    ]
    text = page("Images to add", f"{shorten(source.name)}.", body)
    write_bytes_atomic(path, text.encode("utf-8", "replace"))
    return Path(path)


def _pictures(
    heading: str, detector: Detector, source: Source, captions: dict[str, str]
) -> Markup | None:
    """Pictures of the images of some names, in that order, with the heat maps of the model."""
    from anomalib_lite.detector.chosen_frames import ChosenFrames
    from anomalib_lite.detector.thumbnails import name_below

    places: dict[int, str] = {}
    for index, job in enumerate(source.jobs()):
        for name in (job.name, name_below(job.name, source.name)):
            if name in captions and name not in places.values():
                places[index] = name
    found: dict[str, Picture | None] = {}
    judged = score_source(detector, ChosenFrames(source, places), batch=1)
    for index, item in zip(sorted(places), judged, strict=True):
        if item.frame is None or item.prediction is None:
            continue
        found[places[index]] = make_picture(
            item.frame,
            item.prediction.network_map if detector.localises else None,
            spec=item.prediction.spec,
            colours=detector.calibration.colours,
        )
    if not found:
        return None
    return section(
        heading,
        colour_legend() if detector.localises else None,
        gallery(
            figure(found[name], name, [tag("span", shorten(name), class_="file"), f" · {words}"])
            for name, words in captions.items()
            if name in found
        ),
    )
