"""Pieces that both reports are made of: the page, cards, tables, galleries, the colour legend."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomalib_lite import __version__
from anomalib_lite.edge.overlay import COLOURS_RGB, LEVELS, OPACITIES
from anomalib_lite.report.html import Child, Markup, join, number, shorten, tag
from anomalib_lite.report.pictures import Picture, data_uri
from anomalib_lite.report.style import CSS, SORT_SCRIPT

_LEGEND_GREY = 150
_LEGEND_STEPS, _LEGEND_PX, _LEGEND_MARGIN = 60, 6, 20
_LEGEND_END = 3.25
_LONGEST_VALUE = 400
_MOST_LISTED = 50

NO_VALUE = "–"
_CLOSING = f"anomalib_lite {__version__}. This file is complete in itself and loads nothing."


def page(title: str, lead: Child, body: Iterable[Child]) -> str:
    """A whole HTML document that loads nothing: the policy in its head forbids it."""
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(CSS)}; "
        f"script-src {_digest(SORT_SCRIPT)}; base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(CSS)),
    )
    top = tag("header", tag("h1", title), tag("p", lead, class_="lead"), class_="top")
    main = tag("main", body)
    footer = tag("footer", _CLOSING)
    script = tag("script", Markup(SORT_SCRIPT))
    document = tag("html", head, tag("body", top, main, footer, script), lang="en")
    return f"<!doctype html>\n{document}\n"


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def section(
    heading: str, *children: Child, anchor: str | None = None, class_: str | None = None
) -> Markup:
    """A chapter with its heading."""
    return tag("section", tag("h2", heading, id=anchor), children, class_=class_)


def together(children: Iterable[Child]) -> Markup:
    """What should stay on one printed page."""
    return tag("div", children, class_="intro")


def card(what: str, big: str, *more: Child) -> Markup:
    """A headline figure: what it is, the figure, what it rests on."""
    return tag(
        "div",
        tag("div", what, class_="what"),
        tag("div", big, class_="big"),
        (tag("div", line, class_="more") for line in more),
        class_="card",
    )


def cards(items: Iterable[Markup]) -> Markup:
    """Headline figures side by side."""
    return tag("div", items, class_="cards")


def hint(headline: str, text: Child, kind: str = "") -> Markup:
    """A remark that should not be overlooked; `kind` is "", `bad` or `fine`."""
    return tag("p", tag("strong", headline), text, class_=f"hint {kind}".strip())


@dataclass(frozen=True)
class Cell:
    """A table cell: what is shown and, for sorting, its value; NaN sorts last.

    Attributes:
        shown: content.
        value: sorts the column; None sorts by the words.
        left: whether a number stands on the left all the same.
    """

    shown: Child
    value: float | None = None
    left: bool = False

    def markup(self) -> Markup:
        """The cell; numbers stand on the right."""
        if self.value is None:
            return tag("td", self.shown, class_="name")
        key = "" if math.isnan(self.value) else f"{self.value:.6g}"
        return tag("td", self.shown, class_=None if self.left else "num", data_value=key)


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    numbers_from: int = 1,
    class_: str = "",
) -> Markup:
    """A table that a click on a heading sorts, where scripts run.

    Args:
        heads: headings; from column `numbers_from` on they stand over numbers.
        rows: cells of each row.
        numbers_from: first column of numbers.
        class_: further CSS class.
    """
    headings = [
        tag("th", head, scope="col", class_="num" if column >= numbers_from else None)
        for column, head in enumerate(heads)
    ]
    body = tag("tbody", (tag("tr", (cell.markup() for cell in row)) for row in rows))
    written = tag(
        "table", tag("thead", tag("tr", headings)), body, class_=f"sortable {class_}".strip()
    )
    return tag("div", written, class_="scroll")


def facts(values: Mapping[str, Any]) -> Markup:
    """Nested plain data as a table of names and values."""
    rows = [
        tag("tr", tag("th", name, scope="row"), tag("td", tag("code", value)))
        for name, value in _flat(values)
    ]
    return tag("table", tag("tbody", rows), class_="plain")


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name} · ")
        elif isinstance(value, (list, tuple)):
            rows.append((name, shorten(", ".join(_plain(item) for item in value), _LONGEST_VALUE)))
        else:
            rows.append((name, shorten(_plain(value), _LONGEST_VALUE)))
    return rows


def _plain(value: Any) -> str:
    if value is None:
        return NO_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def unreadable_list(unreadable: Mapping[str, str], total: int | None = None) -> Markup:
    """Names and reasons, the first fifty of them; `total` counts those not even listed."""
    rows = [
        [Cell(shorten(name)), Cell(shorten(why, 240))]
        for name, why in list(unreadable.items())[:_MOST_LISTED]
    ]
    more = max(total or 0, len(unreadable)) - len(rows)
    rest = tag("p", f"and {more} more", class_="note") if more > 0 else None
    return join([table(["frame", "why"], rows, numbers_from=2), rest])


def figure(picture: Picture | None, alt: str, caption: Iterable[Child]) -> Markup:
    """A frame beside its heat map, with a caption."""
    return tag("figure", _images(picture, alt), tag("figcaption", caption))


def _images(picture: Picture | None, alt: str) -> Markup:
    if picture is None:
        return tag("div", "no picture: see the file", class_="missing")
    views = [(picture.plain, f"{alt}: the frame")]
    if picture.heat is not None:
        views.append((picture.heat, f"{alt}: the frame under its heat map"))
    images = [
        tag("img", src=data_uri(data), alt=text, width=picture.width, height=picture.height)
        for data, text in views
    ]
    return tag("div", images, class_="pair" if len(images) == 2 else "pair one")


def gallery(figures: Iterable[Markup]) -> Markup:
    """Figures in rows."""
    return tag("div", figures, class_="gallery")


def colour_legend(note: str | None = None) -> Markup:
    """The heat map's colours over grey, with what they mean; `note` is added."""
    levels = (np.arange(_LEGEND_STEPS) + 0.5) * (_LEGEND_END / _LEGEND_STEPS)
    opacity = np.interp(levels, LEVELS, OPACITIES, left=0.0)
    columns = [np.interp(levels, LEVELS, column) for column in np.asarray(COLOURS_RGB).T]
    shown = [column * opacity + _LEGEND_GREY * (1 - opacity) for column in columns]
    boxes = [
        tag(
            "rect",
            x=index * _LEGEND_PX + _LEGEND_MARGIN,
            y=0,
            width=_LEGEND_PX,
            height=14,
            fill="#" + "".join(f"{round(float(band[index])):02x}" for band in shown),
        )
        for index in range(_LEGEND_STEPS)
    ]
    wide = _LEGEND_STEPS * _LEGEND_PX
    threshold_px = number(_LEGEND_MARGIN + wide / _LEGEND_END)
    labels = [
        tag("text", "usual good image", x=0, y=28),
        tag("text", "threshold", x=threshold_px, y=28, text_anchor="middle"),
    ]
    drawn = tag(
        "svg",
        join(boxes),
        join(labels),
        role="img",
        aria_label="Colour scale: clear up to halfway between what a usual good image reaches "
        "and the map threshold, yellow near it, orange at it, dark red two such gaps above it",
        viewBox=f"0 0 {wide + 2 * _LEGEND_MARGIN} 32",
        width=wide + 2 * _LEGEND_MARGIN,
        height=32,
    )
    words = (
        "Colours are anchored at good images and mean the same on every picture: clear up to "
        "halfway between the highest place of a usual good image and the calibrated map threshold, "
        "red above the threshold. They are never stretched to fit one picture."
    )
    said = words if note is None else f"{words} {note}"
    return tag("div", drawn, tag("p", said, class_="note"), class_="legend")


def colour_key(entries: Sequence[tuple[str, str]]) -> Markup:
    """Small squares of CSS classes with their meaning."""
    return tag(
        "div",
        (
            tag(
                "span",
                tag(
                    "svg",
                    tag("rect", width=11, height=11, class_=class_),
                    width=11,
                    height=11,
                    aria_hidden="true",
                ),
                words,
            )
            for class_, words in entries
        ),
        class_="key",
    )
