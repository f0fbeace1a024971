"""A roofline plot: what each network reaches beside what the machine can, as an SVG file.

Williams, Waterman and Patterson 2009, "Roofline: an insightful visual performance model".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anomalib_lite.edge.files import write_bytes_atomic
from anomalib_lite.report.axes import Axis
from anomalib_lite.report.svg import Canvas, Margin

_WIDTH_PX, _HEIGHT_PX = 640.0, 380.0
_STYLE = (
    "svg{background:#fff;font:11px sans-serif;fill:#333}"
    ".axis{stroke:#333;fill:none}.grid{stroke:#ddd;fill:none}"
    ".roof{stroke:#333;stroke-width:2;fill:none}.bare{fill:#999}.ours{fill:#b3402a}"
)


@dataclass(frozen=True)
class Machine:
    """What the machine can do: a measured matrix product and a measured copy."""

    gflops: float
    gigabytes_s: float


@dataclass(frozen=True)
class Network:
    """A network's work per frame, and its time.

    Attributes:
        name: as in the tables.
        gflop: multiplications and additions, 10^9.
        megabytes: what its nodes read and write.
        ms: time of one frame.
    """

    name: str
    gflop: float
    megabytes: float
    ms: float

    @property
    def intensity(self) -> float:
        """Operations a byte."""
        return self.gflop * 1e3 / self.megabytes

    @property
    def reached(self) -> float:
        """GFLOP/s."""
        return self.gflop * 1e3 / self.ms


def write_roofline(path: Path, machine: Machine, networks: Sequence[Network]) -> None:
    """Draw the roof and a dot a network, both axes logarithmic."""
    low, high = 1.0, 1000.0
    top = 10 * machine.gflops
    canvas = Canvas(
        _WIDTH_PX,
        _HEIGHT_PX,
        Axis(low, high, "operations a byte read or written", log=True),
        Axis(1.0, top, "GFLOP/s", log=True),
        Margin(left=56, right=110),
    )
    canvas.y_axis()
    canvas.x_axis()
    ridge = machine.gflops / machine.gigabytes_s
    canvas.line(
        [low, ridge, high],
        [low * machine.gigabytes_s, machine.gflops, machine.gflops],
        "roof",
    )
    x, y = canvas.at_x(high), canvas.at_y(machine.gflops)
    canvas.text(x + 6, y + 4, f"{machine.gflops:.0f} GFLOP/s")
    canvas.text(canvas.at_x(low) + 8, y + 4, f"copy {machine.gigabytes_s:.1f} GB/s")
    for network in networks:
        kind = "bare" if network.name.startswith("bare") else "ours"
        canvas.dot(network.intensity, network.reached, kind)
        x, y = canvas.at_x(network.intensity), canvas.at_y(network.reached)
        canvas.text(x + 7, y + 4, f"{network.name} {network.ms:.1f} ms", kind)
    picture = str(canvas.svg("Networks of one frame beside the machine's roofline"))
    head, _, rest = picture.partition(">")
    head = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    write_bytes_atomic(path, f"{head}><style>{_STYLE}</style>{rest}\n".encode())
