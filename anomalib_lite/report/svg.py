"""Plots as inline SVG: a canvas with two axes, lines, bars and marks. Colours are CSS classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from anomalib_lite.report.axes import Axis
from anomalib_lite.report.html import Markup, join, number, tag

_TEXT_PX = 11
_TICK_PX = 4


@dataclass(frozen=True)
class Margin:
    """Room around the plotting area, pixels."""

    left: float = 48
    right: float = 12
    top: float = 10
    bottom: float = 38


@dataclass
class Canvas:
    """A drawing with axes; the y axis points up.

    Attributes:
        width: of the picture, pixels.
        height: of the picture, pixels.
        x: horizontal axis.
        y: vertical axis.
        margin: room around the plotting area.
        parts: elements drawn so far.
    """

    width: float
    height: float
    x: Axis
    y: Axis
    margin: Margin = Margin()
    parts: list[Markup] = field(default_factory=list)

    @property
    def bottom(self) -> float:
        """Pixel row of the x axis."""
        return self.height - self.margin.bottom

    @property
    def right(self) -> float:
        """Pixel column where the plotting area ends."""
        return self.width - self.margin.right

    def at_x(self, value: float) -> float:
        """Pixel column of a value."""
        return self.margin.left + self.x.place(value) * (self.right - self.margin.left)

    def at_y(self, value: float) -> float:
        """Pixel row of a value."""
        return self.bottom - self.y.place(value) * (self.bottom - self.margin.top)

    def text(self, x: float, y: float, words: str, class_: str = "", anchor: str = "start") -> None:
        """Words at a pixel."""
        self.parts.append(
            tag("text", words, x=x, y=y, class_=class_ or None, text_anchor=_anchor(anchor))
        )

    def path(self, points: Sequence[tuple[float, float]], class_: str) -> None:
        """A line through points in pixels."""
        if points:
            steps = "L".join(f"{number(x)} {number(y)}" for x, y in points)
            self.parts.append(tag("path", d=f"M{steps}", class_=class_))

    def line(self, xs: Sequence[float], ys: Sequence[float], class_: str) -> None:
        """A line through values, thinned to what half a pixel can show."""
        pairs = zip(xs, ys, strict=True)
        self.path(thinned([(self.at_x(x), self.at_y(y)) for x, y in pairs]), class_)

    def bars(
        self,
        edges: Sequence[float],
        heights: Sequence[float],
        class_: str,
        *,
        base: float,
        room: float,
    ) -> None:
        """Histogram bars on a pixel row, as one path.

        Args:
            edges: `(n + 1,)` values on the x axis.
            heights: `(n,)` shares of `room`, 0 to 1; whatever is not 0 stays visible.
            class_: CSS class.
            base: pixel row that the bars stand on.
            room: pixels of a bar of height 1.
        """
        steps = []
        for left, right, height in zip(edges, edges[1:], heights, strict=False):
            if height > 0:
                x, tall = self.at_x(left), max(1.5, height * room)
                wide = max(0.8, self.at_x(right) - x - 0.6)
                steps.append(
                    f"M{number(x)} {number(base)}v{number(-tall)}h{number(wide)}V{base:g}z"
                )
        if steps:
            self.parts.append(tag("path", d="".join(steps), class_=class_))

    def dot(self, x: float, y: float, class_: str, radius: float = 4.0) -> None:
        """A mark at a value."""
        self.parts.append(
            tag("circle", cx=self.at_x(x), cy=self.at_y(y), r=float(radius), class_=class_)
        )

    def upright(self, value: float, class_: str, label: str = "") -> None:
        """A vertical line through the plotting area, with words above it."""
        x = self.at_x(value)
        self.path([(x, self.margin.top), (x, self.bottom)], class_)
        if label:
            anchor = (
                "end" if x > 0.7 * self.width else "start" if x < 0.3 * self.width else "middle"
            )
            self.text(x, self.margin.top - 5, label, f"{class_}-label", anchor)

    def x_axis(self, *, grid: bool = False, wanted: int = 6) -> None:
        """Base line, ticks and label of the x axis."""
        self.path([(self.margin.left, self.bottom), (self.right, self.bottom)], "axis")
        for value, words in self.x.ticks(wanted):
            x = self.at_x(value)
            self.path([(x, self.bottom), (x, self.bottom + _TICK_PX)], "axis")
            if grid:
                self.path([(x, self.margin.top), (x, self.bottom)], "grid")
            self.text(x, self.bottom + _TICK_PX + _TEXT_PX, words, "tick", "middle")
        middle = (self.margin.left + self.right) / 2
        self.text(middle, self.height - 5, self.x.label, "label", "middle")

    def y_axis(self, *, wanted: int = 5) -> None:
        """Grid lines, ticks and label of the y axis."""
        for value, words in self.y.ticks(wanted):
            y = self.at_y(value)
            self.path([(self.margin.left, y), (self.right, y)], "grid")
            self.text(self.margin.left - 6, y + 4, words, "tick", "end")
        if self.y.label:
            middle = (self.margin.top + self.bottom) / 2
            self.parts.append(
                tag(
                    "text",
                    self.y.label,
                    transform=f"translate(12 {number(middle)}) rotate(-90)",
                    class_="label",
                    text_anchor="middle",
                )
            )

    def svg(self, alt: str) -> Markup:
        """The whole picture; `alt` says in words what it shows."""
        return tag(
            "svg",
            join(self.parts),
            role="img",
            aria_label=alt,
            viewBox=f"0 0 {number(self.width)} {number(self.height)}",
            width=float(self.width),
            height=float(self.height),
        )


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points rounded to half a pixel, without repeats and without the middle of straight steps."""
    kept: list[tuple[float, float]] = []
    for x, y in points:
        point = (round(2 * x) / 2, round(2 * y) / 2)
        if kept and point == kept[-1]:
            continue
        if len(kept) > 1 and _straight(kept[-2], kept[-1], point):
            kept.pop()
        kept.append(point)
    return kept


def _straight(
    first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]
) -> bool:
    """Whether three points go on in one direction."""
    ahead, onward = (
        (middle[0] - first[0], middle[1] - first[1]),
        (last[0] - middle[0], last[1] - middle[1]),
    )
    same_line = ahead[0] * onward[1] == ahead[1] * onward[0]
    return same_line and ahead[0] * onward[0] + ahead[1] * onward[1] > 0


def _anchor(anchor: str) -> str | None:
    return None if anchor == "start" else anchor
