"""Intervals, promises and drift, against known values and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anomalib_lite.edge.calibration import operating_point
from anomalib_lite.report.statistics import (
    chance_of_rejects,
    p_value_shares,
    score_drift,
)
from anomalib_lite.report.words import (
    counted,
    figure_text,
    interval,
    percent,
    promise,
    signed,
    with_unit,
)
from anomalib_lite.statistics.shares import wilson_interval


def test_wilson_intervals_equal_published_values() -> None:
    # Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for hits, total, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson_interval(hits, total) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_the_chance_of_rejects_is_beta_binomial() -> None:
    stats = pytest.importorskip("scipy.stats")
    for rejected, good, rate, samples in ((1, 30, 1 / 61, 60), (3, 50, 0.05, 99), (9, 10, 0.1, 9)):
        above = round(rate * (samples + 1))
        exact = stats.betabinom.sf(rejected - 1, good, above, samples + 1 - above)
        assert chance_of_rejects(rejected, good, rate, samples) == pytest.approx(exact, rel=1e-9)


def test_the_chance_of_rejects_is_what_a_simulation_gives() -> None:
    rng = np.random.default_rng(0)
    known, new = rng.random((20_000, 39)), rng.random((20_000, 20))
    limits = [operating_point(row, 0.1).threshold for row in known]
    rejected = (new > np.array(limits)[:, None]).sum(axis=1)
    assert chance_of_rejects(4, 20, 0.1, 39) == pytest.approx((rejected >= 4).mean(), abs=0.01)


def test_no_reject_breaks_no_promise() -> None:
    assert chance_of_rejects(0, 100, 0.01, 99) == 1.0
    assert chance_of_rejects(100, 100, 0.01, 99) < 1e-30


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "none"), (0.8, "higher"), (-0.8, "lower")])
def test_a_shift_of_accepted_frames_is_seen_with_its_direction(shift: float, verdict: str) -> None:
    rng = np.random.default_rng(1)
    known, frames = rng.normal(0, 1, 200), rng.normal(shift, 1, 400)
    assert score_drift(frames, known, 2.5).verdict == verdict


def test_defects_are_no_drift() -> None:
    rng = np.random.default_rng(2)
    frames = np.concatenate((rng.normal(0, 1, 300), rng.normal(9, 1, 200)))
    drift = score_drift(frames, rng.normal(0, 1, 200), 2.5)
    assert (drift.verdict, drift.frames) == ("none", int((frames <= 2.5).sum()))


def test_false_alarms_of_the_drift_hint_are_rare() -> None:
    rng = np.random.default_rng(3)
    verdicts = [score_drift(rng.random(80), rng.random(60), 0.98).verdict for _ in range(500)]
    assert verdicts.count("none") >= 490


def test_a_flood_of_rejects_is_not_called_too_few_frames() -> None:
    assert score_drift(np.full(30, 9.0), np.arange(5.0), 6.0).verdict == "flood"


def test_few_frames_say_nothing() -> None:
    assert score_drift(np.arange(19.0), np.arange(100.0), 1e9).verdict == "few"
    nothing = score_drift(np.zeros(0), np.arange(100.0), 1e9)
    assert nothing.verdict == "few"
    assert math.isnan(nothing.median_p)


def test_p_values_fall_into_ten_bins_closed_above() -> None:
    shares = p_value_shares(np.array([0.05, 0.1, 0.1001, 1.0]))
    assert shares == [0.5, 0.25, 0, 0, 0, 0, 0, 0, 0, 0.25]
    assert p_value_shares(np.zeros(0)) == [0.0] * 10


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("rate", "words"),
    [(0, "0 %"), (1, "100 %"), (0.0167, "1.7 %"), (0.9999, "> 99.9 %"), (0.0002, "0.02 %")],
)
def test_shares_are_never_rounded_to_nothing_or_everything(rate: float, words: str) -> None:
    assert plain(percent(rate)) == words


def test_a_promise_names_a_base_with_at_least_one_part() -> None:
    assert plain(promise(1 / 61, 0.049)) == (
        "of 100 good parts 1.6 rejected on average, at most 4.9 with 95 % confidence"
    )
    assert plain(promise(0.001, 0.003)) == (
        "of 1000 good parts 1 rejected on average, at most 3 with 95 % confidence"
    )
    assert "at most 950 with" in promise(0.001, 0.95)


def test_figures_are_put_into_words() -> None:
    assert counted(3, 120) == "3 of 120"
    assert plain(interval(0, 20)) == "0 %; 95 % interval 0 % to 16.1 %"
    assert interval(0, 0) == "nothing to count"
    assert [figure_text(v) for v in (None, math.nan, 1.0, 0.99999, 0.5)] == [
        *("–", "–", "1.000", "> 0.999", "0.500"),
    ]
    assert [signed(v) for v in (0.5, -1.2, -0.001)] == ["+0.50", "−1.20", "0.00"]
    assert with_unit("latency_ms_batch_1", 12.345) == ("latency batch 1", "12.3 ms")
    assert with_unit("peak_memory_bytes", 7.5e8) == ("peak memory", "750 MB")
    assert with_unit("fit_seconds", None) == ("fit", "–")
