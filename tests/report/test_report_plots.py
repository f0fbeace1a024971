"""Axes and plots: ticks, bins and lines are where they should be."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from report_builders import Page

from anomalib_lite.report.axes import Axis, linear_ticks, score_axis
from anomalib_lite.report.plots import (
    DEFECT_BARS,
    GOOD_BARS,
    ScoreRow,
    _count,
    score_rows,
    scores_in_order,
    share_bars,
)
from anomalib_lite.report.svg import thinned


@pytest.mark.parametrize(
    ("low", "high", "wanted", "ticks"),
    [
        (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.3, 4, [0, 0.1, 0.2, 0.3]),
        (3.7, 61, 6, [10, 20, 30, 40, 50, 60]),
        (-1, 1, 4, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, wanted: int, ticks: list[float]) -> None:
    assert linear_ticks(low, high, wanted) == pytest.approx(ticks)


def test_decades_on_a_logarithmic_axis_are_powers_of_ten() -> None:
    labels = [words for _, words in Axis(1e-6, 1e-2, log=True).ticks(4)]
    assert labels == ["10⁻⁶", "10⁻⁵", "10⁻⁴", "0.001", "0.01"]


@given(
    st.lists(st.floats(-1e6, 1e6), max_size=20),
    st.floats(-1e6, 1e6),
)
@example([1.0], 2.2250738585e-313)
def test_a_score_axis_holds_every_score_and_the_threshold(
    scores: list[float], threshold: float
) -> None:
    axis = score_axis(scores, threshold)
    assert all(axis.low <= value <= axis.high for value in [*scores, threshold])
    edges = axis.edges_through(threshold, 20)
    assert threshold in edges
    assert all(np.diff(edges) >= 0)


def test_scores_over_decades_get_a_logarithmic_axis() -> None:
    assert score_axis([1, 100], 2).log
    assert not score_axis([1, 3], 2).log
    assert not score_axis([1e-9, 100], 2).log
    assert not score_axis([-1, 100], 2).log


def test_no_bar_stands_on_both_sides_of_the_threshold() -> None:
    edges = np.array([0.0, 1.0, 2.0, 3.0])
    assert _count(np.array([0.0, 1.0, 1.0001, 3.0]), edges).tolist() == [2, 1, 1]


def bars(svg: str, class_: str) -> int:
    """Bars of a class in a plot."""
    paths = [a["d"] for a in Page.of(svg).all("path") if a.get("class") == class_]
    return sum(path.count("z") for path in paths)


def test_a_part_at_the_threshold_is_drawn_as_accepted() -> None:
    good = ScoreRow("good", np.array([1.0]), *GOOD_BARS, "0 of 1")
    defect = ScoreRow("dent", np.array([1.0, 9.0]), *DEFECT_BARS, "1 of 2")
    svg = score_rows([good, defect], 1.0, "alt")
    assert (bars(svg, "good"), bars(svg, "defect"), bars(svg, "wrong")) == (1, 1, 1)


@pytest.mark.parametrize("scores", [[], [1.0], [2.0, 2.0, 2.0], [0.0, -5.0]])
def test_plots_of_few_scores_are_drawn(scores: list[float]) -> None:
    values = np.array(scores, np.float64)
    for svg in (
        score_rows([ScoreRow("x", values, *GOOD_BARS, "")], 1.0, "alt"),
        scores_in_order(values, 1.0, "alt"),
    ):
        assert "nan" not in svg
        assert Page.of(svg).all("svg")[0]["aria-label"] == "alt"


def test_a_long_stream_is_drawn_in_groups() -> None:
    values = np.random.default_rng(0).random(100_000)
    svg = scores_in_order(values, 0.5, "alt")
    assert len(svg) < 60_000
    assert len(Page.of(svg).all("circle")) == 400


def test_shares_are_bars_under_an_expected_line() -> None:
    svg = share_bars([0.5, 0.5], 0.5, Axis(0, 1, "p"), "alt")
    assert bars(svg, "good") == 2


def test_thinning_keeps_corners_and_drops_the_middle_of_straight_lines() -> None:
    points = [(0, 0), (1, 0), (2, 0), (2, 0.1), (2, 5), (2, 9)]
    assert thinned(points) == [(0, 0), (2, 0), (2, 9)]


def test_a_line_that_turns_back_keeps_its_end() -> None:
    assert thinned([(0, 0), (4, 0), (1, 0)]) == [(0, 0), (4, 0), (1, 0)]


def test_coordinates_stay_inside_the_picture() -> None:
    svg = score_rows([ScoreRow("x", np.array([5.0]), *GOOD_BARS, "")], 1.0, "alt")
    numbers = [float(n) for n in re.findall(r'(?:x|cx|y)="([\d.]+)"', svg)]
    assert max(numbers) <= 1040
