"""The cost plot of benchmarks/musc.py: the same figures, the same file."""

import importlib.util
from pathlib import Path
from xml.dom import minidom

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "musc_plot.py"
LINES = {"all judge": [(25, 0.1), (50, 0.0), (800, 36.5)], "judges=100": [(25, 0.1), (800, 5.8)]}


@pytest.fixture(scope="module")
def write_plot():
    spec = importlib.util.spec_from_file_location("musc_plot", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_plot


def test_a_plot_is_a_small_picture_that_depends_on_the_figures_alone(write_plot, tmp_path):
    for name in ("a.svg", "b.svg"):
        write_plot(tmp_path / name, LINES)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.svg").stat().st_size < 60_000
    picture = minidom.parse(str(tmp_path / "a.svg")).documentElement
    words = [node.firstChild.data for node in picture.getElementsByTagName("text")]
    assert {"25", "50", "100", "200", "400", "800", "all judge", "judges=100"} <= set(words)
    assert len(picture.getElementsByTagName("circle")) == 5


def test_a_cost_that_grows_with_the_square_has_twice_the_slope(write_plot, tmp_path):
    doubled = {"linear": [(25, 1.0), (50, 2.0)], "square": [(25, 1.0), (50, 4.0)]}
    write_plot(tmp_path / "a.svg", doubled)
    dots = minidom.parse(str(tmp_path / "a.svg")).getElementsByTagName("circle")
    rows = [float(dot.getAttribute("cy")) for dot in dots]
    assert rows[2] - rows[3] == pytest.approx(2 * (rows[0] - rows[1]), abs=0.5)
