"""The headline of an evaluation: misses at promised rates, and the best that overlap allows."""

from __future__ import annotations

import pytest
from report_builders import PARTS, Page, part, run

from anomalib_lite.edge.calibration import Operating
from anomalib_lite.report.data import ReportData, Run
from anomalib_lite.report.evaluation import render_report
from anomalib_lite.report.promised import (
    Tally,
    best_threshold,
    missed,
    promised_cards,
    promised_table,
    rates,
    rejected,
)

AT = (Operating(2.5, 0.01, 0.01, 99), Operating(0.5, 0.05, 0.05, 99))


def page(*runs: Run) -> Page:
    return Page.of(render_report(ReportData("Evaluation report", runs)))


@pytest.mark.parametrize(
    ("threshold", "lost", "wrong"),
    [(0.0, (0, 3), (4, 4)), (0.7, (1, 3), (1, 4)), (1.3, (1, 3), (0, 4)), (9.0, (3, 3), (0, 4))],
)
def test_a_part_is_rejected_above_the_threshold_and_not_at_it(
    threshold: float, lost: tuple[int, int], wrong: tuple[int, int]
) -> None:
    assert missed(run(), threshold) == Tally(*lost)
    assert rejected(run(), threshold) == Tally(*wrong)


def test_misses_are_counted_for_each_kind_of_defect() -> None:
    assert missed(run(), 1.0, "dent") == Tally(1, 2)
    assert missed(run(), 1.0, "scratch") == Tally(0, 1)


def test_the_headline_says_misses_and_false_rejects_with_intervals() -> None:
    text = page(run(compared=AT)).text
    assert "Missed at 1 % promised 2 of 3 66.7 %; 95 % interval 20.8 % to 93.9 %" in text
    assert "Good parts rejected: 0 of 4 (0 %; 95 % interval 0 % to 49 %)." in text
    assert "Missed at 5 % promised 0 of 3 0 %; 95 % interval 0 % to 56.1 %" in text
    assert "Missed at best 1 of 3 33.3 %" in text
    assert text.index("Missed at 1 %") < text.index("Separation (image AUROC)")


def test_the_table_of_results_has_them_beside_auroc() -> None:
    found = page(run(compared=AT))
    heads = next(row for row in found.cells if row[:1] == ["data"])
    cells = dict(zip(heads, found.row("folder:thing"), strict=True))
    assert cells["missed at 1 %"] == "66.7 % (2 of 3)"
    assert cells["missed at 5 %"] == "0 % (0 of 3)"
    assert cells["missed at best"] == "33.3 % (1 of 3)"
    assert cells["AUROC"] == "0.917"


def test_each_kind_of_defect_has_its_row() -> None:
    found = page(run(compared=AT))
    assert found.row("missed: dent")[1].startswith("2 of 2 100 % (34.2 % to 100 %)")
    assert found.row("missed: dent")[3].startswith("1 of 2 50 %")
    assert found.row("missed: scratch")[1].startswith("0 of 1 0 %")
    assert found.row("good parts rejected")[2].startswith("2 of 4 50 %")


def test_what_cannot_be_promised_is_named_as_it_is() -> None:
    few = (Operating(2.5, 1 / 25, 0.01, 24), Operating(2.5, 1 / 25, 0.05, 24))
    text = page(run(compared=few)).text
    assert "Missed at 1 % asked, 4 % promised" in text
    assert "Missed at 5 % promised" in text


def test_several_data_sets_are_added_up_each_at_its_own_threshold() -> None:
    other = run(data="folder:other", compared=(Operating(0.1, 0.01, 0.01, 99), AT[1]))
    text = page(run(compared=AT), other).text
    assert "Missed at 1 % promised 2 of 6" in text
    assert "Good parts rejected: 4 of 8" in text


def test_only_rates_that_all_runs_share_are_compared() -> None:
    assert rates([run(compared=AT), run(compared=AT[:1])]) == [0.01]
    assert rates([run(compared=AT), run()]) == []
    assert "Missed at" not in page(run(compared=AT), run(data="folder:other")).row("folder:thing")


@pytest.mark.parametrize("parts", [(), PARTS[:4], PARTS[4:], (part("a", 1, "", 1.0),)])
def test_nothing_is_made_up_where_one_side_was_not_tested(parts: tuple[object, ...]) -> None:
    one = run(parts, metrics={}, curves={}, compared=AT)  # type: ignore[arg-type]
    found = page(one)
    assert found.open_tags == []
    assert "nan" not in found.text.lower()
    assert bool(promised_cards([one])) == bool(one.anomalous)
    assert (best_threshold(one) is None) == (not one.good)
    assert (promised_table(one) is None) == (not parts)
