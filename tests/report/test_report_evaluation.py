"""The evaluation report: complete in itself, right in its numbers, calm about missing things."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from report_builders import NASTY, PARTS, Page, part, picture, run

from anomalib_lite.edge.calibration import Operating
from anomalib_lite.edge.errors import AnomalibLiteError
from anomalib_lite.report import evaluation
from anomalib_lite.report.data import Example, ReportData, Run, Shift
from anomalib_lite.report.evaluation import MOST_BYTES, render_report, write_report


def page(*runs: Run) -> Page:
    return Page.of(render_report(ReportData("Evaluation report", runs)))


def test_the_page_loads_nothing_and_may_load_nothing() -> None:
    html = render_report(ReportData("Evaluation report", (run(),)))
    found = Page.of(html)
    links = [a[name] for _, a in found.tags for name in ("src", "href", "action") if name in a]
    assert links
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in links)
    assert not re.search(r"url\(|@import", html)
    policy = found.all("meta")[1]["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert not any("style" in attributes for _, attributes in found.tags)
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)


def test_every_element_is_closed_and_every_picture_has_words() -> None:
    found = page(run())
    assert found.open_tags == []
    assert all(image["alt"] for image in found.all("img"))
    drawings = [a for a in found.all("svg") if "aria-hidden" not in a]
    assert drawings
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in drawings)
    assert found.all("html")[0]["lang"] == "en"
    assert len(found.all("h1")) == 1


def test_a_script_in_a_file_name_stays_text() -> None:
    html = render_report(ReportData(NASTY, (run(data=NASTY, unreadable={NASTY: NASTY}),)))
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert len(Page.of(html).all("script")) == 1
    assert Page.of(html).text.count(NASTY) >= 4


def test_the_headline_equals_the_counts() -> None:
    text = page(run()).text
    assert "Good parts rejected 1 of 4 25 %; 95 % interval" in text
    promised = "of 100 good parts 1 rejected on average, at most 3 with 95 % confidence"
    assert f"Promised: {promised}." in text
    assert "Defective parts found 2 of 3 66.7 %" in text
    assert "1 passed unnoticed." in text
    assert "Time per frame 12.5 ms" in text


def test_the_table_equals_the_metrics() -> None:
    one = run()
    cells = page(one).row("folder:thing")
    auroc, precision = one.metrics["image_auroc"], one.metrics["image_average_precision"]
    assert auroc == 11 / 12
    assert cells == [
        *("folder:thing", "padim on filters", "25 % (1 of 4)", "66.7 % (2 of 3)"),
        *(f"{auroc:.3f}", f"{precision:.3f}", "0.877"),
    ]


def test_recall_of_each_defect_is_listed_with_its_counts() -> None:
    found = page(run())
    assert found.row("dent")[1:3] == ["1 of 2", "50 %; 95 % interval 9.5 % to 90.5 %"]
    assert found.row("scratch")[1] == "1 of 1"


def test_figures_over_seeds_are_means_with_their_error() -> None:
    other = run(seed=1, metrics={"image_auroc": 0.5}, parts=PARTS[:3] + PARTS[4:])
    cells = page(run(metrics={"image_auroc": 0.9}), other).row("folder:thing")
    assert cells[2:4] == ["2", "14.3 % (1, 0 of 4)"]
    assert cells[5] == "0.700 ± 0.200"


def test_a_missing_figure_is_a_dash_with_its_reason() -> None:
    found = page(run(), run(data="folder:other", metrics={"pixel_auroc": 0.5}))
    assert found.row("folder:thing")[-2:] == ["–", "0.877"]
    assert "pixel AUROC: no value: no test image has a mask" in found.text


def test_more_rejects_than_promised_are_called_so() -> None:
    bad = tuple(part(f"{k}.png", 0, "good", 2.0 if k < 6 else 0.1) for k in range(30))
    assert "More good parts are rejected than promised" in page(run(bad)).text
    assert "than promised" not in page(run(bad[6:])).text


def test_a_promise_that_needs_more_images_is_called_so() -> None:
    text = page(run(operating=Operating(1.0, 1 / 61, 0.01, 60))).text
    assert "1 % needs at least 99 good images; you have 60" in text


def test_heat_maps_come_with_their_legend() -> None:
    found = page(run())
    assert "Colours are anchored at good images" in found.text
    assert "never stretched to fit one picture" in found.text
    assert len(found.all("img")) == 4  # one false reject and one miss, each with its heat map


def test_outlined_defects_are_explained() -> None:
    outlined = Example(PARTS[5], picture(), outlined=True)
    assert "blue outline" in page(run(misses=(outlined,))).text
    assert "blue outline" not in page(run()).text


def test_without_false_rejects_the_nearest_parts_are_shown() -> None:
    calm = tuple(p for p in PARTS if p.label or not p.is_anomalous)
    text = page(run(calm)).text
    assert "No good part was rejected. The highest scores: accepted · good · score 0.6" in text


@pytest.mark.parametrize(
    "parts",
    [(), PARTS[:1], PARTS[4:5], PARTS[:4], PARTS[4:]],
    ids=["no frame", "one good frame", "one defect", "no defects", "no good parts"],
)
def test_little_data_still_give_a_page(parts: tuple[object, ...]) -> None:
    found = page(run(parts, metrics=dict.fromkeys(("image_auroc", "aupro")), curves={}))  # type: ignore[arg-type]
    assert found.open_tags == []
    assert "nan" not in found.text.lower().replace("nano", "")


def test_no_run_at_all_is_said() -> None:
    assert "holds no finished run" in page().text


def test_missing_runs_are_said() -> None:
    data = ReportData("t", (run(),), missing=("a", "b"))
    assert "2 planned runs are missing, first a." in Page.of(render_report(data)).text


def test_shifts_name_direction_and_cost() -> None:
    shifts = (Shift("lamp at 80 %", -1.5, 3, 20), Shift("JPEG", None, 0, 0))
    found = page(run(shifts=shifts))
    assert found.row("lamp at 80 %")[1:] == ["−1.50", "3 of 20 (15 %)"]
    assert found.row("JPEG")[1:] == ["–", "–"]


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    first = write_report(ReportData("t", (run(),)), tmp_path / "a.html").read_bytes()
    again = write_report(ReportData("t", (run(),)), tmp_path / "b.html").read_bytes()
    assert first == again


def test_many_runs_stay_below_the_limit_and_name_what_is_left_out() -> None:
    big = picture(size=320)
    parts = tuple(part(f"{k}.png", k % 2, "dent" if k % 2 else "good", k / 20) for k in range(60))
    examples = tuple(Example(p, big) for p in parts if p.is_anomalous and not p.label)
    one = run(parts, false_rejects=examples, misses=())
    runs = tuple(replace(one, data=f"folder:{k}") for k in range(30))
    html = render_report(ReportData("t", runs))
    assert MOST_BYTES / 2 < len(html.encode()) <= MOST_BYTES
    found = Page.of(html)
    images = [image["alt"] for image in found.all("img")]
    assert len(images) >= 2 * len(runs)
    assert "Without picture: " in found.text


def test_more_groups_than_can_be_detailed_are_still_in_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "_MOST_DETAILED", 2)
    found = page(*(run(data=f"folder:{k}") for k in range(4)))
    assert found.row("folder:3")
    assert "2 more rows of the table are not shown in detail." in found.text


def test_a_report_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AnomalibLiteError, match="cannot write"):
        write_report(ReportData("t", ()), tmp_path / "file" / "report.html")
