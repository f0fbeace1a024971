"""CPU seconds of a pool against its images, as an SVG file that depends on the figures alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.report.axes import Axis
from anomalib_lite.report.svg import Canvas, Margin

_WIDTH_PX, _HEIGHT_PX = 560.0, 360.0
_LEAST_S = 0.01
_COLOURS = ("#b3402a", "#24619c", "#3a7d44", "#7a4a9e")
_STYLE = (
    "svg{background:#fff;font:11px sans-serif;fill:#333}"
    ".axis{stroke:#333;fill:none}.grid{stroke:#ddd;fill:none}"
)

Points = Sequence[tuple[int, float]]
"""Images of a pool and seconds that it took."""


class _Doublings(Axis):
    """A logarithmic axis with a tick at every doubling."""

    def ticks(self, wanted: int = 5) -> list[tuple[float, str]]:
        steps = round(math.log2(self.high / self.low))
        return [(self.low * 2**step, f"{self.low * 2**step:g}") for step in range(steps + 1)]


def write_plot(path: Path, lines: Mapping[str, Points]) -> None:
    """Draw one line a case, both axes logarithmic.

    Args:
        path: the file.
        lines: name of a case -> its points, ascending.
    """
    images = [count for points in lines.values() for count, _ in points]
    seconds = [max(_LEAST_S, taken) for points in lines.values() for _, taken in points]
    low, high = math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds)))
    canvas = Canvas(
        _WIDTH_PX,
        _HEIGHT_PX,
        _Doublings(min(images), max(images), "images of the pool", log=True),
        Axis(10.0**low, 10.0 ** max(high, low + 1), "CPU seconds of a pass", log=True),
        Margin(left=56, right=90),
    )
    canvas.y_axis()
    canvas.x_axis()
    style = _STYLE
    for place, (name, points) in enumerate(lines.items()):
        colour, kind = _COLOURS[place % len(_COLOURS)], f"case{place}"
        style += f".{kind}{{stroke:{colour};stroke-width:2;fill:none}}"
        style += f".{kind}-mark{{fill:{colour}}}"
        canvas.line([n for n, _ in points], [max(_LEAST_S, s) for _, s in points], kind)
        for count, taken in points:
            canvas.dot(count, max(_LEAST_S, taken), f"{kind}-mark", 3.0)
        count, taken = points[-1]
        x, y = canvas.at_x(count), canvas.at_y(max(_LEAST_S, taken))
        canvas.text(x + 8, y + 4, name, f"{kind}-mark")
    picture = str(canvas.svg("CPU seconds of a pass against the images of the pool"))
    head, _, rest = picture.partition(">")
    head = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    write_bytes_atomic(path, f"{head}><style>{style}</style>{rest}\n".encode())
